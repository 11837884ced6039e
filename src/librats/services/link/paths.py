"""How a link goes from one connection to another under its session, which does not notice."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, cast

from librats.errors import HandshakeError, RemoteProtocolError, UsageError
from librats.runtime.rudp_transport import RudpTransport
from librats.runtime.tcp import address_of
from librats.services.introduction.carried import CarriedTransport, CarryEnded
from librats.services.link.joining import Joining, Leaving
from librats.services.link.state import LOST, LinkState
from librats.session.datagrams import SealedDatagrams
from librats.session.frames import Reason
from librats.session.machine import Session
from librats.session.path_keys import Join
from librats.session.path_opening import PathAnswer, PathCall, PathOpened
from librats.types import ConnectionMethod

if TYPE_CHECKING:
    from librats.services.session import Link

__all__ = ["WRITE_HIGH", "WRITE_LOW", "LinkPaths", "method_of"]

logger = logging.getLogger("librats.session")

WRITE_HIGH = 256 * 1024
WRITE_LOW = 64 * 1024

MAX_REMEMBERED = 4
"""Addresses of the peer that are kept."""

UNSETTLED = 10.0
"""Seconds after going back to a connection in which its end may come from the peer's move."""

JOIN_TIMEOUT = 5.0
"""Seconds that the opening of a path may take."""

ENOUGH_PACKETS = 8
"""Packets of which it can be said how many are lost."""


def method_of(transport: asyncio.BaseTransport) -> ConnectionMethod:
    """Return how a connection leads to the peer."""
    if isinstance(transport, CarriedTransport):
        return ConnectionMethod.CARRIED
    return transport.method if isinstance(transport, RudpTransport) else ConnectionMethod.TCP


class LinkPaths(LinkState):
    """Mixed into :class:`~librats.services.session.Link`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _process(self, now: float | None = None) -> None:
            """Take the session's events."""

        def take_datagrams(self, items: list[bytes]) -> None:
            """Take what has come beside the stream."""

        def _connection_ended(self, exc: Exception | None) -> None:
            """End the link: there is no connection any more."""

    @property
    def path_token(self) -> bytes:
        """By what the peer names this session when it opens a path for it; empty where it moves to none."""
        keys = self._session.path_keys if isinstance(self._session, Session) else None
        return keys.token if keys is not None else b""

    @property
    def can_move(self) -> bool:
        """True where the session can go over to another path."""
        return bool(self.path_token) and self.ready and self.is_open and not self.retired

    @property
    def peer_may_be_elsewhere(self) -> bool:
        """True where the end of the connection at hand may mean that the peer has moved, or has yet to.

        So it is where this side was the first to go over to it and nothing has come over it yet, and for a while where
        this side has gone back to it.
        """
        if self._loop.time() < self._went_back_at + UNSETTLED:
            return True
        session, received = self._session, self._unconfirmed_from
        return received is not None and isinstance(session, Session) and session.blocks_received == received

    @property
    def has_joinings(self) -> bool:
        """True while a path is being opened."""
        return bool(self._joinings)

    @property
    def needs_path(self) -> bool:
        """True where the connection at hand is gone or left, or nothing of what was sent has arrived for a while."""
        session = self._session
        if not self.can_move or not isinstance(session, Session):
            return False
        return self._transport is None or self._frozen or session.is_stalled

    @property
    def loss(self) -> float:
        """The share of packets, 0 to 1, that had to be sent again over UDP; 0 where few were sent, or over TCP."""
        told = self._transport.get_extra_info("rudp") if self._transport is not None else None
        if told is None or told["packets_sent"] < ENOUGH_PACKETS:
            return 0.0
        return float(told["packets_repeated"] / told["packets_sent"])

    # Opening a path

    def call_path(self) -> Joining:
        """Return the protocol of a connection that this side makes for the session to move to.

        Raises:
            UsageError: The session does not move.
        """
        session = self._session
        if not self.can_move or not isinstance(session, Session) or session.path_keys is None:
            raise UsageError("this session stays on its path")
        joining = Joining(cast("Link", self), PathCall(session.path_keys), timeout=JOIN_TIMEOUT)
        self._joinings[joining] = None
        return joining

    def answer_path(self, join: Join, transport: asyncio.Transport, leftover: bytes) -> None:
        """Go on with a connection that the peer has made for the session to move to.

        Args:
            join: How it began.
            transport: The connection.
            leftover: What has come behind that.

        Raises:
            HandshakeError: It is not from the peer, or an old one.
        """
        session = self._session
        if not self.can_move or not isinstance(session, Session) or session.path_keys is None:
            raise HandshakeError("that session stays on its path")
        opening = PathAnswer(session.path_keys, join, self._entropy.token_bytes(8))
        joining = Joining(cast("Link", self), opening, timeout=JOIN_TIMEOUT)
        self._joinings[joining] = None
        transport.set_protocol(joining)
        joining.connection_made(transport)
        if leftover:
            joining.data_received(leftover)

    def makes_way_for(self, joining: Joining) -> bool:
        """Let a path be moved to, or not: of two that cross, that of the side which began the session goes first."""
        rivals = [other for other in self._joinings if other is not joining and other.has_switched]
        if rivals and (self.initiator != joining.is_call or rivals[0].is_call == joining.is_call):
            return False
        joining.has_switched = True
        for rival in rivals:
            rival.fail("another path was opened first")
        return True

    def _give_up_rivals(self, joining: Joining) -> None:
        """Let every other path go that was begun before this one is moved to: the peer does, too."""
        for other in list(self._joinings):
            if other is not joining:
                other.fail("the session has moved to another path")

    def joining_over(self, joining: Joining) -> None:
        """Take note that a path has been moved to, or has come to nothing."""
        self._joinings.pop(joining, None)
        if self._frozen and not (self._closing or any(other.has_switched for other in self._joinings)):
            self._go_back()

    def _go_back(self) -> None:
        """Go on with the connection at hand, where it is there and whole.

        The peer may have left it. That shows by its end, or by nothing being acknowledged; how much either side has
        taken is told anew on the next path.
        """
        transport, session = self._transport, self._session
        if transport is None or transport.is_closing() or self._is_path_broken or not isinstance(session, Session):
            self._wait_for_path()
            self._owner.path_stalled(cast("Link", self))
            return
        self._frozen = False
        self._went_back_at = self._loop.time()
        transport.resume_reading()
        session.ping(now=self._loop.time())
        self.request_flush()
        self._arm_timer()

    # Moving

    def freeze(self) -> int:
        """Take nothing more from the connection at hand.

        Returns:
            How many blocks have been taken so far.
        """
        session = cast("Session", self.session)
        if not self._frozen:
            self._frozen = True
            if self._transport is not None:
                self._transport.pause_reading()
        return session.blocks_received

    def take_path(self, joining: Joining, transport: asyncio.Transport, path: PathOpened, leftover: bytes) -> None:
        """Go over to another connection.

        Args:
            joining: How it was opened.
            transport: The connection.
            path: What its opening left behind.
            leftover: Bytes that came behind it: the session's.

        Raises:
            RemoteProtocolError: The peer tells of more than it was sent.
        """
        session = cast("Session", self.session)
        now = self._loop.time()
        session.move(path, now=now)
        self._unconfirmed_from = None if joining.is_call else session.blocks_received
        self._give_up_rivals(joining)
        old, old_address = self._transport, self.address
        if old is not None:
            old.set_protocol(Leaving())
            old.abort()
        self._frozen = False
        self._is_path_broken = False
        self._went_back_at = -math.inf
        self._paused = False
        self._spoke_first = False
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        self.address = address_of(transport.get_extra_info("peername"))
        self.method = method_of(transport)
        self._remember_address(dialled=joining.is_call)
        self.local_address = address_of(transport.get_extra_info("sockname"))
        self.reason = LOST
        transport.set_protocol(cast("Link", self))
        self._stop_waiting_for_path()
        if leftover:
            session.receive_data(leftover, now=now)
        self._flush()
        self._process()
        self._arm_timer()
        self._owner.path_changed(cast("Link", self), old_address)

    def _remember_address(self, *, dialled: bool) -> None:
        """Keep where the peer is, to find it there again; nobody listens where its TCP connection came from."""
        if self.method is not ConnectionMethod.CARRIED and (dialled or self.method is not ConnectionMethod.TCP):
            self.reached_at = tuple(dict.fromkeys((self.address, *self.reached_at)))[:MAX_REMEMBERED]

    def tag_packets(self, transport: asyncio.Transport, epoch: int) -> None:
        """Let nobody else meddle with the packets of a path over UDP, and send datagrams beside its stream."""
        session = self._session
        self._datagrams = None
        if isinstance(transport, RudpTransport) and isinstance(session, Session) and session.path_keys is not None:
            transport.set_key(*session.path_keys.tag_keys(epoch))
            self._datagrams = SealedDatagrams(session.path_keys, epoch)
            transport.on_datagrams(self.take_datagrams)

    # Without a path

    def _note_end(self, error: Exception | None) -> None:
        """Keep which limit of an introducer has ended the connection: it is why the session ends, where it does."""
        if isinstance(error, CarryEnded) and not self._closing:
            self.reason = (error.code if error.is_limit else Reason.LOST, str(error))

    def _leave_broken_path(self, words: str) -> None:
        """Take nothing more from the connection at hand, with which somebody meddles; end where no other can come.

        It stays open until there is another one: the peer would take its end for that of the session.
        """
        session = cast("Session", self._session)
        if not (self.can_move and self._owner.path_lost(cast("Link", self), RemoteProtocolError(words))):
            session.fail(Reason.PROTOCOL_ERROR, words)
            return
        logger.debug("%r: its path is left: %s", self, words)
        self.reason = (Reason.PROTOCOL_ERROR, words)
        self._is_path_broken = True
        self.freeze()
        self._wait_for_path()

    def _wait_for_path(self) -> None:
        """Keep the session although its connection is gone: another one may come."""
        if self._grace is None:
            self._grace = self._loop.call_later(self._config.path_timeout, self._no_path_came)

    def _stop_waiting_for_path(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def give_up_waiting(self) -> None:
        """End the session where its connection is gone: the peer is, too."""
        if self._grace is not None:
            self._stop_waiting_for_path()
            self._connection_ended(None)

    def _no_path_came(self) -> None:
        self._grace = None
        if self.reason == LOST:
            words = f"the connection was lost, and no other came within {self._config.path_timeout:g} s"
            self.reason = (Reason.LOST, words)
        self._closing = True
        if self._transport is None:
            self._connection_ended(None)
        else:
            self._transport.abort()

    def hand_over(self) -> asyncio.Transport:
        """Give the connection away, which belongs to another link, and end without having begun."""
        transport = cast("asyncio.Transport", self._transport)
        self._transport = None
        self._opening = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._closing = True
        for future in (self.closed, self.settled):
            if not future.done():
                future.set_result(None)
        return transport
