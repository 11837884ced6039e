"""A manifest on its way: asked for in pieces, put together, and compared with its content id."""

from __future__ import annotations

from typing import Final

from librats.errors import TransferError
from librats.transfer.frames import MAX_PIECE, Piece
from librats.transfer.manifest import DEFAULT_LIMITS, Manifest, ManifestLimits, content_id, read_manifest

__all__ = ["ManifestTaking"]

AHEAD: Final = 16
"""Pieces that are asked for and not there."""


class ManifestTaking:
    """Takes the manifest of one offer from one giver. It keeps what has come, and no more.

    Args:
        wanted_id: Content id that it must have, 32 bytes.
        size: Bytes that the giver says it has.
        limits: What is taken.

    Raises:
        TransferError: It is larger than what is taken (``"limit"``), or empty (``"bad_offer"``).

    Example:
        >>> from librats.transfer.frames import Piece
        >>> from librats.transfer.manifest import Manifest, content_id, write_manifest
        >>> from librats.transfer.manifest_taking import ManifestTaking
        >>> raw = write_manifest(Manifest(name="empty", is_folder=True, files=()))
        >>> taking = ManifestTaking(content_id(raw), len(raw))
        >>> [(offset, size)] = taking.wants()
        >>> taking.take(Piece(offset, raw))
        >>> taking.finish().name
        'empty'
    """

    def __init__(self, wanted_id: bytes, size: int, limits: ManifestLimits = DEFAULT_LIMITS) -> None:
        if size > limits.manifest:
            raise TransferError("limit", f"a manifest of more than {limits.manifest} bytes")
        if not size:
            raise TransferError("bad_offer", "an offer without a manifest")
        self._id = wanted_id
        self._size = size
        self._limits = limits
        self._asked = 0
        self._raw = bytearray()

    @property
    def is_whole(self) -> bool:
        """True where all pieces have come."""
        return len(self._raw) == self._size

    @property
    def raw(self) -> bytes:
        """What has come."""
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

    def finish(self) -> Manifest:
        """Return the manifest. It may take a second for the largest one, and may run in any thread.

        Raises:
            TransferError: It is not what the content id stands for (``"bad_offer"``), or not to be taken; see
                :func:`~librats.transfer.manifest.read_manifest`.
        """
        raw = bytes(self._raw)
        if content_id(raw) != self._id:
            raise TransferError("bad_offer", "a manifest that is not what its content id stands for")
        return read_manifest(raw, limits=self._limits)
