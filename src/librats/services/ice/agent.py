"""``IceAgent``: datagrams to a peer over the best way there is (RFC 8445), whatever NATs stand between."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from msgspec import structs

from librats.config import NatTraversalConfig
from librats.errors import ClosedError, ConfigError, ConnectError, OperationTimeout, PeerNotConnected, UsageError
from librats.ice.addresses import AddressPolicy
from librats.ice.agent import IceMachine
from librats.ice.candidate_text import candidate_from_json
from librats.ice.candidates import IceCandidate
from librats.ice.descriptions import IceDescription
from librats.ice.events import (
    IceEvent,
    IceRole,
    IceState,
    LocalFound,
    Path,
    PathChosen,
    ResolveWanted,
    Restarted,
    StateChanged,
)
from librats.ice.settings import IceSettings
from librats.ice.statistics import IceStatistics
from librats.runtime.callbacks import call_safely
from librats.runtime.network import Network, current_network
from librats.runtime.tasks import TaskSet
from librats.services.ice.account import attempts_of
from librats.services.ice.driver import IceDriver
from librats.services.ice.gathering import IceSupply
from librats.services.ice.names import local_addresses
from librats.services.ice.ports import LendsRelays, RelayPort, SharedSocket
from librats.services.ice.probing import ProbingVerbs
from librats.types import Address, AttemptReason, ConnectionAttempt, PathPolicy

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["IceAgent"]

logger = logging.getLogger("librats.ice")

MAX_WAITING = 1024
"""Datagrams that wait for :meth:`IceAgent.recv`; those that come beyond that are dropped."""


class IceAgent(ProbingVerbs):
    """Finds the best way to a peer, and sends and receives datagrams over it.

    Both sides make one, exchange their descriptions over any secure way they have, and connect. Candidates may follow
    one by one (trickle, RFC 8838). One side is controlling, usually that which has made the first offer; where both
    say the same, one gives way.

    Args:
        role: ``"controlling"`` or ``"controlled"``.
        config: STUN and TURN servers, times, and which ways may be used. Public STUN servers where it is left out.
        local_hosts: IP addresses of this host to use; None for those of every interface.
        shared: A UDP socket to use instead of sockets of its own.
        strangers: Whether nobody vouches for the peer. Then private and link-local addresses that it names are
            checked only where both sides are in one network.
        same_network: Whether both are, where that is known; None to tell from the candidates.
        receive: Called with every datagram of the peer's; :meth:`recv` returns them where it is None.
        on_candidate: Called with every candidate of this side as soon as it is known, to be told to the peer; and with
            None when no more will come.
        on_state: Called with every :class:`~librats.IceState` that the agent comes to.
        on_restart: Called with this side's new description when the peer has restarted.

    Raises:
        ConfigError: An argument has a value that cannot be used.

    Example:
        .. code-block:: python

            async with IceAgent("controlling", NatTraversalConfig.offline()) as agent:
                await agent.gather_candidates()
                send_to_peer(json.dumps(agent.local_description))
                agent.set_remote_description(json.loads(await receive_from_peer()))
                await agent.connect()
                agent.send(b"hello")
                print(await agent.recv())
    """

    def __init__(
        self,
        role: IceRole | str = IceRole.CONTROLLING,
        config: NatTraversalConfig | None = None,
        *,
        local_hosts: Sequence[str] | None = None,
        shared: SharedSocket | None = None,
        strangers: bool = False,
        same_network: bool | None = None,
        receive: Callable[[bytes], object] | None = None,
        on_candidate: Callable[[IceCandidate | None], object] | None = None,
        on_state: Callable[[IceState], object] | None = None,
        on_restart: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        if role not in list(IceRole):
            raise ConfigError("role", f"must be one of {', '.join(IceRole)}, not {role!r}")
        self._role = IceRole(role)
        self._config = config if config is not None else NatTraversalConfig()
        self._local_hosts = local_hosts
        self._shared = shared
        self._policy = AddressPolicy(strangers=strangers, same_network=same_network)
        self._receive, self._on_candidate = receive, on_candidate
        self._on_state, self._on_restart = on_state, on_restart
        self.on_path: Callable[[Address], object] | None = None
        """Called with the peer's address on each way that is taken."""
        self.relays: LendsRelays | None = None
        """Who lends relayed addresses, instead of allocations of the agent's own; set before the start."""
        self._inbox: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._tasks = TaskSet()
        self._began = 0.0
        self._machine: IceMachine | None = None
        self._supply: IceSupply | None = None
        self._driver: IceDriver | None = None
        self._loop: asyncio.AbstractEventLoop
        self._network: Network
        self.dropped = 0
        """Datagrams of the peer's that nobody had asked for in time."""

    def __repr__(self) -> str:
        """Show role and state."""
        return f"<IceAgent {self.role} {self.state}>"

    # What it is

    @property
    def role(self) -> IceRole:
        """Who decides, which may be another one than it was made with, where both sides had said the same."""
        return self._role if self._machine is None else self._machine.role

    @property
    def state(self) -> IceState:
        """How far it is."""
        return IceState.NEW if self._machine is None else self._machine.state

    @property
    def is_connected(self) -> bool:
        """True while there is a way to the peer."""
        return self._path is not None

    @property
    def _path(self) -> Path | None:
        return None if self._machine is None else self._machine.path

    @property
    def remote_address(self) -> Address | None:
        """The peer's address on the way in use; None while there is none."""
        path = self._path
        return None if path is None else Address(*path.address)

    @property
    def uses_relay(self) -> bool:
        """True where the way in use begins at a relayed address of this side's."""
        path = self._path
        return path is not None and self._supply is not None and isinstance(self._supply.port(path.base), RelayPort)

    @property
    def local_candidates(self) -> list[IceCandidate]:
        """This side's candidates, as far as they are known."""
        return [] if self._machine is None else self._machine.local_candidates

    @property
    def local_description(self) -> dict[str, Any]:
        """What the peer has to be told, as a dictionary that JSON can hold. It holds a password.

        Raises:
            UsageError: The agent is not started.
        """
        return self._started().description.to_json()

    def statistics(self) -> IceStatistics:
        """Return what was seen so far: every pair, candidates, and what was refused.

        Raises:
            UsageError: The agent is not started.
        """
        return self._started().statistics()

    def _started(self) -> IceMachine:
        if self._machine is None:
            raise UsageError("the ICE agent is not started")
        return self._machine

    # From beginning to end

    async def start(self) -> None:
        """Open a socket on every interface, and begin to ask the servers. Idempotent.

        Raises:
            ClosedError: The agent is closed.
        """
        if self._machine is not None:
            if self._machine.state is IceState.CLOSED:
                raise ClosedError("the ICE agent is closed")
            return
        self._loop = asyncio.get_running_loop()
        self._network = current_network()
        self._machine = machine = IceMachine(
            self._role,
            self._network.entropy,
            settings=IceSettings(timeout=self._config.ice_connectivity_timeout),
            policy=self._policy,
        )
        self._supply = IceSupply(
            machine,
            self._config,
            self._network,
            local_hosts=self._local_hosts,
            shared=self._shared,
            lender=self.relays,
        )
        self._driver = driver = IceDriver(
            machine, self._supply, deliver=self._deliver, happened=self._happened, gathered=self._gathered
        )
        self._supply.drive(driver.take, driver.pump)
        try:
            await self._supply.open_ports()
            self._supply.ask_servers()
        except BaseException:
            await self.close()
            raise
        self._pump()

    async def gather_candidates(self, *, relays: bool = True) -> list[IceCandidate]:
        """Return this side's candidates, once there are those of every kind.

        Servers are asked at once, and one that is silent is not waited for: STUN servers have half a second
        (``stun_first_answer``), TURN servers two (``ice_gathering_timeout``). What is found later is told to
        ``on_candidate``.

        Args:
            relays: Whether TURN servers are waited for, which may be left to ``on_candidate`` otherwise.

        Raises:
            ClosedError: The agent is closed.
        """
        await self.start()
        if self._supply is not None:
            await self._supply.wait(relays=relays)
        self._pump()
        return self.local_candidates

    def set_remote_description(self, description: Mapping[str, Any]) -> None:
        """Take what the peer has sent, its candidates so far included.

        Other credentials than before mean that the peer has restarted: this side does so, and tells ``on_restart``.

        Args:
            description: The peer's :attr:`local_description`.

        Raises:
            DecodeError: It is none.
            UsageError: The agent is not started.
        """
        machine, read = self._started(), IceDescription.from_json(description)
        kept = tuple(one for one in read.candidates if self._may_use(one))
        machine.set_remote(structs.replace(read, candidates=kept), now=self._loop.time())
        self._pump()

    def add_remote_candidate(self, candidate: IceCandidate | Mapping[str, Any] | str | None) -> None:
        """Take another candidate of the peer's.

        Args:
            candidate: The candidate, its JSON form, or a candidate attribute; None says that no more will come.

        Raises:
            DecodeError: It is none.
            UsageError: The agent is not started.
        """
        machine = self._started()
        read = None if candidate is None else candidate_from_json(candidate)
        if read is None or self._may_use(read):
            machine.add_remote(read, now=self._loop.time())
            self._pump()

    def _may_use(self, candidate: IceCandidate) -> bool:
        """Tell whether the path policy allows a candidate of the peer's."""
        return not candidate.is_relayed or self._config.path_policy is not PathPolicy.DIRECT_ONLY

    def note_seen(self, address: Address, server: str) -> None:
        """Take where somebody on the internet sees this side.

        Args:
            address: Where; with the port of the shared socket it is a candidate, with port 0 it tells whether both
                sides are in one network.
            server: IP address of whoever says so.

        Raises:
            UsageError: The agent is not started.
        """
        self._started()
        self._policy.note_own(address.host)
        if address.port and self._supply is not None:
            self._supply.seen_at(address, server)
            self._pump()

    def note_peer_seen(self, host: str) -> None:
        """Take at which IP address the peer says that it is seen, to tell whether both sides are in one network."""
        self._policy.note_peer(host)

    def start_connectivity_checks(self) -> None:
        """Begin to look for a way, as soon as the peer's description is there. Idempotent.

        Raises:
            UsageError: The agent is not started.
        """
        machine = self._started()
        self._began = self._began or self._loop.time()
        machine.start(now=self._loop.time())
        self._pump()

    async def connect(self, *, timeout: float | None = None) -> IceStatistics:
        """Look for a way, and return when there is one: from then on datagrams may be sent.

        A better way that is found later is moved to.

        Args:
            timeout: Seconds; None for ``ice_connectivity_timeout`` from the peer's description on.

        Raises:
            ConnectError: There is none; it tells every pair that was tried, and why it does not work.
            OperationTimeout: The time is up.
            ClosedError: The agent is closed.
        """
        await self.start()
        machine = self._started()
        self.start_connectivity_checks()
        try:
            async with asyncio.timeout(timeout):
                while machine.path is None and machine.state not in (IceState.FAILED, IceState.CLOSED):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise OperationTimeout(f"no way to the peer within {timeout:g} seconds") from None
        if machine.state is IceState.CLOSED:
            raise ClosedError("the ICE agent is closed")
        if machine.path is None:
            raise ConnectError("the peer by ICE", self.attempts, machine.problem, AttemptReason.NO_PATH)
        return machine.statistics()

    @property
    def attempts(self) -> list[ConnectionAttempt]:
        """Every pair that was tried so far, and every address of the peer's that was not, with why.

        Raises:
            UsageError: The agent is not started.
        """
        return attempts_of(self.statistics(), self._loop.time() - self._began)

    async def restart(self) -> dict[str, Any]:
        """Look for a way anew, after a change of network for example, while the old one goes on (RFC 8445, 9).

        Interfaces that have come are used, and those that have gone no longer.

        Returns:
            This side's new description, which has to be sent to the peer; the peer's new one has to come back.

        Raises:
            UsageError: The agent is not started.
            ClosedError: It is closed.
        """
        machine = self._started()
        supply = self._supply
        if supply is None or machine.state is IceState.CLOSED:
            raise ClosedError("the ICE agent is closed")
        machine.restart(now=self._loop.time())
        self._begin_again()
        await supply.open_ports()
        supply.reflexive.keeps = True
        await supply.ask_servers_again()
        self._pump()
        return self.local_description

    async def close(self) -> None:
        """End it, and let every socket and relayed address go. Idempotent."""
        machine, supply = self._machine, self._supply
        self._supply = None
        if machine is not None and self._driver is not None:
            self._driver.close()
            machine.close()
            self._driver.tell_events()
        self._changed.set()
        await self._tasks.close()
        if supply is not None:
            await supply.close()

    async def stop(self) -> None:
        """The same as :meth:`close`."""
        await self.close()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    # Data

    def send(self, data: Buffer) -> bool:
        """Send one datagram.

        Args:
            data: What to send; what is longer than about 1,200 bytes may not get through.

        Returns:
            False where there was no room for it.

        Raises:
            PeerNotConnected: There is no way to the peer.
        """
        path = self._path
        port = None if path is None or self._supply is None else self._supply.port(path.base)
        if path is None or port is None:
            raise PeerNotConnected(self._why_not())
        return port.send(data, path.address)

    async def recv(self) -> bytes:
        """Return the next datagram of the peer's.

        Raises:
            PeerNotConnected: No way to the peer is left.
            ClosedError: The agent is closed.
            UsageError: The agent is not started.
        """
        machine = self._started()
        while not self._inbox:
            if machine.state is IceState.CLOSED:
                raise ClosedError("the ICE agent is closed")
            if machine.state is IceState.FAILED:
                raise PeerNotConnected(self._why_not())
            self._changed.clear()
            await self._changed.wait()
        return self._inbox.popleft()

    def _why_not(self) -> str:
        problem = "" if self._machine is None else self._machine.problem
        return f"there is no way to the peer: {problem or f'the ICE agent is {self.state}'}"

    # What the driver tells

    def _deliver(self, data: bytes) -> None:
        if self._receive is not None:
            call_safely(self._receive, data, owner=self)
        elif len(self._inbox) < MAX_WAITING:
            self._inbox.append(data)
            self._changed.set()
        else:
            self.dropped += 1

    def _pump(self) -> None:
        if self._driver is not None:
            self._driver.pump()

    def _begin_again(self) -> None:
        if self._driver is not None:
            self._driver.begin_again()

    def _gathered(self) -> None:
        call_safely(self._on_candidate, None, owner=self)

    def _happened(self, event: IceEvent) -> None:
        match event:
            case LocalFound():
                call_safely(self._on_candidate, event.candidate, owner=self)
            case StateChanged():
                logger.debug("ICE, %s: %s %s", self.role, event.state, event.reason)
                self._changed.set()
                if event.state is IceState.COMPLETED and self._supply is not None:
                    self._supply.reflexive.keeps = False  # consent keeps the one that is used
                call_safely(self._on_state, event.state, owner=self)
            case PathChosen():
                logger.debug("ICE, %s: over %d to %s", self.role, event.path.base, event.path.address)
                self._changed.set()
                call_safely(self.on_path, Address(*event.path.address), owner=self)
            case ResolveWanted():
                self._tasks.create(self._resolve(event.name), name=f"librats resolves {event.name}")
            case Restarted():
                self._begin_again()
                call_safely(self._on_restart, self.local_description, owner=self)

    async def _resolve(self, name: str) -> None:
        hosts = await local_addresses(self._network, name)
        if self._machine is not None:
            self._machine.resolved(name, hosts, now=self._loop.time())
            self._pump()
