"""A stream for code that blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from librats.blocking.bridge import Bridge
from librats.services.stream import Stream as AsyncStream

if TYPE_CHECKING:
    from librats.blocking.peer import Peer

__all__ = ["Stream"]

PIECE = 1024 * 1024


class Stream:
    """An ordered, flow-controlled stream of bytes with a peer, each direction of which ends on its own.

    Comes from :meth:`RatsClient.open_stream` or an :meth:`RatsClient.on_stream` handler. One thread may read while
    another writes.

    Example:
        .. code-block:: python

            with client.open_stream(peer, "upload/1") as stream:
                stream.write(b"some bytes")
                stream.write_eof()
                answer = stream.read()
    """

    __slots__ = ("__weakref__", "_bridge", "_peer", "_stream")

    def __init__(self, stream: AsyncStream, bridge: Bridge, peer: Peer) -> None:
        self._stream = stream
        self._bridge = bridge
        self._peer = peer

    def __repr__(self) -> str:
        """Show protocol, number and peer."""
        return repr(self._stream)

    @property
    def peer(self) -> Peer:
        """The peer at the other end."""
        return self._peer

    @property
    def protocol(self) -> str:
        """Name of the application's protocol, as it was opened."""
        return self._stream.protocol

    @property
    def peer_id(self) -> str:
        """Id of the peer at the other end."""
        return self._stream.peer_id

    @property
    def is_closing(self) -> bool:
        """True where nothing more can be written."""
        return self._bridge.call(lambda: self._stream.is_closing)

    def read(self, n: int = -1) -> bytes:
        """Wait for bytes.

        Args:
            n: How many at the most, at least 1 unless the end is reached; -1 for everything up to the end.

        Returns:
            The bytes; ``b""`` at the end of the peer's direction.

        Raises:
            RemoteError: The peer reset the stream.
            ClosedError: The stream was closed on this side.
            UsageError: Another thread is reading.
        """
        return self._bridge.wait(self._stream.read, n)

    def readexactly(self, n: int) -> bytes:
        """Wait for exactly that many bytes.

        Raises:
            asyncio.IncompleteReadError: The end came first; its ``partial`` has what there was. It is an ``EOFError``.
            RemoteError: The peer reset the stream.
            ClosedError: The stream was closed on this side.
        """
        return self._bridge.wait(self._stream.readexactly, n)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over pieces of the stream, as they come, up to its end."""
        while data := self.read(PIECE):
            yield data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes, and wait while there is no room for more.

        Args:
            data: Any contiguous buffer; it is copied unless it is ``bytes``.

        Raises:
            ClosedError: The end was already written, or the stream or its session is closed.
            RemoteError: The peer does not take any more.
        """
        self._bridge.wait(self._write, data)

    async def _write(self, data: bytes | bytearray | memoryview) -> None:
        self._stream.write(data)
        await self._stream.drain()

    def drain(self) -> None:
        """Wait until there is room for more, as :meth:`write` does itself.

        Raises:
            ClosedError: The stream or its session is closed.
            RemoteError: The peer does not take any more.
        """
        self._bridge.wait(self._stream.drain)

    def write_eof(self) -> None:
        """End this side's direction behind what is queued; reading goes on. Doing it twice is harmless."""
        self._bridge.call(self._stream.write_eof)

    def close(self) -> None:
        """End this side's direction, stop reading, and wait until what was written has left. Idempotent."""
        self._bridge.wait(self._stream.close)

    def reset(self, message: str = "") -> None:
        """End both directions at once. The peer's reads and writes raise :class:`~librats.RemoteError`.

        Args:
            message: Words for the peer.
        """
        self._bridge.call(self._stream.reset, message)

    def __enter__(self) -> Stream:
        """Return the stream."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the stream; reset it where an exception leaves the block."""
        self._bridge.wait(self._stream.__aexit__, *exc)
