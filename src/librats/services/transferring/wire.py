"""Frames of a transfer on a stream, and what the end of a stream means for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from librats.errors import ClosedError, PeerLacks, PeerNotConnected, RemoteError, TransferError
from librats.services.disk.errors import LocalError
from librats.services.stream import read_pieces, waiting_bytes
from librats.session.frames import Reason
from librats.transfer.frames import (
    Chunk,
    Features,
    Frame,
    FrameReader,
    FrameType,
    encode_refusal,
    read_features,
    read_refusal,
)

if TYPE_CHECKING:
    from librats.services.stream import Stream

__all__ = ["PROTOCOL", "LostError", "Wire", "opened", "refusal"]

PROTOCOL = "librats-files/1"
"""Name of the streams that carry transfers."""

READ_SIZE = 1 << 20
GOODBYE_TIME = 5.0

AT_ONCE = 256
"""Frames that are handed on before others have their turn: a mebibyte may hold 200,000."""

LOST = frozenset({Reason.CLOSED, "lost", "timeout"})


class LostError(Exception):
    """The session has ended under a transfer: it may go on over another one."""


async def opened(stream: asyncio.Future[Stream]) -> Wire:
    """Return what a stream that is being opened carries.

    Raises:
        LostError: The peer is not connected.
        TransferError: It takes no files (``"unsupported"``), or has no room for the stream (``"busy"``).
    """
    try:
        return Wire(await stream)
    except (ClosedError, PeerNotConnected) as error:
        raise LostError(str(error)) from None
    except PeerLacks:
        raise TransferError("unsupported", "the peer has no streams, which files go over") from None
    except RemoteError as error:
        if error.code == Reason.NO_HANDLER:
            raise TransferError("unsupported", "the peer takes part in no transfer of files") from None
        raise TransferError("busy", "the peer has no room for the stream") from None


def refusal(error: TransferError, kind: FrameType) -> bytes:
    """Return the frame that tells a peer why not. Of paths on this machine, and so of its user, it tells nothing."""
    return encode_refusal(kind, error.code, error.told if isinstance(error, LocalError) else error.reason)


class Wire:
    """One stream of a transfer.

    Args:
        stream: Over which it goes.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = FrameReader()
        self._frames: deque[Frame | Chunk] = deque()
        self._handed_on = 0
        self.failure: TransferError | None = None
        """What :meth:`next` raises where this side has ended the stream."""
        self.features = Features(0)
        """What the giver can do, as far as it has said: it does so before its offer."""
        self.on_bytes: Callable[[], None] | None = None
        """Called whenever something was read."""
        self._seen = 0

    @property
    def peer_id(self) -> str:
        """Who is at the other end."""
        return self._stream.peer_id

    def has_grown(self) -> bool:
        """Tell whether bytes have come, of a frame not whole yet, since this was last asked or something was read."""
        before, self._seen = self._seen, waiting_bytes(self._stream)
        return self._seen > before

    async def next(self) -> Frame | Chunk:
        """Return the next frame.

        Raises:
            LostError: The session has ended.
            TransferError: The peer has ended the stream, or sends no frames (``"protocol"``); or it refuses or cancels,
                with its own code.
        """
        while True:
            frame = await self._next()
            if isinstance(frame, Frame) and frame.type == FrameType.FEATURES:
                self.features = read_features(frame.body)
                continue
            return frame

    async def _next(self) -> Frame | Chunk:
        while not self._frames:
            try:
                pieces = await read_pieces(self._stream, READ_SIZE, self._reader.missing)
            except ClosedError as error:
                if self.failure is not None:
                    raise TransferError(self.failure.code, self.failure.reason) from None
                raise LostError(str(error)) from None
            except RemoteError as error:
                if error.code == Reason.NO_HANDLER:
                    raise TransferError("unsupported", "the peer takes part in no transfer of files") from None
                raise TransferError("ended", "the peer has dropped the transfer") from None
            if not pieces:
                raise TransferError("ended", "the peer has ended the transfer")
            self._seen = 0
            if self.on_bytes is not None:
                self.on_bytes()
            for piece in pieces:
                self._frames.extend(self._reader.feed(piece))
        self._handed_on += 1
        if self._handed_on % AT_ONCE == 0:
            await asyncio.sleep(0)
        frame = self._frames.popleft()
        if isinstance(frame, Frame) and frame.type in {FrameType.REFUSE, FrameType.CANCEL}:
            refusal = read_refusal(frame.body)
            # The peer's words may hold what a terminal obeys.
            words = "".join(letter if letter.isprintable() else " " for letter in refusal.words)
            verb = "refuses" if frame.type == FrameType.REFUSE else "has cancelled"
            raise TransferError(refusal.code, f"the peer {verb}: {words or refusal.code}")
        return frame

    async def next_frame(self, seconds: float) -> Frame:
        """Return the next frame, which is no chunk and has to come in time.

        Raises:
            LostError: The session has ended.
            TransferError: As :meth:`next` does; or it does not come (``"stalled"``), or is a chunk (``"protocol"``).
        """
        try:
            async with asyncio.timeout(seconds):
                frame = await self.next()
        except TimeoutError:
            raise TransferError("stalled", "the peer has sent nothing for too long") from None
        if isinstance(frame, Chunk):
            raise TransferError("protocol", "a chunk that was not asked for")
        return frame

    def send(self, *buffers: bytes) -> None:
        """Queue bytes of frames.

        Raises:
            LostError: The session has ended, or the stream has.
        """
        try:
            for buffer in buffers:
                self._stream.write(buffer)
        except (ClosedError, RemoteError) as error:
            raise LostError(str(error)) from None

    async def drain(self) -> None:
        """Wait until there is room for more.

        Raises:
            LostError: The session has ended, or the stream has.
        """
        try:
            await self._stream.drain()
        except (ClosedError, RemoteError) as error:
            raise LostError(str(error)) from None

    def say(self, *buffers: bytes) -> None:
        """Queue frames where the stream still takes them."""
        try:
            self.send(*buffers)
        except LostError:
            return

    async def close(self) -> None:
        """End the stream once what was written has left; after a few seconds, whatever has."""
        try:
            async with asyncio.timeout(GOODBYE_TIME):
                await self._stream.close()
        except (ClosedError, RemoteError):
            return
        except TimeoutError:
            self._stream.reset("closed")

    async def refuse(self, error: TransferError, kind: FrameType = FrameType.REFUSE) -> None:
        """Tell the peer why not, and end the stream."""
        self.say(refusal(error, kind))
        await self.close()
