"""Where an ICE agent gets its candidates from: interfaces, STUN servers, TURN servers, all at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from librats.config import NatTraversalConfig
from librats.errors import ConfigError, RatsError
from librats.ice.addresses import Reach, reach_of
from librats.ice.agent import IceMachine
from librats.ice.candidates import CandidateType, TcpType
from librats.ice.gathering import ReflexiveGatherer
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.servers import TurnServer
from librats.services.ice.ports import IcePort, LendsRelays, OwnPort, RelayPort, SharedPort, SharedSocket, Take
from librats.services.ice.tcp import ActivePort, PassivePort
from librats.services.stun import one_of_each_family
from librats.services.turn.allocation import TurnAllocation
from librats.services.turn.keeping import TurnEvent
from librats.stun.transaction import Retransmission
from librats.turn.allocation_events import TurnAllocated
from librats.types import Address, PathPolicy

__all__ = ["IceSupply", "hosts_to_use"]

logger = logging.getLogger("librats.ice")

RTO, LONGEST_RTO = 0.1, 0.15
"""Seconds between two requests to a STUN server that does not answer: doubled from the first up to the second."""

MAX_HOSTS = 16
"""Interface addresses that are used: machines with many containers have hundreds."""


def hosts_to_use(hosts: Sequence[str], *, prefer_ipv6: bool = False) -> list[str]:
    """Return the addresses of this host that a peer may reach, the best first.

    Loopback and link-local addresses are used where there are no others.

    Example:
        >>> hosts_to_use(["192.0.2.7", "2001:db8::7", "fe80::1%eth0", "127.0.0.1"], prefer_ipv6=True)
        ['2001:db8::7', '192.0.2.7']
    """
    for accepted in ((Reach.GLOBAL, Reach.PRIVATE), (Reach.LINK,), (Reach.LOOPBACK,)):
        found = [host for host in hosts if reach_of(host) in accepted]
        if found:
            return sorted(found, key=lambda host: (":" in host) != prefer_ipv6)[:MAX_HOSTS]
    return []


def _pace(seconds: float) -> Retransmission:
    """Return how often to ask a server that is given up after that many seconds."""
    tries = max(1, int((seconds - RTO) / LONGEST_RTO))
    last = Retransmission(rto=RTO, rc=tries, rm=1, longest=LONGEST_RTO).sending_times[-1]
    return Retransmission(rto=RTO, rc=tries, rm=max(1.0, (seconds - last) / RTO), longest=LONGEST_RTO)


class IceSupply:
    """Opens the ports of one agent, and finds out how others see them.

    Args:
        machine: The agent.
        settings: Servers and times.
        network: Where.
        local_hosts: Interface addresses to use; None for all that :func:`hosts_to_use` chooses.
        shared: A socket to use instead of sockets of its own.
        lender: Whose relayed addresses to use instead of allocations of its own, and who knows this side's NATs.
    """

    def __init__(
        self,
        machine: IceMachine,
        settings: NatTraversalConfig,
        network: Network,
        *,
        local_hosts: Sequence[str] | None,
        shared: SharedSocket | None,
        lender: LendsRelays | None = None,
    ) -> None:
        self._lender = lender
        self._machine = machine
        self._settings = settings
        self._network = network
        self._take: Take
        self._changed: Callable[[], object]
        self._local_hosts = local_hosts
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskSet()
        self._open: dict[int, IcePort] = {}
        self._hosts: dict[str, list[int]] = {}
        self._shared_ports: list[int] = []
        self._resolving = self._allocating = 0
        self._has_asked = False
        self._something = asyncio.Event()
        habits = None if lender is None else lender.habits
        self.reflexive = ReflexiveGatherer(network.entropy, pace=_pace(settings.stun_timeout), habits=habits)
        """Who asks STUN servers."""
        self.problems: list[str] = []
        """What went wrong, in words."""

    def drive(self, take: Take, changed: Callable[[], object]) -> None:
        """Name who drives it.

        Args:
            take: Called with what comes to a port.
            changed: Called when the machine was told something.
        """
        self._take, self._changed = take, changed

    # Ports

    def port(self, number: int) -> IcePort | None:
        """Return the port of a base."""
        return self._open.get(number)

    async def open_ports(self) -> None:
        """Open a port on every interface address that is new, and give up those of addresses that are gone."""
        if self._settings.path_policy is PathPolicy.RELAY_ONLY:
            return
        hosts = self._local_hosts
        if hosts is None:
            hosts = hosts_to_use(await self._network.interface_addresses(), prefer_ipv6=self._settings.prefer_ipv6)
        for host in [host for host in self._hosts if host not in hosts]:
            for number in self._hosts.pop(host):
                await self._drop(number)
        if self._shared is not None and not self._shared_ports:
            self._shared_ports = [self._add_datagrams(port) for port in self._shared.ports(hosts)]
        for host in hosts:
            if host not in self._hosts:
                self._hosts[host] = [] if self._shared is not None else await self._bind(host)
                if self._settings.ice_tcp:
                    self._hosts[host] += await self._open_tcp(host)

    async def _bind(self, host: str) -> list[int]:
        try:
            return [self._add_datagrams(await OwnPort.bind(self._network, host))]
        except ConfigError as error:
            self._note(f"{host} cannot be used: {error}")
            return []

    async def _open_tcp(self, host: str) -> list[int]:
        ports: list[ActivePort | PassivePort] = [ActivePort(self._network, host, self._way_failed)]
        try:
            ports.append(await PassivePort.listen(self._network, host, self._way_failed))
        except ConfigError as error:
            self._note(f"nothing is listened on at {host}: {error}")
            return []
        return [self._add(port, "tcp", port.tcp_type) for port in ports]

    def _add_datagrams(self, port: IcePort) -> int:
        number = self._add(port, "udp", None)
        self.reflexive.add_base(number, 6 if ":" in port.addresses[0].host else 4, now=self._loop.time())
        self._changed()
        return number

    def _add(self, port: IcePort, transport: str, tcp_type: TcpType | None) -> int:
        number = self._machine.add_hosts(port.addresses, now=self._loop.time(), transport=transport, tcp_type=tcp_type)
        self._open[number] = port
        port.open(number, self._take)
        self._changed()
        return number

    def _way_failed(self, number: int, address: Address, problem: str) -> None:
        self._machine.way_failed(number, address, problem, now=self._loop.time())
        self._changed()

    async def _drop(self, number: int) -> None:
        port = self._open.pop(number, None)
        self.reflexive.remove_base(number)
        self._machine.remove_base(number, now=self._loop.time())
        self._changed()
        if port is not None:
            await port.close()

    def _note(self, problem: str) -> None:
        self.problems.append(problem)
        logger.debug("%s", problem)

    # Servers

    def ask_servers(self) -> None:
        """Begin to ask every server."""
        self._machine.resume_gathering()
        self._has_asked = True
        direct = self._settings.path_policy is not PathPolicy.RELAY_ONLY
        for server in self._settings.stun_addresses if direct else ():
            self._resolving += 1
            self._tasks.create(self._ask(server), name=f"librats asks {server}")
        relayed = [number for number, port in self._open.items() if isinstance(port, RelayPort)]
        servers = self._settings.relay_servers
        if servers and not relayed and self._settings.path_policy is not PathPolicy.DIRECT_ONLY:
            self._allocating += 1
            allocating = self._allocate(servers) if self._lender is None else self._borrow(self._lender)
            self._tasks.create(allocating, name="librats ICE relay")
        self._look()

    async def ask_servers_again(self) -> None:
        """Ask anew after a change of network."""
        self.reflexive.ask_again(now=self._loop.time())
        self.ask_servers()

    async def _ask(self, server: Address) -> None:
        try:
            async with asyncio.timeout(self._settings.stun_timeout):
                addresses = await self._network.resolve(server)
        except (OSError, ValueError, TimeoutError) as error:
            addresses = []
            self._note(f"{server.host} has no address: {error or 'no answer'}")
        self._resolving -= 1
        for address in one_of_each_family(addresses):
            self.reflexive.add_server(address, now=self._loop.time())
        self._changed()
        self._look()

    async def _allocate(self, servers: Sequence[TurnServer]) -> None:
        """Use the first server that gives an address; another one is asked, too, where one is slow."""
        waiting: set[asyncio.Task[RelayPort | None]] = set()
        remaining = list(servers)
        won = None
        try:
            while (remaining or waiting) and won is None:
                if remaining:
                    server = remaining.pop(0)
                    waiting.add(self._tasks.create(self._try_relay(server), name=f"librats ICE relay {server.host}"))
                patience = self._settings.stun_first_answer if remaining else None
                done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                won = next((port for task in done if (port := task.result()) is not None), None)
        finally:
            for task in waiting:
                task.cancel()
        self._allocating -= 1
        if won is not None:
            self._add_relay(won)
        self._look()

    async def _borrow(self, lender: LendsRelays) -> None:
        try:
            self._add_relay(await lender.lend())
        except RatsError as error:
            self._note(f"no relayed address: {error}")
        self._allocating -= 1
        self._changed()
        self._look()

    async def _try_relay(self, server: TurnServer) -> RelayPort | None:
        port = RelayPort()

        def happened(event: TurnEvent) -> None:
            if isinstance(event, TurnAllocated) and event.again:
                self._tasks.create(self._replace_relay(port), name="librats ICE relay anew")

        try:
            port.allocation = await TurnAllocation.open(
                server.through(self._settings.proxy),
                receive=port.received,
                on_event=happened,
                timeout=self._settings.turn_allocation_timeout,
            )
        except RatsError as error:
            self._note(f"no relayed address from {server.address}: {error}")
            return None
        return port

    def _add_relay(self, port: RelayPort) -> None:
        allocation = port.allocation
        server = allocation.server_address or allocation.server.address
        # Where only the relay's address is to be seen, ours is not told for diagnosis either.
        hidden = self._settings.path_policy is PathPolicy.RELAY_ONLY
        number = self._machine.add_relayed(
            port.addresses[0],
            server=server.host,
            mapped=None if hidden else allocation.mapped_address,
            now=self._loop.time(),
        )
        self._open[number] = port
        port.open(number, self._take)
        self._changed()

    async def _replace_relay(self, port: RelayPort) -> None:
        """Take that the relayed address is another one after a gap."""
        for number in [number for number, each in self._open.items() if each is port]:
            self._open.pop(number)
            self._machine.remove_base(number, now=self._loop.time())
            self._add_relay(port)

    def seen_at(self, address: Address, server: str) -> None:
        """Take where somebody sees the shared socket."""
        for number in self._shared_ports:
            port = self._open.get(number)
            if isinstance(port, SharedPort) and port.is_ipv6 == (":" in address.host):
                self._machine.add_mapped(number, address, server=server, now=self._loop.time())
                self._changed()

    def open_towards(self, address: Address, data: bytes) -> None:
        """Send a datagram from every socket of this host's own, so that NATs on this side let in what comes back."""
        family = ":" in address.host
        for port in self._open.values():
            if isinstance(port, OwnPort | SharedPort) and (":" in port.addresses[0].host) == family:
                port.send(data, address)

    # Waiting

    def look(self) -> None:
        """Take that a STUN server may have answered."""
        self._look()

    def _look(self) -> None:
        if self.is_over and self._machine.is_gathering:
            self._machine.end_gathering(now=self._loop.time())
        self._something.set()

    @property
    def is_over(self) -> bool:
        """True when every server has answered, or was given up."""
        return self._has_asked and not self._resolving and not self._allocating and self.reflexive.is_over

    async def wait(self, *, relays: bool = True) -> None:
        """Wait until there is a candidate of every kind, or until those that are missing have had their time.

        Args:
            relays: Whether relayed ones are waited for.
        """
        began = self._loop.time()
        settings = self._settings
        await self._until(lambda: not self._resolving and self.reflexive.is_enough, began + settings.stun_first_answer)
        if relays:
            await self._until(self._has_something, began + settings.ice_gathering_timeout)

    def _has_something(self) -> bool:
        return not self._allocating and (
            self.is_over or any(c.type is not CandidateType.HOST for c in self._machine.local_candidates)
        )

    async def _until(self, condition: Callable[[], bool], at: float) -> None:
        while not condition():
            self._something.clear()
            left = at - self._loop.time()
            if left <= 0:
                return
            await _within(left, self._something.wait())

    async def close(self) -> None:
        """Let every port go. Idempotent."""
        await self._tasks.close()
        ports, self._open = list(self._open.values()), {}
        self._hosts.clear()
        await asyncio.gather(*(port.close() for port in ports))


async def _within(seconds: float, waiting: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        pass
