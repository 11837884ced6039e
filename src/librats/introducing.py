"""The client's verbs for reaching peers with the help of others, and the race between direct ways and introducers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from librats.config import RatsConfig
from librats.connector import Connector, Target, check_peer_id, describe
from librats.coordinating import CoordinatingVerbs
from librats.errors import ClosedError, ConnectError, DecodeError, PeerDenied, PeerLimitReached, RatsError, UsageError
from librats.ice.descriptions import IceDescription
from librats.introduce.passing import Passing
from librats.introduce.services import Services
from librats.introduced import IntroducedPeers
from librats.introducer_keeping import IntroducerKeeper
from librats.peers.arguments import check_timeout
from librats.peers.manager import PeerManager
from librats.peers.path_handle import PathsHandle
from librats.peers.peer import Peer
from librats.punching import Punching
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet
from librats.runtime.udp import Origin
from librats.servers import TurnServer, stun_address
from librats.services.introducer import Introductions, Offered, Sealing
from librats.services.introduction_letters import Introducer
from librats.services.nat_watch import NatWatch
from librats.services.session import Link
from librats.session.greeting import Feature
from librats.session.opening import Opened
from librats.types import Address, ConnectionAttempt, ConnectionMethod, ConnectionStrategy, Encryption

__all__ = ["IntroducingVerbs"]

AGENT = "librats-python/0.1"
"""What we call our software."""

INTRODUCER_PATIENCE = 5.0
"""Seconds that a dial waits for the first introducer of a client that has just started."""

SERVICES_PATIENCE = 0.5
"""The same, where there is another one already."""

HEAD_START = 0.1
"""Seconds that known addresses have before introducers are asked."""


class IntroducingVerbs(CoordinatingVerbs):
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _config: RatsConfig
        _connector: Connector | None
        _tasks: TaskSet
        _paths: PathsHandle
        _network: Network | None

        def _running(self) -> PeerManager:
            """See the client."""

    def __init__(self) -> None:
        self._introduced: IntroducedPeers | None = None
        self._circle: Introductions | None = None
        self._keeper: IntroducerKeeper | None = None

    @property
    def introducers(self) -> list[str]:
        """The configured introducers that are connected now, each ``"PEERID@HOST:PORT"``."""
        keeper = self._keeper
        return [] if keeper is None else [f"{one.peer_id}@{one.address}" for one in keeper.introducers]

    # By signals of the application's own

    async def create_ice_offer(self, peer_id: str) -> dict[str, Any]:
        """Return an offer to be carried to a peer by the application: a dictionary that JSON can hold.

        The peer gives it to :meth:`connect_with_ice`, and what that returns goes back, to :meth:`handle_ice_answer`.
        Whoever carries the two learns the addresses of both sides, but cannot be one of them. An offer is good for two
        minutes, and the last one for a peer is the only one.

        Args:
            peer_id: The peer.

        Returns:
            The offer.

        Raises:
            UsageError: The client is not running, that is no peer id, or ICE or encryption is switched off.
            IntroductionError: The client has no UDP port and no relay.

        Example:
            .. code-block:: python

                offer = await alice.create_ice_offer(bob_id)
                answer = ...  # from Bob's program, which calls `await bob.connect_with_ice(alice_id, offer)`
                peer = await alice.handle_ice_answer(bob_id, answer)
        """
        introduced = self._ice_for(peer_id)
        return {"from": self._running().identity.peer_id, "to": peer_id, "ice": await introduced.make_offer(peer_id)}

    async def connect_with_ice(self, peer_id: str, offer: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an offer that the application has received, and let its maker in.

        Args:
            peer_id: Who has made it.
            offer: What :meth:`create_ice_offer` has returned there.

        Returns:
            The answer, to be carried back at once. :meth:`on_connect` tells when the peer is there.

        Raises:
            DecodeError: It is no offer of that peer's for this client.
            UsageError: The client is not running, that is no peer id, or ICE or encryption is switched off.
            PeerLimitReached: ``max_peers`` are connected.
            PeerDenied: The allow or deny list does not let this client talk to the peer.
            IntroductionError: The client has no UDP port and no relay.
        """
        introduced = self._ice_for(peer_id)
        description = self._description(peer_id, offer)
        if self._connector is not None:
            self._connector.check_limits(peer_id)
        answer = await introduced.answer_offer(peer_id, description)
        return {"from": self._running().identity.peer_id, "to": peer_id, "ice": answer}

    async def handle_ice_answer(self, peer_id: str, answer: Mapping[str, Any], *, timeout: float | None = None) -> Peer:
        """Connect to a peer that has answered an offer.

        Args:
            peer_id: Who has answered.
            answer: What :meth:`connect_with_ice` has returned there.
            timeout: Seconds for everything, above 0; the configured ``connect_timeout`` where it is None.

        Returns:
            The peer.

        Raises:
            ConnectError: There is no way to it; ``attempts`` tells everything that was tried.
            DecodeError: It is no answer of that peer's for this client.
            UsageError: The client is not running, there is no offer for that peer, or not any more, or the timeout
                makes no sense.
            PeerLimitReached: ``max_peers`` are connected.
            PeerDenied: The allow or deny list does not let this client talk to the peer.
        """
        check_timeout(timeout)
        introduced = self._ice_for(peer_id)
        description = self._description(peer_id, answer)
        if self._connector is not None:
            self._connector.check_limits(peer_id)
        attempts: list[ConnectionAttempt] = []

        async def by_answer() -> Peer:
            return self._peer_of(await introduced.take_answer(peer_id, description), peer_id, attempts)

        seconds = self._config.connect_timeout if timeout is None else timeout
        return await _Race(self._tasks, peer_id, attempts).run(by_answer, head_start=0.0, seconds=seconds)

    def _ice_for(self, peer_id: str) -> IntroducedPeers:
        self._running()
        check_peer_id(peer_id)
        if self._introduced is None:
            raise UsageError("enable_ice or encryption is off")
        return self._introduced

    def _description(self, peer_id: str, told: Mapping[str, Any]) -> IceDescription:
        """Read an offer or an answer.

        Raises:
            DecodeError: It is none of that peer's for this client.
        """
        own_id = self._running().identity.peer_id
        if not isinstance(told, Mapping) or told.get("from") != peer_id or told.get("to") != own_id:
            raise DecodeError("no offer or answer of that peer's for this client")
        return IceDescription.from_json(told.get("ice"))

    def _peer_of(self, link: Link, text: str, attempts: Sequence[ConnectionAttempt]) -> Peer:
        peer = self._running().peers.get(link.peer_id)
        if peer is None:
            raise ConnectError(text, attempts, f"the session ended at once: {link.reason[1]}")
        return peer

    def _introduction_counters(self) -> dict[str, dict[str, int]]:
        """Return what has happened to this client as an introducer, as who calls, and as who is called."""
        circle, introduced = self._circle, self._introduced
        if circle is None:
            return {}
        kept = None if self._keeper is None else self._keeper.sessions.circle
        as_caller = dict(circle.counters)
        for name, count in ({} if kept is None else kept.counters).items():
            as_caller[name] += count
        return {
            "introducer": {} if circle.passing is None else dict(circle.passing.counters),
            "caller": as_caller,
            "target": {} if introduced is None else dict(introduced.guard.counters),
        }

    # Wiring

    def _start_introducing(self, manager: PeerManager, network: Network, udp: RudpPort | None) -> None:
        """Take part in introductions from now on, as far as the configuration has it."""
        nat = self._config.nat
        if self._config.encryption is Encryption.OFF:
            return
        sealing = Sealing(lambda: manager.identity.private_key, network.new_key, self._config.protocol, time.time)
        introduced = None
        if nat.enable_ice:
            introduced = self._introduced = IntroducedPeers(
                manager, nat, self._tasks, udp=udp, relays=self._paths.relays, sealing=sealing
            )
            if nat.enable_hole_punching:
                self._start_punching(manager, network, introduced)
        first = 1 + network.entropy.randbelow(1 << 31)

        def send(peer_id: str, body: bytes) -> bool:
            peer = manager.peers.get(peer_id)
            return peer is not None and peer.link.send_introduction(body)

        def offered(offer: Offered) -> None:
            if introduced is not None:
                introduced.offered(offer, self._introducer(manager.peers.get(offer.introducer)))

        self._circle = manager.introductions = Introductions(
            send,
            sealing=sealing,
            passing=Passing(lambda peer_id: _key_of(manager.peers.get(peer_id)), first=first)
            if nat.allow_introductions
            else None,
            guard=None if introduced is None else introduced.guard,
            offered=offered,
        )
        if introduced is not None and nat.introducers:
            self._keep_introducers(manager, network, introduced, sealing)

    def _start_punching(self, manager: PeerManager, network: Network, introduced: IntroducedPeers) -> None:
        config = self._config

        def servers() -> tuple[str, ...]:
            return introduced.nearer_stun() or config.nat.stun_servers

        introduced.punching = Punching(
            manager,
            config.nat,
            self._tasks,
            network,
            watch=NatWatch(
                lambda: [stun_address(server) for server in servers()],
                network,
                self._tasks,
                config.nat,
                seen_at=lambda: [one.observed.host for one in self._introducers() if one.observed is not None],
            ),
            guard=introduced.guard,
            servers=servers,
            transports=config.transports,
            listen_host=config.listen_host,
            max_datagram=config.max_packet,
        )

    def _keep_introducers(
        self, manager: PeerManager, network: Network, introduced: IntroducedPeers, sealing: Sealing
    ) -> None:
        def granted(server: TurnServer, patience: float) -> None:
            self._paths.relays.grant(server, patience=patience)
            manager.paths.has_relays = True

        keeper = self._keeper = IntroducerKeeper(
            self._config,
            network,
            self._tasks,
            identity=lambda: manager.identity,
            agent=AGENT,
            granted=granted,
        )
        introduced.nearer_stun = lambda: keeper.stun_servers

        def served(introducer: str, services: Services) -> None:
            keeper.served(introducer, services)
            if introduced.punching is not None:
                introduced.punching.watch.look()

        keeper.start(
            Introductions(
                keeper.sessions.send,
                sealing=sealing,
                guard=introduced.guard,
                offered=lambda offer: introduced.offered(offer, keeper.introducer(offer.introducer)),
                served=served,
            )
        )

    def _stop_introducing(self) -> None:
        if self._circle is not None:
            self._circle.close()
        if self._keeper is not None:
            self._keeper.close()
        self._circle = self._introduced = self._keeper = None

    def _take_others(self, batch: list[tuple[bytes, Origin]]) -> None:
        """Take what has come to the UDP port and is of no session."""
        if self._introduced is not None and self._introduced.shared is not None:
            self._introduced.shared.receive(batch)

    def _introducer(self, peer: Peer | None) -> Introducer | None:
        """Return a peer as an introducer; None where it does not introduce."""
        if peer is None or self._circle is None or not peer.is_connected or not _has(peer, Feature.INTRODUCES):
            return None
        link = peer.link
        return Introducer(self._circle, peer.id, link.address, link.method, link.round_trip, _observed(peer))

    def _introducers(self) -> list[Introducer]:
        found = [self._introducer(peer) for peer in self._running().peers.values()]
        kept = [] if self._keeper is None else self._keeper.introducers
        return [*kept, *(one for one in found if one is not None)]

    # The race

    async def _reach(
        self, wanted: Target, addresses: Sequence[Address], strategy: ConnectionStrategy, timeout: float | None
    ) -> Peer:
        """Reach a peer at its addresses, and through introducers where that takes long."""
        connector, introduced = self._connector, self._introduced
        if connector is None:
            raise UsageError("the client is not running")
        keeper = self._keeper
        is_helped = wanted.peer_id is not None and (keeper is not None or bool(self._introducers()))
        if not is_helped or strategy is ConnectionStrategy.DIRECT_ONLY or introduced is None or wanted.peer_id is None:
            if not addresses:
                raise ConnectError(wanted.text, reason="no address is known for that peer id, and nobody introduces us")
            return await connector.connect(wanted.text, list(addresses), expect_id=wanted.peer_id, timeout=timeout)
        connector.check_limits(wanted.peer_id)
        attempts: list[ConnectionAttempt] = []
        race = _Race(self._tasks, wanted.text, attempts)
        seconds = self._config.connect_timeout if timeout is None else timeout
        if addresses:
            race.start(
                connector.connect(wanted.text, list(addresses), expect_id=wanted.peer_id, timeout=timeout), "directly"
            )
        target = wanted.peer_id

        async def by_introducers() -> Peer:
            if keeper is not None and not keeper.is_ready:
                await keeper.wait(SERVICES_PATIENCE if self._introducers() else INTRODUCER_PATIENCE)
            introducers = self._introducers()
            if not introducers:
                raise ConnectError(wanted.text, attempts, "no introducer is connected")
            return self._peer_of(await introduced.reach(target, introducers, attempts), wanted.text, attempts)

        return await race.run(by_introducers, head_start=HEAD_START if addresses else 0.0, seconds=seconds)


class _Race:
    """A direct dial and introducers, of which the first to bring a peer wins."""

    def __init__(self, tasks: TaskSet, text: str, attempts: list[ConnectionAttempt]) -> None:
        self._tasks = tasks
        self._text = text
        self._attempts = attempts
        self._running: dict[asyncio.Task[Peer | RatsError], None] = {}
        self._last: RatsError | None = None

    def start(self, coroutine: Coroutine[Any, Any, Peer], name: str) -> None:
        """Begin one of the ways."""
        self._running[self._tasks.create(_or_error(coroutine), name=f"librats reaches {self._text} {name}")] = None

    async def run(self, rest: Callable[[], Coroutine[Any, Any, Peer]], *, head_start: float, seconds: float) -> Peer:
        """Begin the other way when the head start is over, or used up, and return the first peer.

        Raises:
            ConnectError: Nothing worked, or the time is up, or the client was stopped.
            PeerLimitReached: ``max_peers`` are connected; likewise PeerDenied.
        """
        try:
            async with asyncio.timeout(seconds):
                peer = await self._first(head_start) if self._running else None
                if peer is None:
                    self.start(rest(), "with help")
                while peer is None and self._running:
                    peer = await self._first(None)
        except TimeoutError:
            await self._end()  # each notes what it has tried
            raise ConnectError(self._text, self._attempts, f"no session within {seconds:g} s") from None
        finally:
            await self._end()
        if peer is None:
            if isinstance(self._last, PeerLimitReached | PeerDenied | UsageError):
                raise self._last
            reason = "" if self._attempts or self._last is None else _reason(self._last)
            raise ConnectError(self._text, self._attempts, reason) from self._last
        peer.attempts = tuple(self._attempts) or peer.attempts
        return peer

    async def _end(self) -> None:
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._running.clear()

    async def _first(self, patience: float | None) -> Peer | None:
        done, _ = await asyncio.wait(self._running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        winner = None
        for task in [task for task in self._running if task in done]:
            del self._running[task]
            if task.cancelled():
                raise ConnectError(self._text, self._attempts, "the client was stopped")
            result = task.result()
            if isinstance(result, Peer):
                winner = winner or result
            else:
                self._last = result
                if isinstance(result, ConnectError):
                    self._attempts += [one for one in result.attempts if one not in self._attempts]
        return winner


def _reason(error: RatsError) -> str:
    return error.reason or str(error) if isinstance(error, ConnectError) else describe(error)


async def _or_error(coroutine: Coroutine[Any, Any, Peer]) -> Peer | RatsError:
    try:
        return await coroutine
    except RatsError as error:
        return error
    except OSError as error:
        return ClosedError(str(error))


def _has(peer: Peer, feature: Feature) -> bool:
    opened = peer.link.opened
    return isinstance(opened, Opened) and opened.greeting is not None and bool(opened.greeting.features & feature)


def _key_of(peer: Peer | None) -> bytes | None:
    if peer is None or not peer.is_connected or not _has(peer, Feature.INTRODUCED):
        return None
    opened = peer.link.opened
    return opened.public_key if isinstance(opened, Opened) else None


def _observed(peer: Peer) -> Address | None:
    """Where a peer sees us; the port only where it is that of the socket which all sessions over UDP share."""
    if peer.hello is None or peer.link.method is ConnectionMethod.RELAY:
        return None
    try:
        seen = Address.parse(peer.hello.observed)
    except UsageError:
        return None
    if not seen.is_literal:
        return None
    return seen if peer.link.method is ConnectionMethod.UDP else Address(seen.host, 0)
