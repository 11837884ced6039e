"""What has come of a file: chunks in any order, none counted before its proof holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from librats.errors import TransferError, UsageError
from librats.transfer.tree import HASH_SIZE, LEAF_SIZE, MAX_LENGTH, Buffer, hash_file, leaf_count, proven_root

__all__ = ["MAX_CHUNK", "FileVerifier", "marked_ranges"]

MAX_CHUNK: Final = 4 << 20
"""Bytes that a chunk has at most."""


MARKED = re.compile(rb"\xff+|[^\x00\xff]", re.DOTALL)


def marked_ranges(have: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield which leaves are marked, as :attr:`FileVerifier.have` marks them: first leaf and count, in order.

    Example:
        >>> from librats.transfer.verifying import marked_ranges
        >>> list(marked_ranges(bytes([0b11110001, 0xFF, 0, 0b10])))
        [(0, 1), (4, 12), (25, 1)]
    """
    first = end = 0
    for found in MARKED.finditer(have):
        at = 8 * found.start()
        bits = [(0, 8 * len(found[0]))] if found[0][0] == 0xFF else _runs(found[0][0])  # noqa: PLR2004 - all eight
        for low, high in bits:
            if at + low != end:
                if end > first:
                    yield first, end - first
                first = at + low
            end = at + high
    if end > first:
        yield first, end - first


def _runs(byte: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of bits that are set: from which one on, and before which."""
    low = 0
    while byte >> low:
        if byte >> low & 1:
            high = low
            while byte >> high & 1:
                high += 1
            yield low, high
            low = high
        else:
            low += 1


class FileVerifier:
    """Checks the chunks of one file, from any number of sources and in any order, and knows which leaves are there.

    It keeps one bit for each 64 KiB, and no data.

    Args:
        root: Root of the file's tree, 32 bytes.
        length: Bytes of the file.
        have: What :attr:`have` was, where an earlier transfer is resumed.

    Raises:
        UsageError: The root or ``have`` is of another size, or marks leaves that are not.
        TransferError: The file is longer than :data:`~librats.transfer.tree.MAX_LENGTH` (``"limit"``), or it is empty
            and the root is not that of an empty file (``"bad_offer"``).

    Example:
        >>> from librats.transfer.tree import LEAF_SIZE, hash_file
        >>> from librats.transfer.verifying import FileVerifier
        >>> data = bytes(3 * LEAF_SIZE)
        >>> tree = hash_file([data])
        >>> verifier = FileVerifier(tree.root, tree.length)
        >>> verifier.take(2, data[2 * LEAF_SIZE :], tree.proof(2, 1))
        1
        >>> list(verifier.missing()), verifier.is_complete
        ([(0, 2)], False)
    """

    __slots__ = ("_count", "_have", "_leaves", "_length", "_root")

    def __init__(self, root: bytes, length: int, *, have: bytes | bytearray | None = None) -> None:
        if len(root) != HASH_SIZE or length < 0:
            raise UsageError(f"a root has {HASH_SIZE} bytes, and a length is not negative")
        if length > MAX_LENGTH:
            raise TransferError("limit", f"a file of more than {MAX_LENGTH} bytes")
        if not length and root != hash_file([]).root:
            raise TransferError("bad_offer", "an empty file with the root of another one")
        self._root = root
        self._length = length
        self._leaves = leaf_count(length)
        self._have = bytearray(-(-self._leaves // 8)) if have is None else bytearray(have)
        marked = int.from_bytes(self._have, "little")
        if len(self._have) != -(-self._leaves // 8) or marked >> self._leaves:
            raise UsageError("what is there of a file has one bit for each leaf")
        self._count = marked.bit_count()

    @property
    def have(self) -> bytes:
        """Which leaves are there: leaf n is bit n % 8, from the lowest, of byte n // 8."""
        return bytes(self._have)

    @property
    def leaves(self) -> int:
        """How many leaves are there."""
        return self._count

    @property
    def missing_leaves(self) -> int:
        """How many leaves are not there."""
        return self._leaves - self._count

    @property
    def size_there(self) -> int:
        """Bytes that are there."""
        size = self._count * LEAF_SIZE
        if self._leaves and self.has(self._leaves - 1):
            size -= self._leaves * LEAF_SIZE - self._length
        return size

    @property
    def is_complete(self) -> bool:
        """Whether all of the file is there."""
        return self._count == self._leaves

    def has(self, leaf: int) -> bool:
        """Tell whether a leaf is there."""
        return 0 <= leaf < self._leaves and bool(self._have[leaf // 8] >> leaf % 8 & 1)

    def take(self, first: int, data: Buffer, proof: bytes) -> int:
        """Check a chunk, and count its leaves. It may be written when this returns.

        Args:
            first: Number of its first leaf, from 0.
            data: Whole leaves, but for the last one of the file; at most :data:`MAX_CHUNK` bytes.
            proof: What :meth:`~librats.transfer.tree.HashTree.proof` has returned for these leaves.

        Returns:
            How many of the leaves were not there yet; 0 for a chunk that came twice.

        Raises:
            TransferError: It is not of this file, is damaged (``"bad_chunk"``), or is too large (``"limit"``). Nothing
                of it counts.
        """
        size = memoryview(data).nbytes
        if size > MAX_CHUNK:
            raise TransferError("limit", f"a chunk of more than {MAX_CHUNK} bytes")
        if proven_root(self._length, first, data, proof) != self._root:
            raise TransferError("bad_chunk", "a chunk is not of the file that was offered")
        return self.count(first, leaf_count(size))

    def count(self, first: int, count: int) -> int:
        """Count leaves whose chunk was checked elsewhere; return how many of them were not there yet.

        Raises:
            UsageError: The file has no such leaves.
        """
        self._check_leaves(first, count)
        fresh = [leaf for leaf in range(first, first + count) if not self.has(leaf)]
        for leaf in fresh:
            self._have[leaf // 8] |= 1 << leaf % 8
        self._count += len(fresh)
        return len(fresh)

    def _check_leaves(self, first: int, count: int) -> None:
        if count < 0 or first < 0 or first + count > self._leaves:
            raise UsageError(f"the file has no {count} leaves from leaf {first} on")

    def forget(self, first: int, count: int) -> None:
        """Count leaves as not there, as where the disk has not kept them.

        Raises:
            UsageError: The file has no such leaves.
        """
        self._check_leaves(first, count)
        for leaf in filter(self.has, range(first, first + count)):
            self._have[leaf // 8] &= ~(1 << leaf % 8)
            self._count -= 1

    def missing(self, max_count: int = MAX_CHUNK // LEAF_SIZE) -> Iterator[tuple[int, int]]:
        """Yield what is to be asked for: first leaf and count, in order.

        Args:
            max_count: How many leaves one of them has at most.
        """
        first = 0
        while first < self._leaves:
            if self._have[first // 8] == 0xFF:  # noqa: PLR2004 - eight leaves that are there
                first = (first // 8 + 1) * 8
                continue
            end = first
            while end < self._leaves and end - first < max_count and not self.has(end):
                end += 1
            if end > first:
                yield first, end - first
            first = max(end, first + 1)
