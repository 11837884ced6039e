"""Messages in a stream: STUN and ChannelData over TCP and TLS (RFC 8656, section 12.5)."""

from __future__ import annotations

from librats._core.stun import frame_size

__all__ = ["FrameSplitter"]

HEAD = 8  # length and magic cookie


class FrameSplitter:
    """Cuts a stream of bytes into STUN messages and ChannelData, the latter with its padding."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return what is complete with these bytes.

        Raises:
            StunError: What begins here is neither; the stream is of no use any more.
        """
        pending = self._pending
        pending += data
        frames = []
        at = 0
        while size := self._complete(at):
            frames.append(bytes(pending[at : at + size]))
            at += size
        del pending[:at]
        return frames

    def feed_one(self, data: bytes) -> bytes | None:
        """Return the first that is complete with these bytes, and keep what follows.

        Raises:
            StunError: What begins here is neither; the stream is of no use any more.
        """
        self._pending += data
        size = self._complete(0)
        if not size:
            return None
        frame = bytes(self._pending[:size])
        del self._pending[:size]
        return frame

    def _complete(self, at: int) -> int:
        size = frame_size(self._pending[at : at + HEAD])
        return size if len(self._pending) - at >= size else 0

    def rest(self) -> bytes:
        """Return and forget the bytes that are not complete."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest
