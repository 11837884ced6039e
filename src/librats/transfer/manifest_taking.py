"""A manifest on its way: asked for in pieces, and put together."""

from __future__ import annotations

from typing import Final

from librats.errors import TransferError
from librats.transfer.frames import MAX_PIECE, Piece
from librats.transfer.manifest import DEFAULT_LIMITS, ManifestLimits

__all__ = ["ManifestTaking"]

AHEAD: Final = 16
"""Pieces that are asked for and not there."""


class ManifestTaking:
    """Takes the manifest of one offer from one giver. It keeps what has come, and no more.

    Args:
        size: Bytes that the giver says it has.
        limits: What is taken.

    Raises:
        TransferError: It is larger than what is taken (``"limit"``), or empty (``"bad_offer"``).

    Example:
        >>> from librats.transfer.frames import Piece
        >>> from librats.transfer.manifest_taking import ManifestTaking
        >>> taking = ManifestTaking(70_000)
        >>> taking.wants()
        [(0, 65536), (65536, 4464)]
        >>> taking.take(Piece(0, bytes(65_536)))
        >>> taking.take(Piece(65_536, bytes(4464)))
        >>> taking.is_whole, len(taking.raw)
        (True, 70000)
    """

    def __init__(self, size: int, limits: ManifestLimits = DEFAULT_LIMITS) -> None:
        if size > limits.manifest:
            raise TransferError("limit", f"a manifest of more than {limits.manifest} bytes")
        if not size:
            raise TransferError("bad_offer", "an offer without a manifest")
        self._size = size
        self._asked = 0
        self._raw = bytearray()

    @property
    def is_whole(self) -> bool:
        """True where all pieces have come."""
        return len(self._raw) == self._size

    @property
    def raw(self) -> bytes:
        """What has come, as a copy."""
        return bytes(self._raw)

    def wants(self) -> list[tuple[int, int]]:
        """Return which pieces to ask for now: where each begins, and its bytes."""
        pieces = []
        while self._asked < min(self._size, len(self._raw) + AHEAD * MAX_PIECE):
            size = min(MAX_PIECE, self._size - self._asked)
            pieces.append((self._asked, size))
            self._asked += size
        return pieces

    def take(self, piece: Piece) -> None:
        """Take a piece. They come in the order in which they were asked for.

        Raises:
            TransferError: It is another one than is due, or longer (``"protocol"``).
        """
        due = min(MAX_PIECE, self._size - len(self._raw))
        if piece.offset != len(self._raw) or len(piece.data) != due or len(self._raw) >= self._asked:
            raise TransferError("protocol", "a piece of a manifest that was not asked for")
        self._raw += piece.data
