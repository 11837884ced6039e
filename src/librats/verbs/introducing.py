"""How a client takes part in introductions: the parts for it wired together, and who introduces it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from librats.attempts.strategies import Ways
from librats.config import RatsConfig
from librats.discovery.being_found import BeingFound
from librats.discovery.finding import has_feature
from librats.errors import IntroductionError, UsageError
from librats.hole_punching.coordinating import CoordinatingVerbs
from librats.hole_punching.punching import Punching
from librats.introduce.carrying import Carrying
from librats.introduce.notices import Refusal
from librats.introduce.passing import Passing
from librats.introduce.places import Places
from librats.introduce.services import Services
from librats.introducers.keeping import IntroducerKeeper
from librats.introductions.introduced import IntroducedPeers
from librats.introductions.returning import Returning
from librats.memory.nat_memory import NatMemory
from librats.peers.links.path_handle import PathsHandle
from librats.peers.links.paths import INDIRECT
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.runtime.datagrams import Origin
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet
from librats.servers import TurnServer, stun_address
from librats.services.dht_handle import DhtHandle
from librats.services.introducer import Introductions
from librats.services.introduction.ends import Offered, Sealing
from librats.services.introduction.letters import Introducer
from librats.services.nat import NatHandle
from librats.services.nat_watch import NatWatch
from librats.services.session import Link
from librats.session.greeting import Feature
from librats.session.opening import Opened
from librats.types import Address, ConnectionAttempt, ConnectionMethod, Encryption
from librats.verbs.offering import OfferingVerbs

if TYPE_CHECKING:
    from librats.services.introduction.code_meetings import CodeMeetings, MeetingPoint

__all__ = ["IntroducingVerbs"]

AGENT = "librats-python/0.1"
"""What we call our software."""


class IntroducingVerbs(OfferingVerbs, CoordinatingVerbs, BeingFound):
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _config: RatsConfig
        _tasks: TaskSet
        _paths: PathsHandle
        _network: Network | None
        _nat: NatHandle
        _nat_memory: NatMemory
        _dht: DhtHandle

        def _running(self) -> PeerManager:
            """See the client."""

    def __init__(self) -> None:
        BeingFound.__init__(self)
        self._introduced: IntroducedPeers | None = None
        self._circle: Introductions | None = None
        self._keeper: IntroducerKeeper | None = None

    @property
    def introducers(self) -> list[str]:
        """The configured introducers that are connected now, each ``"PEERID@HOST:PORT"``."""
        keeper = self._keeper
        return [] if keeper is None else [f"{one.peer_id}@{one.address}" for one in keeper.introducers]

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
            "carrier": {} if circle.carrying is None else dict(circle.carrying.counters),
            "caller": as_caller,
            "target": {} if introduced is None else dict(introduced.guard.counters),
            "announcer": {} if self._announcer is None else self._announcer.counters,
            "publisher": {} if self._publisher is None else dict(self._publisher.counters),
        }

    # Wiring

    def _start_introducing(self, manager: PeerManager, network: Network, udp: RudpPort | None) -> None:
        """Take part in introductions from now on, as far as the configuration has it."""
        nat = self._config.nat
        self._tasks.create(self._nat_memory.look(network), name="librats looks at its networks")
        if udp is not None:
            self._nat_memory.habits.keep(udp)
        if self._config.encryption is Encryption.OFF:
            return
        sealing = Sealing(
            lambda: manager.identity.private_key, network.new_key, self._config.protocol, network.wall_time
        )
        introduced = None
        if nat.enable_ice:
            introduced = self._introduced = IntroducedPeers(
                manager, nat, self._tasks, udp=udp, relays=self._paths.relays, sealing=sealing
            )
            if nat.enable_hole_punching:
                self._start_punching(manager, network, introduced)
            introduced.nat_type = lambda: self._nat.type
            self._start_returning(manager, network, introduced)
        self._start_finding(manager, network, sealing, AGENT, udp)
        first = 1 + network.entropy.randbelow(1 << 31)

        def send(peer_id: str, body: bytes) -> bool:
            peer = manager.peers.get(peer_id)
            return peer is not None and peer.link.send_introduction(body)

        def takes_carried(peer_id: str) -> bool:
            return has_feature(manager.peers.get(peer_id), Feature.CARRIED)

        def offered(offer: Offered) -> None:
            if introduced is not None:
                introduced.offered(offer, self._introducer(manager.peers.get(offer.introducer)))

        passing = carrying = None
        if nat.allow_introductions:
            places = Places(network.entropy.randbelow)
            passing = Passing(lambda peer_id: _key_of(manager.peers.get(peer_id)), first=first, places=places)
            if nat.carry is not None:
                carrying = Carrying(passing.carriage, takes_carried, nat.carry)
        self._circle = manager.introductions = Introductions(
            send,
            sealing=sealing,
            passing=passing,
            carrying=carrying,
            guard=None if introduced is None else introduced.guard,
            offered=offered,
        )
        if introduced is not None and nat.introducers:
            self._keep_introducers(manager, network, introduced, sealing, udp)

    def _start_returning(self, manager: PeerManager, network: Network, introduced: IntroducedPeers) -> None:
        def move(link: Link, attempts: list[ConnectionAttempt], ways: Ways) -> Awaitable[None]:
            introducers = self._introducers()
            if not introducers:
                raise IntroductionError(Refusal.UNKNOWN_PEER, "nobody to ask")
            return introduced.move(link, introducers, attempts, ways=ways)

        def may_ask(link: Link) -> bool:
            others = (one for one in self._introducers() if one.peer_id != link.peer_id)
            is_known = has_feature(manager.peers.get(link.peer_id), Feature.INTRODUCED)
            return is_known and (self._keeper is not None or any(others))

        def verify() -> None:
            self._nat_memory.habits.doubt()
            if self._keeper is not None:
                self._keeper.verify()

        Returning(
            *(manager, self._tasks, move, may_ask, verify),
            entropy=network.entropy,
            relay_hosts=lambda: introduced.relay_hosts,
        )

    def _start_punching(self, manager: PeerManager, network: Network, introduced: IntroducedPeers) -> None:
        config = self._config

        def servers() -> tuple[str, ...]:
            return introduced.nearer_stun() or config.nat.stun_servers

        watch = NatWatch(
            lambda: [stun_address(server) for server in servers()],
            network,
            self._tasks,
            config.nat,
            seen_at=lambda: [one.observed.host for one in self._introducers() if one.observed is not None],
            habits=self._nat_memory.habits,
        )
        self._nat.watched = lambda: watch.info
        introduced.punching = Punching(
            manager,
            config.nat,
            self._tasks,
            network,
            watch=watch,
            guard=introduced.guard,
            servers=servers,
            transports=config.transports,
            listen_host=config.listen_host,
            max_datagram=config.max_packet,
        )

    def _keep_introducers(
        self,
        manager: PeerManager,
        network: Network,
        introduced: IntroducedPeers,
        sealing: Sealing,
        udp: RudpPort | None,
    ) -> None:
        def granted(server: TurnServer, patience: float) -> None:
            self._paths.relays.grant(server, patience=patience)
            manager.paths.has_relays = bool(self._paths.relays.servers)

        keeper = self._keeper = IntroducerKeeper(
            self._config,
            network,
            self._tasks,
            identity=lambda: manager.identity,
            agent=AGENT,
            granted=granted,
            udp=udp,
        )
        introduced.nearer_stun = lambda: keeper.stun_servers

        looking: list[asyncio.Task[None]] = []

        def served(introducer: str, services: Services) -> None:
            keeper.served(introducer, services)
            if not any(not task.done() for task in looking):  # however often an introducer says so
                looking[:] = [self._tasks.create(self._nat_memory.look(network), name="librats looks at its networks")]
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
        if self._keeper is not None and self._keeper.sessions.circle is not None:
            self._keeper.sessions.circle.close()
        if self._keeper is not None:
            self._keeper.close()
        self._stop_finding()
        self._circle = self._introduced = self._keeper = None

    def _take_others(self, batch: list[tuple[bytes, Origin]]) -> None:
        """Take what has come to the UDP port and is of no session."""
        rest = self._dht.take(batch)
        if rest and self._introduced is not None and self._introduced.shared is not None:
            self._introduced.shared.receive(rest)

    def _introducer(self, peer: Peer | None) -> Introducer | None:
        """Return a peer as an introducer; None where it does not introduce."""
        if peer is None or self._circle is None or not peer.is_connected or not has_feature(peer, Feature.INTRODUCES):
            return None
        link = peer.link
        return Introducer(
            *(self._circle, peer.id, link.address, link.method, link.round_trip, _observed(peer)),
            carries=has_feature(peer, Feature.CARRIES) and link.method is not ConnectionMethod.CARRIED,
        )

    def _introducers(self) -> list[Introducer]:
        found = [self._introducer(peer) for peer in self._running().peers.values()]
        kept = [] if self._keeper is None else self._keeper.introducers
        helpers = [] if self._found is None else self._found.introducers
        return [*kept, *helpers, *(one for one in found if one is not None)]

    def _meeting_points(self) -> list[MeetingPoint]:
        """Return where others can be met who know a number: at configured introducers, and at peers."""
        keeper, circle = self._keeper, self._circle
        found: list[MeetingPoint] = []
        if keeper is not None and keeper.sessions.circle is not None:
            meetings = keeper.sessions.circle.meetings
            found = [(meetings, one) for one in keeper.sessions.links if keeper.sessions.has_meetings(one)]
        if circle is not None:
            peers = self._running().peers.values()
            found += [(circle.meetings, peer.id) for peer in peers if has_feature(peer, Feature.MEETINGS)]
        return found

    def _code_meetings(self) -> CodeMeetings:
        """Return what gives and takes codes for this client.

        Raises:
            UsageError: The client is not running, or encryption is off.
        """
        from librats.services.introduction.code_meetings import CodeMeetings  # noqa: PLC0415 - loaded where there are codes

        self._running()
        if self._circle is None or self._network is None:
            raise UsageError("with encryption off there are no codes")
        return CodeMeetings(self._circle.meetings, self._meeting_points, self._network.entropy, self._tasks)


def _key_of(peer: Peer | None) -> bytes | None:
    if peer is None or not peer.is_connected or not has_feature(peer, Feature.INTRODUCED):
        return None
    opened = peer.link.opened
    return opened.public_key if isinstance(opened, Opened) else None


def _observed(peer: Peer) -> Address | None:
    """Where a peer sees us; the port only where it is that of the socket which all sessions over UDP share."""
    if peer.hello is None or peer.link.method in INDIRECT:
        return None
    try:
        seen = Address.parse(peer.hello.observed)
    except UsageError:
        return None
    if not seen.is_literal:
        return None
    return seen if peer.link.method is ConnectionMethod.UDP else Address(seen.host, 0)
