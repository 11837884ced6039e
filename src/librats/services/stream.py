"""A stream as the application sees it: asyncio reading and writing over the session's stream machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from librats.errors import ClosedError, UsageError
from librats.runtime.heap import keep_freed_memory
from librats.session.frames import Reason

if TYPE_CHECKING:
    from librats.services.session import Link
    from librats.session.streams import StreamError, StreamState

__all__ = ["Stream"]

WRITE_HIGH = 1024 * 1024
WRITE_LOW = 256 * 1024


class Stream:
    """An ordered, flow-controlled stream of bytes with a peer, each direction of which ends on its own.

    Comes from :meth:`~librats.RatsClient.open_stream` or an :meth:`~librats.RatsClient.on_stream` handler. One task
    may read while another writes.

    Example:
        .. code-block:: python

            stream = await client.open_stream(peer, "upload/1")
            stream.write(b"some bytes")
            await stream.drain()
            stream.write_eof()
            answer = await stream.read()
            await stream.close()
    """

    __slots__ = (
        "__dict__",  # for what applications keep with it
        "__weakref__",
        "_least",
        "_link",
        "_readable",
        "_state",
        "_was_reset",
        "_writable",
        "peer",
    )

    def __init__(self, link: Link, state: StreamState) -> None:
        self._link = link
        self._state = state
        self.peer: Any = None
        """The peer at the other end."""
        self._readable: asyncio.Future[None] | None = None
        self._least = 0  # bytes from which on who reads is woken
        self._writable: list[asyncio.Future[None]] = []
        self._was_reset = False

    def __repr__(self) -> str:
        """Show protocol, number and peer."""
        return f"<Stream {self.protocol!r} number={self._state.number} peer={self.peer_id[:8]}>"

    @property
    def protocol(self) -> str:
        """Name of the application's protocol, as it was opened."""
        return self._state.name

    @property
    def peer_id(self) -> str:
        """Id of the peer at the other end."""
        return self._link.peer_id

    @property
    def is_closing(self) -> bool:
        """True where nothing more can be written."""
        return self._state.write_error is not None or self._state.end_wanted

    # Reading

    async def read(self, n: int = -1) -> bytes:
        """Read bytes.

        Args:
            n: How many at the most, at least 1 unless the end is reached; -1 for everything up to the end.

        Returns:
            The bytes; ``b""`` at the end of the peer's direction.

        Raises:
            RemoteError: The peer reset the stream.
            ClosedError: The stream was closed on this side, or the session ended.
            UsageError: Another task is reading.
        """
        state = self._state
        if n < 0:
            return await self._read_all()
        if n == 0:
            return b""
        await self._wait_for_bytes()
        return self._took(state.read(n, now=self._link.now())) if state.buffered else b""

    async def _read_all(self) -> bytes:
        parts = []
        while data := await self.read(WRITE_HIGH):
            parts.append(data)
        return b"".join(parts)

    async def readexactly(self, n: int) -> bytes:
        """Read exactly that many bytes.

        Raises:
            asyncio.IncompleteReadError: The end came first; its ``partial`` has what there was.
            RemoteError: The peer reset the stream.
            ClosedError: The stream was closed on this side, or the session ended.
        """
        parts = bytearray()
        while len(parts) < n:
            data = await self.read(n - len(parts))
            if not data:
                raise asyncio.IncompleteReadError(bytes(parts), n)
            parts += data
        return bytes(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over pieces of the stream, as they come, up to its end."""
        while data := await self.read(WRITE_HIGH):
            yield data

    def _exception(self, error: StreamError) -> Exception:
        failed = self._link.session.failed
        if failed is not None and (error.code, error.message) == (failed.code, failed.message):
            return ClosedError(f"the session ended: {self._link.reason[1]}")
        return error.exception()

    def _took(self, data: bytes) -> bytes:
        self._tell_credit()
        return data

    def _tell_credit(self) -> None:
        if self._link.session.wants_to_send:
            self._link.request_flush()

    async def _read_pieces(self, limit: int, least: int) -> list[bytes | bytearray | memoryview]:
        # The peer hears of what was read at half a window: it must not run dry before, though frames are of 64 KiB.
        await self._wait_for_bytes(max(min(least, self._state.window // 16), 1))
        pieces = self._state.read_pieces(limit, now=self._link.now())
        self._tell_credit()
        return pieces

    async def _wait_for_bytes(self, least: int = 1) -> None:
        """Wait until there are so many bytes to read, or the end."""
        state = self._state
        if state.buffered > WRITE_LOW:
            keep_freed_memory()
        while state.buffered < least:
            if state.at_end or (state.read_error is not None and state.buffered):
                return
            if state.read_error is not None:
                raise self._exception(state.read_error)
            await self._wait_readable(least)

    async def _wait_readable(self, least: int = 0) -> None:
        if self._readable is not None:
            raise UsageError("another task is reading this stream")
        self._least = least
        self._readable = asyncio.get_running_loop().create_future()
        try:
            await self._readable
        finally:
            self._readable = None

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes. Follow it with :meth:`drain` where there are many.

        Args:
            data: Any contiguous buffer; it is copied unless it is ``bytes``.

        Raises:
            ClosedError: The end was already written, or the stream or its session is closed.
            RemoteError: The peer does not take any more.
            UsageError: It is no contiguous buffer.
        """
        if not isinstance(data, bytes | bytearray):
            try:
                data = memoryview(data).cast("B")
            except TypeError as error:
                raise UsageError(f"a stream takes contiguous buffers: {error}") from error
        if self._state.write_error is not None:
            raise self._exception(self._state.write_error)
        self._state.write(data)
        self._link.request_flush()

    async def drain(self) -> None:
        """Wait until there is room for more.

        Raises:
            ClosedError: The stream or its session is closed.
            RemoteError: The peer does not take any more.
        """
        state = self._state
        if state.queued > WRITE_HIGH:
            keep_freed_memory()
            while state.queued > WRITE_LOW:
                await self._wait_writable()
        error = state.write_error
        # Once the end has left, nothing can be written either, and that is no failure.
        if error is not None and (self._was_reset or not (error.local and state.sending_done)):
            raise self._exception(error)

    async def _wait_writable(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._writable.append(waiter)
        try:
            await waiter
        finally:
            self._writable.remove(waiter)

    def write_eof(self) -> None:
        """End this side's direction behind what is queued; reading goes on. Doing it twice is harmless."""
        self._state.write_eof()
        self._link.request_flush()

    # Both

    async def wait_accepted(self) -> None:
        """Wait until the peer has agreed to the stream.

        Raises:
            RemoteError: It refused.
            ClosedError: The session ended first.
        """
        state = self._state
        while not state.accepted:
            if state.read_error is not None:
                raise self._exception(state.read_error)
            if state.write_error is not None:
                raise self._exception(state.write_error)
            await self._wait_readable()

    async def close(self) -> None:
        """End this side's direction, stop reading, and wait until what was written has left. Idempotent."""
        state = self._state
        state.write_eof()
        if not state.at_end:
            state.stop_reading()
        self._wake()
        self._link.request_flush()
        while not state.sending_done:
            await self._wait_writable()

    def reset(self, message: str = "") -> None:
        """End both directions at once. The peer's reads and writes raise :class:`~librats.RemoteError`.

        Args:
            message: Words for the peer.
        """
        self.refuse(Reason.RESET, message)

    def refuse(self, code: str, message: str) -> None:
        """End both directions at once, and tell the peer why in a code as well."""
        self._was_reset = True
        self._state.abort(code, message)
        self._wake()
        self._link.request_flush()

    def changed(self) -> None:
        """Take note that the stream machine has news."""
        self._wake()

    def accept(self) -> None:
        """Agree to the stream, which the peer opened."""
        self._state.accept(self._link.now())
        self._link.request_flush()

    def _wake(self) -> None:
        state = self._state
        if (
            self._readable is not None
            and not self._readable.done()
            and (state.buffered >= self._least or state.at_end or state.read_error is not None)
        ):
            self._readable.set_result(None)
        if self._writable:
            for waiter in self._writable:
                if not waiter.done():
                    waiter.set_result(None)

    async def __aenter__(self) -> Stream:
        """Return the stream."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the stream; reset it where an exception leaves the block."""
        if exc[0] is not None:
            self.reset()
        else:
            try:
                await self.close()
            except ClosedError:
                return


async def read_pieces(stream: Stream, limit: int, least: int = 1) -> list[bytes | bytearray | memoryview]:
    """Read what has come on a stream, in the buffers that it has come in, without a copy.

    Args:
        stream: The stream.
        limit: Bytes after which no further buffer is taken.
        least: Bytes that are waited for, at most a sixteenth of what the peer may send ahead: who has no use for fewer
            is not woken for them. Before the end there may be fewer.

    Returns:
        The buffers; none at the end of the peer's direction.

    Raises:
        RemoteError: The peer reset the stream.
        ClosedError: The stream was closed on this side, or the session ended.
        UsageError: Another task is reading.
    """
    return await stream._read_pieces(limit, least)


def waiting_bytes(stream: Stream) -> int:
    """Return how many bytes have come on a stream that are not read."""
    return stream._state.buffered
