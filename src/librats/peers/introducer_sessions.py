"""Sessions between nodes and public introducers: of a protocol of their own, for nothing but introductions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from librats.config import RatsConfig, SessionConfig
from librats.errors import DecodeError, HandshakeError, PeerLimitReached
from librats.introduce.notices import INTRODUCER_PROTOCOL
from librats.peers.entry.half_open import HalfOpenTable
from librats.peers.entry.networks import source_of
from librats.peers.entry.turns import HandshakeTurns
from librats.peers.hello import Hello
from librats.services.introduction.letters import Introducer
from librats.services.link.joining import Leaving
from librats.services.session import Link
from librats.session.events import FollowsReceived
from librats.session.frames import Kind, Reason
from librats.session.greeting import Feature, Greeting
from librats.session.opening import Opened, Opening
from librats.session.shared_limits import SharedLimits
from librats.types import Address, AttemptReason, Entropy

if TYPE_CHECKING:
    from librats.peers.identity import Identity
    from librats.services.introducer import Introductions
    from librats.services.stream import Stream
    from librats.session.events import DatagramReceived, FileChunkReceived, PeersOffered, PeersWanted
    from librats.session.librats2_punch import Envelope
    from librats.session.librats2_wire import Identify
    from librats.session.order import InOrder
    from librats.session.path_keys import Join

__all__ = ["IntroducerSessions"]

logger = logging.getLogger("librats.introducer")

KEY_SIZE = 32

LARGEST_MESSAGE = 65536

HANDSHAKES_PER_SECOND = 500.0
HANDSHAKES_PER_SOURCE = 20.0
"""Handshakes a second that others may begin, and of these how many one IPv4 address or one IPv6 network of /64."""


OVERLAP = 10.0
"""Seconds for which a session is listened to that another one with the same node has replaced, and takes its place
again where that one ends."""

QUIET = 2.0
"""Seconds of silence of introductions after which what is said goes over the newer one: what is under way has its order
in one session."""


def _quiet(config: RatsConfig) -> RatsConfig:
    """Return a configuration for introductions alone: of the session's settings, only those of signs of life count."""
    session = SessionConfig(
        max_message_size=LARGEST_MESSAGE,
        max_json_size=LARGEST_MESSAGE,
        ping_interval=config.session.ping_interval,
        idle_timeout=config.session.idle_timeout,
    )
    return replace(config, session=session)


class IntroducerSessions:
    """The sessions of one node with its introducers, or of one introducer with its nodes.

    Args:
        identity: Who we are.
        config: Limits, and how soon a session without a sign of life ends; the other settings of sessions do not count.
        entropy: Random values for everything but keys.
        new_key: Makes ephemeral keys.
        agent: What we call our software.
        features: What we tell that we do.
        most: Sessions at a time.
        taken: Tells whether a session with a node that was dialled is not wanted: there is one elsewhere, which a
            second one would end.
    """

    scratch: bytearray | None = None

    def __init__(
        self,
        identity: Callable[[], Identity],
        config: RatsConfig,
        *,
        entropy: Entropy,
        new_key: Callable[[int], bytes],
        agent: str,
        features: Feature,
        most: int,
        taken: Callable[[Link], bool] = lambda link: False,
    ) -> None:
        config = _quiet(config)
        self._taken = taken
        self._identity = identity
        self._config = config
        self._entropy = entropy
        self._new_key = new_key
        self._most = most
        self._shared = SharedLimits(config)
        self._greeting = Greeting(
            incarnation=new_key(8),
            message_window=self._shared.first_window,
            max_message=config.session.max_message_size,
            agent=agent,
            features=features,
        )
        self._turns: HandshakeTurns[Link] = HandshakeTurns(
            HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SOURCE, 2 * HANDSHAKES_PER_SOURCE
        )
        self._half_open: HalfOpenTable[Link] = HalfOpenTable(
            min(config.max_half_open, max(most // 2, 1)), config.max_half_open_per_source
        )
        self._open: dict[Link, None] = {}
        self._before: dict[Link, Link] = {}
        self._spoken: dict[Link, float] = {}
        self.links: dict[str, Link] = {}
        """The sessions by the id of the other side."""
        self.circle: Introductions | None = None
        """Who hears what is said on them."""
        self.ready: Callable[[Link], object] = lambda link: None
        """Called with every session that has begun."""
        self.observed: dict[str, Address] = {}
        """Where the other sides see us, by their ids."""

    # Links

    def new_link(self, expect_id: str | None = None, *, dialled: bool = False) -> Link:
        """Make the protocol of a connection.

        Args:
            expect_id: Who has to be there; None for anybody.
            dialled: Whether this side has made the connection, as it has wherever somebody is expected.
        """
        identity, initiator = self._identity(), dialled or expect_id is not None
        opening = Opening(
            initiator=initiator,
            private_key=identity.private_key,
            public_key=identity.public_key,
            ephemeral=self._new_key(KEY_SIZE),
            protocol=INTRODUCER_PROTOCOL,
            greeting=self._greeting,
            expect_id=expect_id,
        )
        return Link(
            opening,
            self,
            initiator=initiator,
            config=self._config.session,
            entropy=self._entropy,
            shared=self._shared,
            connected=self._connected,
            own_id=identity.peer_id,
        )

    def _connected(self, link: Link) -> bool:
        if link.initiator:
            self._open[link] = None
            return True
        # Else whoever begins sessions and says no more would have all places.
        evicted = self._half_open.add(source_of(link.address.host), link)
        if evicted is not None:
            self._open.pop(evicted[0], None)
            evicted[0].abort()
        self._open[link] = None
        return len(self._open) <= self._most

    def _has_begun(self, link: Link) -> None:
        if not link.initiator:
            self._half_open.remove(source_of(link.address.host), link)

    def send(self, peer_id: str, body: bytes) -> bool:
        """Send what belongs to an introduction; False where that cannot be done."""
        link = self.links.get(peer_id)
        before = None if link is None else self._before.get(link)
        if before is not None and self._is_spoken_on(before):
            link = before
        if link is None:
            return False
        self._spoken[link] = link.now()
        return link.send_introduction(body)

    def _is_spoken_on(self, link: Link) -> bool:
        return link.is_open and link.now() - self._spoken.get(link, -QUIET) < QUIET

    def key_of(self, peer_id: str) -> bytes | None:
        """Return the X25519 key of a node that is connected and takes introductions."""
        link = self.links.get(peer_id)
        opened = None if link is None else link.opened
        if not isinstance(opened, Opened) or opened.greeting is None:
            return None
        return opened.public_key if opened.greeting.features & Feature.INTRODUCED else None

    def takes_carried(self, peer_id: str) -> bool:
        """Tell whether a node that is connected takes sessions that an introducer carries."""
        return self._has(peer_id, Feature.CARRIED)

    def carries(self, peer_id: str) -> bool:
        """Tell whether an introducer carries sessions."""
        return self._has(peer_id, Feature.CARRIES)

    def has_meetings(self, peer_id: str) -> bool:
        """Tell whether an introducer has places where two meet who know a number."""
        return self._has(peer_id, Feature.MEETINGS)

    def is_findable(self, peer_id: str) -> bool:
        """Tell whether a node that is connected wants to be found by its id."""
        return self._has(peer_id, Feature.FINDABLE)

    @property
    def introducers(self) -> list[Introducer]:
        """The introducers that are connected."""
        return [] if self.circle is None else [self.introducer_on(link) for link in self.links.values()]

    def introducer_on(self, link: Link) -> Introducer:
        """Return the introducer at the other end of a session.

        Raises:
            RuntimeError: Nobody has said yet what is done with what comes from there.
        """
        if self.circle is None:
            raise RuntimeError("there is no circle of introductions yet")
        seen = self.observed.get(link.peer_id)
        return Introducer(
            *(self.circle, link.peer_id, link.address, link.method, link.round_trip),
            observed=Address(seen.host, 0) if seen is not None and seen.is_literal else None,
            carries=self.carries(link.peer_id),
        )

    def _has(self, peer_id: str, feature: Feature) -> bool:
        link = self.links.get(peer_id)
        opened = None if link is None else link.opened
        return isinstance(opened, Opened) and opened.greeting is not None and bool(opened.greeting.features & feature)

    def close(self) -> None:
        """End every session at once."""
        for link in list(self._open):
            link.abort()

    # What links report

    def handshake_begins(self, link: Link) -> float | None:
        """Tell in how many seconds a handshake may go on; None where there are too many."""
        begun = self._turns.begin(source_of(link.address.host), link, now=link.now())
        if begun.refused is not None and begun.refused is not link:
            begun.refused.abort()
        return begun.delay

    def handshake_waits(self, link: Link) -> float:
        """Tell in how many more seconds a handshake may go on that has waited."""
        return self._turns.left(link, now=link.now())

    def link_opened(self, link: Link) -> None:
        """Admit a node, unless it is this one or speaks of something else."""
        self._has_begun(link)
        if link.peer_id == link.own_id:
            link.refuse(HandshakeError("that is this node itself"), Reason.REFUSED)
        elif link.speaks_librats2:
            link.abort()
        elif link.initiator and self._taken(link):
            words = f"there is a session with introducer {link.peer_id[:8]} already"
            link.refuse(HandshakeError(words, AttemptReason.OVERTAKEN), Reason.REFUSED)
        elif len(self.links) >= self._most and link.peer_id not in self.links:
            link.refuse(PeerLimitReached(f"{len(self.links)} nodes are connected"), Reason.LIMIT)
        else:
            link.admit(Hello(observed=str(link.address)).encode())

    def link_ready(self, link: Link, hello: bytes) -> None:
        """Take a session into use; an older one with the same node ends when what was on its way has come."""
        before = self.links.get(link.peer_id)
        self.links[link.peer_id] = link
        if before is not None:
            self._before[link] = before
            asyncio.get_running_loop().call_later(OVERLAP, self._part_with_what_was_before, link)
        try:
            told = Hello.decode(hello)
            self.observed[link.peer_id] = Address.parse(told.observed)
        except (DecodeError, ValueError):
            self.observed.pop(link.peer_id, None)
        self.ready(link)

    def _part_with_what_was_before(self, link: Link) -> None:
        before = self._before.get(link)
        if before is not None and self._is_spoken_on(before):
            asyncio.get_running_loop().call_later(QUIET, self._part_with_what_was_before, link)
        elif before is not None:
            del self._before[link]
            before.abort()

    def introduction_received(self, link: Link, body: bytes) -> None:
        """Hand on what is said of introductions, also where another session with the same node has just begun."""
        self._spoken[link] = link.now()
        if self.circle is not None and link.peer_id in self.links:
            self.circle.received(link.peer_id, body, source=source_of(link.address.host))

    def link_going(self, link: Link, code: str, message: str) -> None:
        """Answer a goodbye."""
        link.hang_up()

    def link_closed(self, link: Link) -> None:
        """Take note that a session has ended."""
        self._open.pop(link, None)
        self._has_begun(link)
        self._turns.end(link)
        self._spoken.pop(link, None)
        before = self._before.pop(link, None)
        if self.links.get(link.peer_id) is not link:
            return
        if before is not None and before.is_open:
            self.links[link.peer_id] = before
        else:
            del self.links[link.peer_id]
            self.observed.pop(link.peer_id, None)
            if self.circle is not None:
                self.circle.left(link.peer_id)

    # What does not belong here

    def messages_received(self, link: Link, item: InOrder) -> None:
        """End a session on which something else is said: there is nobody to hear it."""
        if not isinstance(item, FollowsReceived):
            link.refuse(HandshakeError("messages are not for introducers"), Reason.PROTOCOL_ERROR)

    def request_cancelled(self, link: Link, number: int) -> None:
        """Do nothing: there are no requests."""

    def stream_opened(self, link: Link, stream: Stream) -> None:
        """Refuse it."""
        stream.refuse(Reason.NO_HANDLER, "streams are not for introducers")

    def datagram_received(self, link: Link, event: DatagramReceived) -> None:
        """Do nothing: nobody hears it."""

    def identified(self, link: Link, identify: Identify) -> None:
        """Do nothing: librats 2 nodes are not admitted."""

    def peer_exchange(self, link: Link, event: PeersWanted | PeersOffered) -> None:
        """Do nothing: an introducer tells nobody of others."""

    def punch_received(self, link: Link, envelope: Envelope) -> None:
        """Do nothing: librats 2 nodes are not admitted."""

    def file_chunk_received(self, link: Link, event: FileChunkReceived) -> None:
        """Do nothing: librats 2 nodes are not admitted."""

    def succession_received(self, link: Link, payload: bytes) -> None:
        """Do nothing: nobody is remembered."""

    def channel(self, number: int) -> tuple[Kind, str] | None:
        """Return None: nobody listens."""

    def path_joined(self, link: Link, join: Join, leftover: bytes) -> None:
        """Close the connection: these sessions do not move."""
        self._open.pop(link, None)
        self._has_begun(link)
        transport = link.hand_over()
        transport.set_protocol(Leaving())
        transport.abort()

    def path_stalled(self, link: Link) -> None:
        """Do nothing: these sessions do not move."""

    def path_lost(self, link: Link, error: Exception | None) -> bool:
        """Tell that no other connection will come."""
        return False

    def path_changed(self, link: Link, old: Address) -> None:
        """Do nothing: these sessions do not move."""
