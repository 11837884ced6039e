"""One stream of a session: its two directions, their credit, and how each ends."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from msgspec import Struct

from librats.errors import ClosedError, RemoteError, RemoteProtocolError
from librats.session.frames import Reason

__all__ = ["StreamError", "StreamHost", "StreamState"]

MERGE_BELOW = 2048
MERGED_SIZE = 32 * 1024


class StreamError(Struct, frozen=True):
    """Why a direction ended before its end."""

    code: str
    message: str
    local: bool = False

    def exception(self) -> Exception:
        """Return the exception that tells it to the application."""
        if self.local:
            return ClosedError(self.message or "the stream is closed")
        return RemoteError(self.code, self.message)


class StreamHost(Protocol):
    """What a stream needs of its session."""

    def stream_has_data(self, stream: StreamState) -> None:
        """Put the stream in the round of those that want to send."""

    def grant(self, stream: StreamState, credit: int) -> None:
        """Let the peer send that many more bytes."""

    def stop(self, stream: StreamState, code: str, message: str) -> None:
        """Tell the peer that nobody reads what it sends."""

    def reset(self, stream: StreamState, code: str, message: str) -> None:
        """Tell the peer that the stream is dead both ways."""

    def next_window(self, stream: StreamState, now: float) -> int:
        """Return the window, in bytes, that the stream should have from now on."""

    def forget(self, stream: StreamState) -> None:
        """Drop the stream: both directions have ended."""

    def release(self, size: int) -> None:
        """Take note that bytes of a stream that was dropped have been read, or thrown away."""


class StreamState:
    """One stream, without any input or output of its own.

    Args:
        host: The session.
        number: The stream's number, odd for those that the dialling side opened.
        name: Name of the application's protocol.
        window: Bytes that the peer may send at first.
        incoming: True where the peer opened it.
    """

    __slots__ = (
        "_consumed",
        "_end_wanted",
        "_granted",
        "_host",
        "_received",
        "_receiving_done",
        "_sending_done",
        "_unread",
        "_unread_offset",
        "_unsent",
        "_unsent_offset",
        "accepted",
        "at_end",
        "buffered",
        "credit",
        "granted_at",
        "incoming",
        "name",
        "number",
        "queued",
        "read_error",
        "window",
        "write_error",
    )

    def __init__(self, host: StreamHost, number: int, name: str, *, window: int, incoming: bool) -> None:
        self._host = host
        self.number = number
        self.name = name
        self.incoming = incoming
        self.accepted = False
        """True once both sides have agreed to the stream."""

        self._unsent: deque[bytes | bytearray] = deque()
        self._unsent_offset = 0
        self.queued = 0
        """Bytes written and not yet sent."""
        self.credit = 0
        """Bytes that the peer will still take."""
        self._end_wanted = False
        self._sending_done = False
        self.write_error: StreamError | None = None
        """Why nothing can be written any more, or None."""

        self.window = window
        """Bytes that the peer may be ahead of our reader."""
        self._granted = window
        self._received = 0
        self._consumed = 0
        self.granted_at = 0.0
        """When the peer was last given credit."""
        self._unread: deque[bytes | bytearray] = deque()
        self._unread_offset = 0
        self.buffered = 0
        """Bytes received and not yet read."""
        self.at_end = False
        """True where the peer has sent its last byte."""
        self.read_error: StreamError | None = None
        """Why nothing more will come, or None."""
        self._receiving_done = False

    @property
    def wants_to_send(self) -> bool:
        """True where a frame could go out now."""
        if self._sending_done or not self.accepted:
            return False
        return (self.queued > 0 and self.credit > 0) or (self._end_wanted and self.queued == 0)

    @property
    def end_wanted(self) -> bool:
        """True where the end was written, whether or not it has left."""
        return self._end_wanted

    @property
    def sending_done(self) -> bool:
        """True where the end, or the loss, of our direction has been told."""
        return self._sending_done

    @property
    def dead(self) -> bool:
        """True where both directions have ended."""
        return self._sending_done and self._receiving_done

    # Sending

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes.

        Raises:
            ClosedError: The end was already written, or the stream is closed.
            RemoteError: The peer does not take any more.
        """
        if self.write_error is not None:
            raise self.write_error.exception()
        if self._end_wanted:
            raise ClosedError("write after the end of the stream")
        size = len(data)
        if not size:
            return
        last = self._unsent[-1] if self._unsent else None
        if size < MERGE_BELOW:
            if isinstance(last, bytearray) and len(last) < MERGED_SIZE:
                last += data
            else:
                self._unsent.append(bytearray(data))
        else:
            self._unsent.append(data if isinstance(data, bytes) else bytes(data))
        self.queued += size
        self._host.stream_has_data(self)

    def write_eof(self) -> None:
        """End our direction behind what is queued. Doing it twice is harmless."""
        if self.write_error is None and not self._end_wanted:
            self._end_wanted = True
            self._host.stream_has_data(self)

    def peek(self) -> tuple[deque[bytes | bytearray], int, int, bool]:
        """What the next frame may carry: buffers, offset in the first, size, and whether the end goes with it."""
        size = min(self.queued, self.credit)
        return self._unsent, self._unsent_offset, size, self._end_wanted and size == self.queued

    def sent(self, size: int, *, end: bool) -> None:
        """Take note that a frame left with that many bytes of :meth:`peek`."""
        self.queued -= size
        self.credit -= size
        offset = self._unsent_offset + size
        while self._unsent and offset >= len(self._unsent[0]):
            offset -= len(self._unsent.popleft())
        self._unsent_offset = offset
        if end:
            self._finish_sending()

    def add_credit(self, credit: int) -> None:
        """Take note that the peer will take more; the first time that it accepts the stream."""
        self.accepted = True
        self.credit += credit
        if self.queued or self._end_wanted:
            self._host.stream_has_data(self)

    def stopped(self, code: str, message: str) -> None:
        """Take note that the peer does not read any more: what is queued is dropped and the end follows."""
        if self._sending_done or self.write_error is not None:
            return
        self.write_error = StreamError(code, message)
        self._drop_unsent()
        self._end_wanted = True
        self._host.stream_has_data(self)

    def _drop_unsent(self) -> None:
        self._unsent.clear()
        self._unsent_offset = 0
        self.queued = 0

    def _finish_sending(self) -> None:
        self._sending_done = True
        if self.write_error is None:
            self.write_error = StreamError(Reason.CLOSED, "write after the end of the stream", local=True)
        if self._receiving_done:
            self._host.forget(self)

    # Receiving

    def receive(self, data: bytes, *, end: bool) -> None:
        """Take bytes from the peer.

        Raises:
            RemoteProtocolError: More than the window, or data behind the end.
        """
        if self.at_end:
            raise RemoteProtocolError(f"stream {self.number}: data behind its end")
        self._received += len(data)
        if self._received > self._granted:
            raise RemoteProtocolError(f"stream {self.number}: more than its window")
        if data and self.read_error is None:
            self._keep_unread(data)
            self.buffered += len(data)
        if end:
            self.at_end = True
            self._finish_receiving()

    def _keep_unread(self, data: bytes) -> None:
        # Crumbs are put together: an object for each would take many times the memory that the window counts.
        last = self._unread[-1] if self._unread else None
        if last is None or len(data) >= MERGE_BELOW:
            self._unread.append(data)
        elif isinstance(last, bytearray) and len(last) < MERGED_SIZE:
            last += data
        elif isinstance(last, bytes) and len(last) < MERGE_BELOW:
            self._unread[-1] = bytearray(last) + data
        else:
            self._unread.append(data)

    def read(self, limit: int, *, now: float) -> bytes:
        """Take at most that many buffered bytes, and give the peer credit for them; b"" where there are none."""
        if not self._unread:
            return b""
        first = self._unread[0]
        start = self._unread_offset
        data = bytes(first[start : start + limit])
        if start + len(data) == len(first):
            self._unread.popleft()
            self._unread_offset = 0
        else:
            self._unread_offset += len(data)
        self._consume(len(data), now)
        return data

    def read_pieces(self, limit: int, *, now: float) -> list[bytes | bytearray | memoryview]:
        """Take buffered bytes in the pieces that they came in, at least one and no more once they reach the limit."""
        pieces: list[bytes | bytearray | memoryview] = []
        size = 0
        while self._unread and size < limit:
            piece: bytes | bytearray | memoryview = self._unread.popleft()
            if self._unread_offset:
                piece = memoryview(piece)[self._unread_offset :]
                self._unread_offset = 0
            pieces.append(piece)
            size += len(piece)
        self._consume(size, now)
        return pieces

    def _consume(self, size: int, now: float) -> None:
        self.buffered -= size
        self._consumed += size
        if self.dead:
            self._host.release(size)
        if self._receiving_done:
            return
        if self._granted - self._consumed <= self.window // 2:
            self.window = self._host.next_window(self, now)
            credit = self._consumed + self.window - self._granted
            if credit > 0:
                self._granted += credit
                self.granted_at = now
                self._host.grant(self, credit)

    def accept(self, now: float) -> None:
        """Agree to a stream that the peer opened: its first credit."""
        self.accepted = True
        self.granted_at = now
        self._host.grant(self, self._granted)
        self._host.stream_has_data(self)

    def stop_reading(self, code: str = Reason.CLOSED, message: str = "") -> None:
        """Throw away what is buffered and what will come."""
        if self.read_error is None:
            self.read_error = StreamError(code, message or "the stream is closed", local=True)
            self._drop_unread()
            if self.dead:
                self._host.release(self.buffered)
            self.buffered = 0
            if not self._receiving_done:
                self._host.stop(self, code, message)

    def _drop_unread(self) -> None:
        self._unread.clear()
        self._unread_offset = 0

    def _finish_receiving(self) -> None:
        self._receiving_done = True
        if self._sending_done:
            self._host.forget(self)

    # Both

    def abort(self, code: str, message: str) -> None:
        """End both directions at once and tell the peer."""
        if not self.dead:
            self._host.reset(self, code, message)
            self.fail(StreamError(code, message, local=True))

    def fail(self, error: StreamError) -> None:
        """End both directions at once; what was received before can still be read."""
        self.write_error = self.write_error or error
        if not self.at_end:
            self.read_error = self.read_error or error
        self._drop_unsent()
        self._sending_done = True
        self._receiving_done = True
        self._host.forget(self)
