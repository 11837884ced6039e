"""Messages out of the bytes of a connection, as they come. Blocks are not copied."""

from __future__ import annotations

from struct import Struct
from typing import Final

from librats.bittorrent.messages import (
    HANDSHAKE_SIZE,
    MAX_BLOCK,
    PIECE,
    Handshake,
    KeepAlive,
    Message,
    Piece,
    read_handshake,
    read_message,
)
from librats.errors import RemoteProtocolError

__all__ = ["MAX_MESSAGE", "MessageReader"]

MAX_MESSAGE: Final = MAX_BLOCK + 9
"""Bytes that a message has at most, its length not counted, where no more is needed."""

PREFIX = 4
PIECE_START = 13
_PIECE = Struct(">IBII")
_LENGTH = Struct(">I")
_new = tuple.__new__  # half the time of the function that a named tuple has for it

Buffer = bytes | bytearray | memoryview


class MessageReader:
    """Reads the handshake, then messages, from the bytes of one connection.

    What it keeps is less than one message, and never more than what has arrived.

    Args:
        max_message: Bytes that a message has at most.

    Example:
        >>> from librats.bittorrent.messages import Handshake
        >>> from librats.bittorrent.reader import MessageReader
        >>> reader = MessageReader()
        >>> reader.feed(Handshake(b"h" * 20, b"p" * 20).encode() + b"\\0\\0\\0\\1")
        []
        >>> reader.handshake.peer_id == b"p" * 20, reader.feed(b"\\1")
        (True, [Unchoke()])
    """

    def __init__(self, *, max_message: int = MAX_MESSAGE) -> None:
        self.max_message = max_message
        """Bytes that a message has at most."""
        self.handshake: Handshake | None = None
        """The handshake, once it is there."""
        self._rest: Buffer = b""

    @property
    def waiting(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._rest)

    def lead(self, buffer: memoryview) -> int:
        """Copy what waits to the begin of a buffer, so that what comes next can be received right behind it.

        Args:
            buffer: Longer than ``max_message`` and its length together.

        Returns:
            How many bytes that are.
        """
        size = len(self._rest)
        buffer[:size] = self._rest
        return size

    def feed(self, data: Buffer) -> list[Message]:
        """Take the next bytes, and return the messages that have become whole.

        Raises:
            RemoteProtocolError: They break the protocol.
        """
        if self._rest:
            data = b"".join([self._rest, data])
        return self.read(memoryview(data))

    def read(self, view: memoryview) -> list[Message]:
        """Take a buffer with what :meth:`lead` has put there and the next bytes, and return what has become whole.

        Blocks are views of it, so it is to be used again only when they have been dealt with.

        Raises:
            RemoteProtocolError: They break the protocol.
        """
        at = 0
        if self.handshake is None:
            if len(view) < HANDSHAKE_SIZE:
                begun = bytes(view)
                if begun[:1] not in {b"", b"\x13"}:
                    raise RemoteProtocolError("no handshake of BitTorrent")
                self._rest = begun
                return []
            self.handshake = read_handshake(view[:HANDSHAKE_SIZE])
            at = HANDSHAKE_SIZE
        messages: list[Message] = []
        add = messages.append
        size = len(view)
        while size - at >= PREFIX:
            if size - at >= PIECE_START:
                length, message_id, piece, begin = _PIECE.unpack_from(view, at)
                end = at + PREFIX + length
                if message_id == PIECE and PIECE_START - PREFIX < length <= MAX_MESSAGE and end <= size:
                    add(_new(Piece, (piece, begin, view[at + PIECE_START : end])))
                    at = end
                    continue
            else:
                (length,) = _LENGTH.unpack_from(view, at)
                end = at + PREFIX + length
            if length > self.max_message or end > size:
                break
            if length:
                add(read_message(view[at + PREFIX], view[at + PREFIX + 1 : end]))
            else:
                add(KeepAlive())
            at = end
        self._keep(view[at:])
        return messages

    def _keep(self, rest: memoryview) -> None:
        if len(rest) >= PREFIX and _LENGTH.unpack_from(rest)[0] > self.max_message:
            raise RemoteProtocolError(f"a message of more than {self.max_message} bytes")
        self._rest = bytes(rest)
