"""The giver's side of one stream: what the taker wants, in its order, and when the next of it may go."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from librats.errors import TransferError
from librats.transfer.frames import MAX_HASHES, MAX_PIECE, encode_chunk_head, encode_hashes, encode_piece
from librats.transfer.layout import Layout, Part, Range
from librats.transfer.pacing import RateLimit
from librats.transfer.tree import HashTree

__all__ = ["MAX_WANTED", "Sending"]

MAX_WANTED: Final = 4096
"""Ranges that a taker may have asked for and not got."""

MANIFEST_TWICE = HASHES_TWICE = 2
NEVER = float("inf")


class Sending:
    """What one taker has asked for. No file is read here: :meth:`next_parts` says which, :meth:`chunk` wraps it.

    Args:
        layout: Of the manifest.
        raw: The manifest as it is sent.
        trees: The trees of its files of more than one leaf, by their numbers.
        limit: Bytes per second, which other transfers may share.

    Raises:
        TransferError: From all that takes what the peer says, with the code ``"protocol"``.
    """

    def __init__(self, layout: Layout, raw: bytes, trees: Mapping[int, HashTree], limit: RateLimit) -> None:
        self._layout = layout
        self._raw = raw
        self._trees = trees
        self._limit = limit
        self._wanted: dict[Range, int] = {}
        self._order: deque[Range] = deque()
        self._manifest_left = MANIFEST_TWICE * len(raw) + MAX_PIECE
        self._hashes_left = HASHES_TWICE * layout.leaves + MAX_HASHES
        self.is_paused = False
        """True where nothing is to be given: this side has paused, or the taker."""
        self.sent = 0
        """Bytes of files that have been given."""
        self.have = 0
        """Bytes that the taker had, as it says."""

    @property
    def wanted(self) -> int:
        """Ranges that are asked for and not given."""
        return len(self._wanted)

    @property
    def done(self) -> int:
        """Bytes that the taker should have by now: what it had, and what was given."""
        return min(self.have + self.sent, self._layout.total)

    def accepted(self, have: int) -> None:
        """Take note of how much the taker says that it has."""
        if have > self._layout.total:
            raise TransferError("protocol", "a taker has more than there is")
        self.have = have
        self.sent = 0

    def manifest_piece(self, offset: int, size: int) -> bytes:
        """Return the frame with a piece of the manifest. All of it can be asked for twice, not more often."""
        piece = self._raw[offset : offset + size]
        self._manifest_left -= len(piece)
        if not piece or self._manifest_left < 0:
            raise TransferError("protocol", "a manifest is asked for beyond its end, or over and over")
        return encode_piece(offset, piece)

    def hashes(self, wanted: Range) -> bytes:
        """Return the frame with the hashes of a range of leaves. All can be asked for twice, not more often."""
        part = self._layout.hashes_part(wanted)
        self._hashes_left -= part.leaves
        tree = self._trees.get(part.file)
        if tree is None or part.leaves > MAX_HASHES or self._hashes_left < 0:
            raise TransferError("protocol", "hashes are asked for that nobody needs, too many, or over and over")
        proof = tree.proof(part.leaf, part.leaves) if part.proof_size else b""
        return encode_hashes(wanted, proof + tree.leaves(part.leaf, part.leaves))

    def want(self, ranges: Sequence[Range]) -> None:
        """Take note of what the taker wants. What it wants already stays where it is."""
        for wanted in ranges:
            self._layout.body_size(wanted)
            if wanted in self._wanted:
                continue
            if len(self._wanted) >= MAX_WANTED:
                raise TransferError("protocol", f"more than {MAX_WANTED} ranges are asked for at once")
            self._wanted[wanted] = 1
            self._order.append(wanted)

    def unwant(self, ranges: Sequence[Range]) -> None:
        """Forget what the taker does not want any more. What is under way, or was never asked for, does not matter."""
        for wanted in ranges:
            self._wanted.pop(wanted, None)
        if len(self._order) > 2 * len(self._wanted) + 16:
            self._order = deque(wanted for wanted in self._order if wanted in self._wanted)

    def ready_at(self, now: float) -> float:
        """Return when :meth:`next_parts` has something: now, later, or never where nothing is wanted."""
        if self.is_paused or not self._wanted:
            return NEVER
        return self._limit.ready_at(now)

    def next_parts(self, now: float) -> tuple[Range, list[Part]] | None:
        """Return what is to be read and given next, or None: see :meth:`ready_at`."""
        if self.ready_at(now) > now:
            return None
        while self._order:
            wanted = self._order.popleft()
            if self._wanted.pop(wanted, 0):
                parts = self._layout.parts(wanted)
                self._limit.take(sum(part.size for part in parts), now)
                return wanted, parts
        return None

    def chunk(self, wanted: Range, parts: Sequence[Part], data: Sequence[bytes]) -> list[bytes]:
        """Return the buffers that make the frame of a chunk.

        Args:
            wanted: The range.
            parts: What it consists of.
            data: What was read for the parts, one behind the other, in pieces of any size.
        """
        proofs = [self._trees[part.file].proof(part.leaf, part.leaves) if part.proof_size else b"" for part in parts]
        size = sum(map(len, data))
        self.sent += size
        proof = b"".join(proofs)
        return [encode_chunk_head(wanted, len(proof) + size) + proof, *data]
