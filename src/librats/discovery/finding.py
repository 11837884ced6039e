"""The client's ticket, and how it reaches peers by more than their addresses: tickets of theirs, and the DHT."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from librats.attempts.strategies import Plan, Ways
from librats.config import RatsConfig
from librats.connector import Connector, Target
from librats.dht.records import IntroducerAt
from librats.discovery.dialling_by_id import DialById, Surroundings
from librats.errors import ConnectError, UsageError
from librats.ice.addresses import Reach, reach_of
from librats.introducers.found import FoundIntroducers
from librats.introducers.keeping import IntroducerKeeper
from librats.introductions.introduced import IntroducedPeers
from librats.peers.book import PeerBook
from librats.peers.links.path_handle import PathsHandle
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet
from librats.servers import introducer_place
from librats.services.introduction.ends import Sealing
from librats.services.introduction.letters import Introducer
from librats.services.nat import NatHandle
from librats.session.greeting import Feature
from librats.session.opening import Opened
from librats.tickets import MAX_ADDRESSES, MAX_INTRODUCERS, Ticket
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod, Encryption

if TYPE_CHECKING:
    from librats.services.dht_handle import DhtHandle, Driver

__all__ = ["FindingVerbs", "has_feature"]

STRAIGHT = (ConnectionMethod.TCP, ConnectionMethod.UDP)

AFTER_OTHERS = 0.4
"""Seconds that other ways to a peer have before the DHT is asked."""

MAX_TICKETS = 256
"""Tickets that are kept for when a peer is lost."""


def has_feature(peer: Peer | None, feature: Feature) -> bool:
    """Tell whether a peer is connected to which its greeting says that it does something."""
    opened = None if peer is None else peer.link.opened
    return isinstance(opened, Opened) and opened.greeting is not None and bool(opened.greeting.features & feature)


class FindingVerbs:
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _config: RatsConfig
        _connector: Connector | None
        _dht: DhtHandle
        _introduced: IntroducedPeers | None
        _keeper: IntroducerKeeper | None
        _nat: NatHandle
        _paths: PathsHandle
        _tasks: TaskSet

        @property
        def addresses(self) -> list[Address]:
            """See the client."""

        @property
        def book(self) -> PeerBook:
            """See the client."""

        @property
        def listen_port(self) -> int:
            """See the client."""

        def _running(self) -> PeerManager:
            """See the client."""

        def _running_network(self) -> Network:
            """See the client."""

        def _introducer(self, peer: Peer | None) -> Introducer | None:
            """See IntroducingVerbs."""

        def _introducers(self) -> list[Introducer]:
            """See IntroducingVerbs."""

        async def _wait_for_relay(self, wanted: Target) -> None:
            """See ReachingVerbs."""

    def __init__(self) -> None:
        self._found: FoundIntroducers | None = None
        self._by_id: DialById | None = None
        self._new_finder: Callable[[], DialById] | None = None
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()

    def ticket(self) -> Ticket:
        """Return all that others need to reach this client: its keys, its addresses, and the introducers it stays with.

        ``str()`` of it is one word to hand on, which :meth:`connect` takes. It is good as long as one of the addresses
        or introducers is; whoever has it may dial this client, and learns its addresses.

        Raises:
            UsageError: The client is not running, or encryption is off: nobody could prove to be the one meant.

        Example:
            .. code-block:: python

                text = str(alice.ticket())
                peer = await bob.connect(text)
        """
        identity = self._running().identity
        if self._config.encryption is Encryption.OFF:
            raise UsageError("with encryption off nobody proves who they are: there are no tickets")
        introducers = self._config.nat.introducers or [f"{one}@{where}" for one, where in self._introducing_peers()]
        return Ticket(
            public_key=identity.public_key,
            verify_key=identity.verify_key,
            addresses=tuple(self._told_addresses()[:MAX_ADDRESSES]),
            introducers=tuple(introducers[:MAX_INTRODUCERS]),
        )

    # Where this client is

    def _told_addresses(self) -> list[Address]:
        """Return where others may dial this client: public addresses first, loopback ones where there are no others."""
        by_reach: dict[str, list[Address]] = {}
        for address in self.addresses:
            by_reach.setdefault(reach_of(address.host), []).append(address)
        found = by_reach.get(Reach.GLOBAL, []) + by_reach.get(Reach.PRIVATE, [])
        return list(dict.fromkeys(found or by_reach.get(Reach.LOOPBACK, [])))

    def _introducing_peers(self) -> list[IntroducerAt]:
        """Return the connected peers that introduce, and were dialled: there others can dial them as well."""
        peers = [peer for peer in self._running().peers.values() if peer.outgoing and peer.method in STRAIGHT]
        return [IntroducerAt(peer.id, peer.address) for peer in peers if self._introducer(peer) is not None]

    def _seen_at(self) -> list[str]:
        """Return the public hosts at which others see this client."""
        seen = [one.observed.host for one in self._introducers() if one.observed is not None]
        hosts = [*seen, *(address.host for address in self._nat.mapped_addresses)]
        return sorted({host for host in hosts if reach_of(host) == Reach.GLOBAL})

    def _own_hosts(self) -> list[str]:
        hosts = [address.host for address in self.addresses]
        return [host for host in hosts if reach_of(host) != Reach.LOOPBACK] or hosts

    def _dht_now(self) -> Driver | None:
        """Return the DHT; None while it does not run."""
        return self._dht.driver

    # Finding

    def _start_finding(
        self, manager: PeerManager, network: Network, sealing: Sealing, agent: str, udp: RudpPort | None
    ) -> None:
        """Be ready to dial by id; what that takes is made when it is needed."""
        connector = self._connector

        def is_kept(peer_id: str) -> bool:
            return self._keeper is not None and peer_id in self._keeper.sessions.links

        def new_finder() -> DialById:
            if connector is None:
                raise UsageError("the client is not running")
            found = self._found = FoundIntroducers(
                self._config,
                network,
                self._tasks,
                identity=lambda: manager.identity,
                agent=agent,
                sealing=sealing,
                is_kept=is_kept,
                udp=udp,
            )
            if self._introduced is not None and not self._config.nat.stun_servers:
                kept = self._introduced.nearer_stun
                self._introduced.nearer_stun = lambda: kept() or found.stun_servers
            around = Surroundings(
                manager=manager,
                connector=connector,
                introduced=self._introduced,
                found=found,
                tasks=self._tasks,
                entropy=network.entropy,
                wall=network.wall_time,
                introducer_of=self._introducer,
                own_hosts=self._own_hosts,
                seen_at=self._seen_at,
            )
            return DialById(around)

        self._new_finder = new_finder

    def _stop_finding(self) -> None:
        if self._found is not None:
            self._found.close()
        self._found = self._by_id = self._new_finder = None

    def _may_find(self, wanted: Target, peer_id: str | None, plan: Plan) -> bool:
        """Tell whether a peer may be found by more than its addresses."""
        if self._new_finder is None or peer_id is None:
            return False
        if wanted.ticket is not None:
            self._tickets[peer_id] = wanted.ticket
            self._tickets.move_to_end(peer_id)
            while len(self._tickets) > MAX_TICKETS:
                self._tickets.popitem(last=False)
        ticket = self._tickets.get(peer_id)
        meets = bool(plan.meets) and self._introduced is not None
        by_ticket = ticket is not None and bool(ticket.introducers)
        by_record = self._dht_now() is not None and bool(plan.dials) and self._verify_key(peer_id) is not None
        return (meets and (by_ticket or self._dht_now() is not None)) or by_record

    def _verify_key(self, peer_id: str) -> bytes | None:
        """Return the key with which a peer signs, as its ticket or a session has told it."""
        ticket = self._tickets.get(peer_id)
        if ticket is not None:
            return ticket.verify_key
        known = self.book.get(peer_id)
        return bytes.fromhex(known.verify_key) if known is not None and known.verify_key else None

    async def _find_way(
        self,
        wanted: Target,
        peer_id: str,
        plan: Plan,
        attempts: list[ConnectionAttempt],
        *,
        dialled: Sequence[Address],
        began: float,
        has_others: bool,
    ) -> Peer:
        """Reach a peer by its ticket's introducers, and through the DHT.

        Raises:
            ConnectError: There is no way; likewise what :meth:`DialById.reach` raises.
        """
        if Ways.RELAYED in plan.meets and not plan.meets & Ways.DIRECT:
            await self._wait_for_relay(wanted)
        ticket = self._tickets.get(peer_id)
        connected = {one.peer_id for one in self._introducers()}
        named = () if ticket is None else ticket.introducers
        if has_others and all(introducer_place(text)[0] in connected for text in named):
            await asyncio.sleep(AFTER_OTHERS)
        if self._new_finder is None:
            raise ConnectError(wanted.text, attempts, "the client was stopped", AttemptReason.CANCELLED)
        by_id = self._by_id = self._by_id or self._new_finder()
        return await by_id.reach(
            wanted,
            peer_id,
            plan if self._introduced is not None else Plan(plan.dials, Ways.NONE),
            attempts,
            ticket=ticket,
            dht=self._dht_now(),
            verify_key=self._verify_key(peer_id),
            dialled=dialled,
            offset=asyncio.get_running_loop().time() - began,
        )
