"""The driver of a session over a byte stream: one connection, its handshake, its session machine, its timers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from librats.errors import HandshakeError, PeerNotConnected
from librats.introduce.parcels import LIMITS
from librats.runtime.rudp_transport import RudpTransport
from librats.runtime.tcp import address_of
from librats.services.introduction.carried import CarryEnded
from librats.services.link.events import LinkEvents
from librats.services.link.opening import LinkOpening
from librats.services.link.paths import WRITE_HIGH, WRITE_LOW, LinkPaths, method_of
from librats.services.link.verbs import LinkVerbs
from librats.session.events import StreamChanged
from librats.session.frames import Reason
from librats.session.librats2 import Librats2Session
from librats.session.machine import Session
from librats.session.opening import BlockOpening, Opened, PlainOpened

__all__ = ["Link"]

OPENING_BUFFER = 2048
SMALL_ROUND = 16 * 1024
"""A round of fewer bytes has left nothing behind that could be sent now."""


class Link(LinkVerbs, LinkEvents, LinkPaths, LinkOpening, asyncio.BufferedProtocol):
    """One connection to one peer.

    Args:
        opening: The handshake machine, fresh.
        owner: Who hears of everything.
        initiator: True on the side that dialled.
        config: Limits and timing.
        entropy: Random values for the session.
        shared: The limits that all links of a client keep together.
        connected: Called with the link once the connection is there; False refuses it before the handshake.
        own_id: Who this side is on this link.
    """

    __slots__ = ()

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake."""
        # uvloop's transports have the methods, but not the class.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        self.method = method_of(transport)
        self.address = address_of(transport.get_extra_info("peername") or ("", 0))
        self.local_address = address_of(transport.get_extra_info("sockname") or ("", 0))
        self._remember_address(dialled=self.initiator)
        if self._connected is not None and not self._connected(self):
            self._abort(Reason.REFUSED, "refused before the handshake")
            return
        self._start_opening()

    def get_buffer(self, sizehint: int) -> bytearray | memoryview:
        """Where the next bytes from the network go."""
        if self._session is not None and not self._deaf:
            return self._session.get_buffer(self._owner.scratch)
        self._opening_buffer = self._owner.scratch or bytearray(OPENING_BUFFER)
        return memoryview(self._opening_buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes from the network."""
        if self._deaf:
            return
        if self._session is not None:
            self._spoke_first = False
            now = self._loop.time()
            self._session.buffer_updated(nbytes, now=now)
            self._process(now)
        elif self._opening is not None and self._opening_buffer is not None:
            data = bytes(memoryview(self._opening_buffer)[:nbytes])
            self._opening_buffer = None
            self._take_opening(data)

    def _begin_session(self, opening: BlockOpening, opened: Opened | PlainOpened) -> None:
        self._opening = None
        self.opened = opened
        self.peer_id = opened.peer_id
        now = self._loop.time()
        if isinstance(opened, PlainOpened) or opened.greeting is None:
            self._session = Librats2Session(
                opened,
                config=self._config,
                entropy=self._entropy,
                channel=self._owner.channel,
                now=now,
                shared=self._shared,
            )
        else:
            self._session = Session(
                opened,
                opened.greeting,
                initiator=self.initiator,
                config=self._config,
                entropy=self._entropy,
                now=now,
                shared=self._shared,
                window=self._shared.first_window,
            )
        if leftover := opening.leftover:
            self._session.receive_data(leftover, now=now)
        if isinstance(self._transport, RudpTransport):
            # The last message of the handshake has gone without a tag, everything behind it goes with one.
            self.tag_packets(self._transport, 0)
        self._processing = True  # what the owner has to say leaves below, in this turn of the loop
        try:
            self._owner.link_opened(self)
        finally:
            self._processing = False
        if self._session.wants_to_send:
            self._flush(now)  # the peer can go on while this side takes what has come along
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
        """End, unless the session can go on over another connection."""
        self._transport = None
        if self._frozen and not self._closing:
            return  # it was left already
        self._note_end(exc)
        if self.can_move and self._owner.path_lost(self, exc):
            self._wait_for_path()
        else:
            self._connection_ended(exc)

    def _connection_ended(self, exc: Exception | None) -> None:
        """Wake everybody who waits for something from the peer."""
        self._stop_waiting_for_path()
        self._frozen = False
        for joining in list(self._joinings):
            joining.fail("the session ended")
        for handle in (self._timer, self._flush_handle):
            if handle is not None:
                handle.cancel()
        self._timer = self._flush_handle = None
        self._retirement.stop()
        if self.reason[0] in LIMITS:
            self._closing = True  # it is known why the connection is gone, and no other came
        if self._session is not None:
            self._session.receive_eof()
            self._process()
        if self.error is None and not self.ready and isinstance(exc, CarryEnded):
            self.error = HandshakeError(str(exc), exc.attempt_reason)
        elif self.error is None and not self.ready:
            self.error = HandshakeError(self.reason[1] if exc is None else f"{self.reason[1]}: {exc}")
        self._waiters.fail(PeerNotConnected(f"the session ended: {self.reason[1]}"))
        for stream in list(self._streams.values()):
            stream.changed()
        if not self.closed.done():
            self.closed.set_result(None)
            if not self.settled.done():
                self.settled.set_result(None)
            self._owner.link_closed(self)

    # Sending

    def request_flush(self) -> None:
        """See to it that what is queued leaves in this turn of the loop."""
        # While events are taken nothing need be done: what came of them leaves when they are through.
        if self._flush_handle is None and not (self._paused or self._processing) and self._transport is not None:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self, now: float | None = None) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
            self._spoke_first = False
        session, transport = self._session, self._transport
        if session is None or transport is None or self._said_all or self._frozen:
            return
        session.shortcut.close()
        if now is None:
            now = self._loop.time()
        while not (self._paused or transport.is_closing()):
            data = session.data_to_send(now=now)
            if not data:
                break
            transport.write(data)
            if len(data) < SMALL_ROUND or not session.wants_to_send:
                break
        # An acknowledgement may be due, or the path count as stalled, before the timer fires.
        if session.paths_timer() < self._timer_at:
            self._arm_timer()
        if self._streams:
            self._tell_streams(session)
        if self._waiters.senders or self._waiters.answerers:
            self._wake_for_sending(session)
        if self._said_goodbye:
            self._end_if_all_is_said(session)
        elif self._retirement.begun and not self._closing:
            self._leave_if_done(session)

    def _tell_streams(self, session: Session | Librats2Session) -> None:
        """Tell streams at once of what has left."""
        events = session.take_events()
        while events and type(events[0]) is StreamChanged and self.admitted:
            self._take_event(events.popleft())

    def _wake_for_sending(self, session: Session | Librats2Session) -> None:
        low_water = self._shared.send_low_water
        if self._waiters.senders and session.queued <= low_water:
            self._waiters.wake_senders()
        if self._waiters.answerers and session.replies_queued <= low_water:
            self._waiters.wake_answerers()

    def _end_if_all_is_said(self, session: Session | Librats2Session) -> None:
        if not session.wants_to_send and not session.queued and self._transport is not None:
            self._said_goodbye = False
            self._said_all = True
            if self._transport.can_write_eof():
                with contextlib.suppress(OSError):  # the peer has just dropped the connection
                    self._transport.write_eof()

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
        if self._presumed is not None:
            self._loop.call_soon(self.presume, self._presumed)
        if not self._processing:
            self._loop.call_soon(self._process)  # what came while the owner made up its mind, and the hello

    def presume(self, hello: bytes) -> None:
        """Take the peer's hello from elsewhere: it has told that it lets this side in, ahead of the handshake's end.

        Where this side has not let the peer in yet, that is waited for.
        """
        self._presumed = hello
        if self.admitted and not self.ready and self.is_open and self._transport is not None:
            self._become_ready(hello)
            self.request_flush()

    def _arm_timer(self) -> None:
        if self._session is None or self._transport is None or self._closing or not self.ready:
            return
        when = self._session.next_timer()
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when  # the handles of uvloop do not all tell
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._session is not None:
            self._session.handle_timer(now=self._loop.time())
            self._process()
            self._arm_timer()

    def pause(self) -> None:
        """Take nothing from the network for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on taking from the network. An opening that this side has held up gets its time anew."""
        if self._transport is not None:
            self._transport.resume_reading()
            if self._opening is not None and self._clock is not None:
                self._clock.restart(now=self._loop.time())
