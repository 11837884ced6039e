"""The driver of a session over a byte stream: one connection, its handshake, its session machine, its timers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from librats._core.unframing import Message
from librats.config import SessionConfig
from librats.errors import (
    HandshakeError,
    PeerNotConnected,
    RatsError,
    RemoteError,
    RequestTimeout,
)
from librats.runtime.tcp import address_of
from librats.services.link_verbs import LinkVerbs
from librats.services.owner import LinkOwner
from librats.services.retirement import Retirement
from librats.services.stream import Stream
from librats.services.waiting import Waiters
from librats.session.events import (
    DatagramReceived,
    Event,
    GoAwayReceived,
    HelloReceived,
    IdentifyReceived,
    PongReceived,
    ReplyReceived,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    SessionFailed,
    StreamChanged,
    StreamOpened,
)
from librats.session.frames import Reason
from librats.session.librats2 import Librats2Session
from librats.session.machine import Session
from librats.session.opening import Opened, Opening
from librats.types import Address, Entropy

__all__ = ["Link"]

logger = logging.getLogger("librats.session")

OPENING_BUFFER = 2048
WRITE_HIGH = 256 * 1024
WRITE_LOW = 64 * 1024


class Link(LinkVerbs, asyncio.BufferedProtocol):
    """One connection to one peer.

    Args:
        opening: The handshake machine, fresh.
        owner: Who hears of everything.
        initiator: True on the side that dialled.
        config: Limits and timing.
        entropy: Random values for the session.
        connected: Called with the link once the connection is there; False refuses it before the handshake.
    """

    def __init__(
        self,
        opening: Opening,
        owner: LinkOwner,
        *,
        initiator: bool,
        config: SessionConfig,
        entropy: Entropy,
        connected: Callable[[Link], bool] | None = None,
    ) -> None:
        self._opening: Opening | None = opening
        self._opening_buffer = bytearray(OPENING_BUFFER)
        self._owner = owner
        self._connected = connected
        self._config = config
        self._entropy = entropy
        self._loop = asyncio.get_running_loop()
        self.initiator = initiator
        """True where this side dialled."""
        self.address = Address("", 0)
        """Where the peer is, as the connection sees it."""
        self.local_address = Address("", 0)
        """This side of the connection."""
        self.peer_id = ""
        """Id of the peer; empty until the handshake is done."""
        self.opened: Opened | None = None
        """What the handshake left behind, once it is done."""
        self.reason: tuple[str, str] = (Reason.LOST, "the connection was lost")
        """Code and words for why the link ended."""
        self.error: RatsError | None = None
        """Why the handshake failed, or None."""
        self.admitted = False
        """True once the owner has let the peer in; until then its messages wait."""
        self.ready = False
        """True once both sides have let each other in."""
        self.refused_here = False
        """True where it was this side that did not let the other in."""
        self._retirement = Retirement(self._loop, self.request_flush)
        self._session: Session | Librats2Session | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flush_handle: asyncio.Handle | None = None
        self._paused = False
        self._held_back = False
        self._processing = False
        self._just_consumed = 0
        self._closing = False
        self._said_goodbye = False
        self._said_all = False
        self._streams: dict[int, Stream] = {}
        self._waiters = Waiters(self._loop)
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is gone."""
        self.settled: asyncio.Future[None] = self._loop.create_future()
        """Done when both sides have let each other in, or the connection is gone."""

    def __repr__(self) -> str:
        """Show direction, address and peer."""
        arrow = "to" if self.initiator else "from"
        return f"<Link {arrow} {self.address} peer={self.peer_id[:8] or 'unknown'}>"

    @property
    def session(self) -> Session | Librats2Session:
        """The session machine.

        Raises:
            PeerNotConnected: The handshake is not done.
        """
        if self._session is None:
            raise PeerNotConnected("the handshake is not done")
        return self._session

    @property
    def speaks_librats2(self) -> bool:
        """True where the peer is a librats 2 node rather than one of ours."""
        return isinstance(self._session, Librats2Session)

    @property
    def is_open(self) -> bool:
        """True where messages can be sent."""
        return (
            self._session is not None
            and self._session.failed is None
            and not (self._closing or self._retirement.has_left)
        )

    @property
    def is_usable(self) -> bool:
        """True where both sides still take messages on it."""
        return self.ready and self.is_open and not self._retirement.peer_has_left

    @property
    def retired(self) -> bool:
        """True once another link to the peer has taken over."""
        return self._retirement.begun

    def now(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a link runs over a byte stream")
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        self.address = address_of(transport.get_extra_info("peername") or ("", 0))
        self.local_address = address_of(transport.get_extra_info("sockname") or ("", 0))
        if self._connected is not None and not self._connected(self):
            self._abort(Reason.REFUSED, "refused before the handshake")
            return
        self._timer = self._loop.call_later(self._config.handshake_timeout, self._handshake_expired)
        self._send_opening()

    def _send_opening(self) -> None:
        if self._opening is not None and self._transport is not None:
            data = self._opening.data_to_send()
            if data:
                self._transport.write(data)

    def _handshake_expired(self) -> None:
        self._fail_opening(HandshakeError(f"no handshake within {self._config.handshake_timeout:g} s"))

    def _fail_opening(self, error: RatsError) -> None:
        logger.debug("%s: %s", self.address, error)
        self.error = error
        self._abort(Reason.PROTOCOL_ERROR, str(error))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes from the network go."""
        if self._session is not None:
            return self._session.get_buffer()
        return memoryview(self._opening_buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes from the network."""
        if self._session is not None:
            self._session.buffer_updated(nbytes, now=self._loop.time())
            self._process()
        elif self._opening is not None:
            self._take_opening(bytes(self._opening_buffer[:nbytes]))

    def _take_opening(self, data: bytes) -> None:
        opening = self._opening
        if opening is None:
            return
        try:
            opening.receive_data(data)
        except HandshakeError as error:
            self._fail_opening(error)
            return
        self._send_opening()
        if opening.result is not None:
            self._begin_session(opening, opening.result)

    def _begin_session(self, opening: Opening, opened: Opened) -> None:
        self._opening = None
        self.opened = opened
        self.peer_id = opened.peer_id
        now = self._loop.time()
        if opened.greeting is None:
            self._session = Librats2Session(
                opened, config=self._config, entropy=self._entropy, channel=self._owner.channel, now=now
            )
        else:
            self._session = Session(
                opened,
                opened.greeting,
                initiator=self.initiator,
                config=self._config,
                entropy=self._entropy,
                now=now,
            )
        if leftover := opening.leftover:
            self._session.receive_data(leftover, now=now)
        self._owner.link_opened(self)
        self._process()

    def eof_received(self) -> bool:
        """Take the end of the peer's bytes: the connection is closed."""
        if self._opening is not None:
            try:
                self._opening.receive_eof()
            except HandshakeError as error:
                self.error = self.error or error
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody who waits for something from the peer."""
        for handle in (self._timer, self._flush_handle):
            if handle is not None:
                handle.cancel()
        self._timer = self._flush_handle = None
        self._retirement.stop()
        self._transport = None
        if self._session is not None:
            self._session.receive_eof()
            self._process()
        if self.error is None and not self.ready:
            self.error = HandshakeError(self.reason[1] if exc is None else f"{self.reason[1]}: {exc}")
        self._waiters.fail(PeerNotConnected(f"the session ended: {self.reason[1]}"))
        for stream in list(self._streams.values()):
            stream.changed()
        if not self.closed.done():
            self.closed.set_result(None)
            if not self.settled.done():
                self.settled.set_result(None)
            self._owner.link_closed(self)

    # Events of the session

    def _process(self) -> None:
        session = self._session
        if session is None:
            return
        events = session.take_events()
        message_received = self._owner.message_received
        self._processing = True
        try:
            while events and (self.admitted or session.failed is not None):
                event = events.popleft()
                if not self.admitted and type(event) not in (GoAwayReceived, SessionFailed):
                    continue  # what came from somebody who was never let in is not heard
                if type(event) is Message:
                    message_received(self, event)
                else:
                    self._take_event(event)
        finally:
            self._processing = False
        if self._just_consumed:
            session.consumed(self._just_consumed)
            self._just_consumed = 0
        self._hold_back(session)
        if session.wants_to_send or self.retired:
            self._flush()

    def _hold_back(self, session: Session | Librats2Session) -> None:
        """Stop taking from the network while the session cannot hold its peer back in another way."""
        wanted = session.wants_pause
        if wanted != self._held_back:
            self._held_back = wanted
            if wanted:
                self.pause()
            else:
                self.resume()

    def _take_event(self, event: Event) -> None:  # noqa: PLR0912 - one branch for each event
        match event:
            case StreamChanged():
                stream = self._streams.get(event.stream.number)
                if stream is not None:
                    stream.changed()
                    if event.stream.dead:
                        del self._streams[event.stream.number]
            case ReplyReceived():
                self._waiters.settle_reply(event.request_id, (event.kind, event.payload))
            case RequestFailed():
                self._waiters.settle_reply(event.request_id, RemoteError(event.code, event.message))
            case RequestExpired():
                self._waiters.settle_reply(event.request_id, RequestTimeout("no reply within the deadline"))
            case RequestCancelled():
                self._owner.request_cancelled(self, event.request_id)
            case PongReceived():
                self._waiters.settle_pong(event.token, event.rtt)
            case StreamOpened():
                stream = self._streams[event.stream.number] = Stream(self, event.stream)
                self._owner.stream_opened(self, stream)
            case DatagramReceived():
                self._owner.datagram_received(self, event)
            case HelloReceived():
                if not self.ready:
                    self._become_ready(event.payload)
            case IdentifyReceived():
                self._owner.identified(self, event.identify)
            case GoAwayReceived():
                self._take_go_away(event)
            case SessionFailed():
                self._take_failure(event)

    def _become_ready(self, hello: bytes) -> None:
        self.ready = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arm_timer()
        self.settled.set_result(None)
        self._owner.link_ready(self, hello)

    def _take_go_away(self, event: GoAwayReceived) -> None:
        if not self.ready:
            self.error = HandshakeError(f"the peer refused: {event.message or event.code}")
        if not self._closing and event.code != Reason.SUPERSEDED:
            self.reason = (event.code, event.message or "the peer closed the session")
        self._owner.link_going(self, event.code, event.message)

    def _take_failure(self, event: SessionFailed) -> None:
        if not self._closing:
            self._closing = True
            self.reason = (event.code, event.message)
            logger.debug("%r failed: %s", self, event.message)
            self._flush()
            self._close_transport()

    # Sending

    def request_flush(self) -> None:
        """See to it that what is queued leaves in this turn of the loop."""
        if self._flush_handle is None and not self._paused and self._transport is not None:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        session, transport = self._session, self._transport
        if session is None or transport is None or self._said_all:
            return
        while not (self._paused or transport.is_closing()):
            data = session.data_to_send(now=self._loop.time())
            if not data:
                break
            transport.write(data)
        session.streams.flush_changes()
        self._after_flush(session)

    def _after_flush(self, session: Session | Librats2Session) -> None:
        events = session.take_events()
        while events and type(events[0]) is StreamChanged and self.admitted:
            self._take_event(events.popleft())
        low_water = self._config.send_low_water
        if self._waiters.any_for_room and session.queued <= low_water:
            self._waiters.wake_senders()
        if self._waiters.any_for_reply_room and session.replies_queued <= low_water:
            self._waiters.wake_answerers()
        if self._said_goodbye and not session.wants_to_send and not session.queued and self._transport is not None:
            self._said_goodbye = False
            self._said_all = True
            if self._transport.can_write_eof():
                with contextlib.suppress(OSError):  # the peer has just dropped the connection
                    self._transport.write_eof()
        elif self.retired and not self._closing:
            self._leave_if_done(session)

    def _leave_if_done(self, session: Session | Librats2Session) -> None:
        """Tell the peer that a retired link is done with, and close it once the peer has said so too."""
        retirement = self._retirement
        if retirement.may_leave and not retirement.has_left and session.is_idle:
            retirement.has_left = True
            session.go_away(Reason.SUPERSEDED, "another link took over")
            self.request_flush()
        elif retirement.has_left and (retirement.peer_has_left or self.speaks_librats2) and not session.wants_to_send:
            self._closing = True
            self._close_transport()

    def pause_writing(self) -> None:
        """Stop: the network is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on: the network has room."""
        self._paused = False
        self._flush()

    # Life

    def admit(self, hello: bytes) -> None:
        """Let the peer in, tell it about ourselves, and take what it sends."""
        self.admitted = True
        self.session.send_hello(hello)
        self._loop.call_soon(self._process)  # what came while the owner made up its mind, and the hello

    def _arm_timer(self) -> None:
        if self._session is None or self._transport is None or self._closing or not self.ready:
            return
        when = self._session.next_timer()
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._session is not None:
            self._session.handle_timer(now=self._loop.time())
            self._process()
            self._arm_timer()

    def retire(self, *, peer_is_done: bool = False) -> None:
        """Finish what is under way on this link, then close it: another one has taken over.

        Args:
            peer_is_done: True where the peer has said that it is done with the link.
        """
        self._retirement.begin(peer_is_done=peer_is_done)

    def reinstate(self) -> None:
        """Take a retired link into use again: the one that had taken over is gone."""
        self._retirement.undo()

    def consumed(self, cost: int) -> None:
        """Take note that a message has been handled."""
        if self._processing:
            self._just_consumed += cost
        elif self._session is not None and self._session.failed is None:
            self._session.consumed(cost)
            self._hold_back(self._session)
            if self._session.wants_to_send or self.retired:
                self.request_flush()

    def refuse(self, error: RatsError, code: str) -> None:
        """Send the peer away before the session has begun."""
        self.error = error
        self.refused_here = True
        self.admitted = False
        if not self._closing:
            self.reason = (code, str(error))
            self._say_goodbye(code, str(error))

    def pause(self) -> None:
        """Take nothing from the network for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on taking from the network."""
        if self._transport is not None:
            self._transport.resume_reading()

    def _say_goodbye(self, code: str, message: str) -> None:
        if self._session is not None:
            self._closing = True
            self._session.go_away(code, message)
            self._said_goodbye = True
            self._linger()
            self._flush()

    def _linger(self) -> None:
        """Give the last bytes a little time: a peer that does not take them must not hold us up."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._config.close_timeout, self.abort)

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._linger()

    async def close(self, code: str = Reason.CLOSED, message: str = "") -> None:
        """Send what is queued and why, and close; after ``close_timeout`` seconds without ceremony. Idempotent."""
        if not self._closing and self._transport is not None:
            self.reason = (code, "closed on this side")
            if self._session is None:
                self._abort(code, message)
            else:
                self._say_goodbye(code, message)
        if self._transport is not None:
            await asyncio.wait([self.closed])

    def hang_up(self) -> None:
        """Close the connection after the peer has said goodbye: what we still send, it does not take."""
        self._closing = True
        self._flush()
        self._close_transport()

    def _abort(self, code: str, message: str) -> None:
        self._closing = True
        self.reason = (code, message)
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()
