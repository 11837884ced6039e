"""Tree of hashes over a file (Merkle): a root stands for all of it, and a proof shows that a part belongs to it.

A leaf is 64 KiB of the file, the last one what is left. Hashes are SHA-256 (FIPS 180-4) behind a first byte that is 0
for leaves, 1 for nodes (as in RFC 6962, 2.1) and 2 for the root, so that none passes for another. A level pairs the
hashes below it; one that is left over goes up as it is. The root binds the length of the file, and with it the shape of
the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Final

from librats._core import leaves as core
from librats.errors import TransferError, UsageError

__all__ = [
    "HASH_SIZE",
    "LEAF_SIZE",
    "MAX_LENGTH",
    "HashTree",
    "TreeBuilder",
    "hash_file",
    "leaf_count",
    "leaf_hashes",
    "proof_hashes",
    "proven_root",
    "root_above",
]

LEAF_SIZE: Final = 65_536
"""Bytes of a leaf."""

HASH_SIZE: Final = 32
"""Bytes of a hash."""

MAX_LENGTH: Final = 1 << 40
"""Bytes that a file has at most, 1 TiB: its tree has 2**24 leaves, and takes 1 GiB of memory at the side that sends."""

NODE = b"\x01"
ROOT = b"\x02"
LENGTH_BYTES = 8
NEW_LEAF = sha256(b"\x00").copy
"""Begins the hash of a leaf."""

Buffer = bytes | bytearray | memoryview


def leaf_count(length: int) -> int:
    """Return how many leaves a file of this length in bytes has; an empty one has none."""
    return -(-length // LEAF_SIZE)


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(NODE + left + right).digest()


def _root(length: int, top: bytes) -> bytes:
    return sha256(ROOT + length.to_bytes(LENGTH_BYTES) + top).digest()


def leaf_hashes(pieces: Sequence[Buffer]) -> bytes:
    """Return the hashes of the leaves of some data, 32 bytes each, the last leaf what is left.

    The GIL is let go once for all of it, not for every leaf.

    Args:
        pieces: Buffers that hold the data, one behind the other, in pieces of any size.

    Example:
        >>> from librats.transfer.tree import LEAF_SIZE, leaf_hashes
        >>> whole = leaf_hashes([bytes(LEAF_SIZE + 5)])
        >>> len(whole), leaf_hashes([bytes(7), bytes(LEAF_SIZE - 2)]) == whole
        (64, True)
    """
    if core.AVAILABLE:
        return core.leaf_hashes(pieces)
    return _hashes_of_hashlib(pieces)


def _hashes_of_hashlib(pieces: Sequence[Buffer]) -> bytes:
    hashes = []
    leaf, room = NEW_LEAF(), LEAF_SIZE
    for piece in pieces:
        view = memoryview(piece).cast("B")
        while view:
            leaf.update(view[:room])
            taken = min(room, len(view))
            view, room = view[taken:], room - taken
            if not room:
                hashes.append(leaf.digest())
                leaf, room = NEW_LEAF(), LEAF_SIZE
    if room < LEAF_SIZE:
        hashes.append(leaf.digest())
    return b"".join(hashes)


def _level_above(level: bytes) -> bytes:
    ends = range(0, len(level) + 1, 2 * HASH_SIZE)
    pairs = [sha256(NODE + level[a:b]).digest() for a, b in pairwise(ends)]
    return b"".join(pairs) + level[ends[-1] :]


class HashTree:
    """The tree of one file: its root, and proofs for its parts.

    Made by :class:`TreeBuilder` or :func:`hash_file`. It takes 1/1024 of the memory that the file would.
    """

    __slots__ = ("_length", "_levels")

    def __init__(self, length: int, leaves: bytes) -> None:
        self._length = length
        self._levels = [leaves]
        while len(self._levels[-1]) > HASH_SIZE:
            self._levels.append(_level_above(self._levels[-1]))

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self._length

    @property
    def root(self) -> bytes:
        """The root: 32 bytes that stand for the file and its length."""
        return _root(self._length, self._levels[-1])

    def leaves(self, first: int, count: int) -> bytes:
        """Return the hashes of so many leaves from one on, 32 bytes each."""
        return self._levels[0][first * HASH_SIZE : (first + count) * HASH_SIZE]

    def proof(self, first: int, count: int) -> bytes:
        """Return what shows that leaves belong to the file.

        Args:
            first: Number of the first leaf, from 0.
            count: How many leaves, at least one.

        Returns:
            The hashes beside the way from these leaves to the root, from below, the left one of a level first: at most
            two for each level.

        Raises:
            UsageError: There are no such leaves.
        """
        if count < 1 or first < 0 or first + count > leaf_count(self._length):
            raise UsageError(f"the file has no {count} leaves from leaf {first} on")
        proof = []
        low, high = first, first + count
        for level in self._levels[:-1]:
            if low % 2:
                proof.append(level[(low - 1) * HASH_SIZE : low * HASH_SIZE])
            if high % 2:
                proof.append(level[high * HASH_SIZE : (high + 1) * HASH_SIZE])  # nothing, where that one is left over
            low, high = low // 2, (high + 1) // 2
        return b"".join(proof)


class TreeBuilder:
    """Makes the tree of a file from its content, in buffers of any size.

    Example:
        >>> from librats.transfer.tree import TreeBuilder
        >>> builder = TreeBuilder()
        >>> builder.update(b"hello, ")
        >>> builder.update(b"world")
        >>> tree = builder.finish()
        >>> tree.length, tree.root.hex()[:16]
        (12, '273e6f6790cfa2c8')
    """

    def __init__(self) -> None:
        self._length = 0
        self._leaves: list[bytes] = []
        self._begun = bytearray()  # of a leaf that is not whole yet

    def update(self, data: Buffer) -> None:
        """Take the next part of the file; the buffer may be used again afterwards.

        Raises:
            TransferError: The file is longer than :data:`MAX_LENGTH`; its code is ``"limit"``.
        """
        view = memoryview(data).cast("B")
        if self._length + len(view) > MAX_LENGTH:
            raise TransferError("limit", f"a file of more than {MAX_LENGTH} bytes")
        self._length += len(view)
        if self._begun:
            taken = min(LEAF_SIZE - len(self._begun), len(view))
            self._begun += view[:taken]
            view = view[taken:]
            if len(self._begun) < LEAF_SIZE:
                return
            self._end_leaf()
        whole = len(view) - len(view) % LEAF_SIZE
        self._leaves.append(leaf_hashes([view[:whole]]))
        self._begun += view[whole:]

    def finish(self) -> HashTree:
        """Return the tree of what has been taken. It may be called again after more has been taken."""
        return HashTree(self._length, b"".join([*self._leaves, leaf_hashes([self._begun])]))

    def _end_leaf(self) -> None:
        self._leaves.append(leaf_hashes([self._begun]))
        self._begun.clear()


def hash_file(buffers: Iterable[Buffer]) -> HashTree:
    """Return the tree of a file that is given in buffers.

    Args:
        buffers: Its content in order, in buffers of any size. Multiples of 64 KiB are not copied.

    Raises:
        TransferError: The file is longer than :data:`MAX_LENGTH`; its code is ``"limit"``.

    Example:
        >>> from librats.transfer.tree import hash_file
        >>> hash_file([b"hello, ", b"world"]).root == hash_file([b"hello, world"]).root
        True
    """
    builder = TreeBuilder()
    for buffer in buffers:
        builder.update(buffer)
    return builder.finish()


def _climb(hashes: list[bytes], low: int, width: int, proof: Iterator[bytes]) -> bytes:
    """Return the top of a tree of so many leaves, from the hashes of some that stand together and a proof."""
    while width > 1:
        if low % 2:
            hashes = [next(proof), *hashes]
            low -= 1
        if len(hashes) % 2 and low + len(hashes) < width:
            hashes = [*hashes, next(proof)]
        above = [_node(hashes[at], hashes[at + 1]) for at in range(0, len(hashes) - 1, 2)]
        hashes = above + hashes[len(hashes) - len(hashes) % 2 :]
        low, width = low // 2, (width + 1) // 2
    return hashes[0]


def proven_root(length: int, first: int, data: Buffer, proof: bytes) -> bytes:
    """Return the root of the file that a part belongs to, by its proof. Where it is the right one, the part is.

    Args:
        length: Bytes of the whole file; at most :data:`MAX_LENGTH`.
        first: Number of the first leaf of the part, from 0.
        data: The part: whole leaves, but for the last one of the file.
        proof: What :meth:`HashTree.proof` has returned for these leaves.

    Raises:
        TransferError: The part is none of such a file, or the proof is of another size than it takes; its code is
            ``"bad_chunk"``.
    """
    view = memoryview(data).cast("B")
    return root_above(length, first, len(view), leaf_hashes([view]), proof)


def root_above(length: int, first: int, size: int, leaves: bytes, proof: bytes) -> bytes:
    """Return the root of the file that a part belongs to, as :func:`proven_root` does, from the hashes of its leaves.

    Args:
        length: Bytes of the whole file; at most :data:`MAX_LENGTH`.
        first: Number of the first leaf of the part, from 0.
        size: Bytes of the part.
        leaves: The hashes of its leaves; see :func:`leaf_hashes`.
        proof: What :meth:`HashTree.proof` has returned for these leaves.

    Raises:
        TransferError: As :func:`proven_root` does.
    """
    start, end = first * LEAF_SIZE, first * LEAF_SIZE + size
    if not 0 <= start < end <= length <= MAX_LENGTH or (end % LEAF_SIZE and end != length):
        raise TransferError("bad_chunk", "a chunk does not fit the leaves of its file")
    width = leaf_count(length)
    if len(proof) != HASH_SIZE * proof_hashes(first, leaf_count(end), width):
        raise TransferError("bad_chunk", "a proof has not the size that it must have")
    if core.AVAILABLE:
        return _root(length, core.top_above(leaves, first, width, proof))
    return _root(length, _climb(_apart(leaves), first, width, iter(_apart(proof))))


def _apart(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]


def proof_hashes(low: int, high: int, width: int) -> int:
    """Return how many hashes a proof for the leaves from low to before high has."""
    hashes = 0
    while width > 1:
        hashes += low % 2 + (high % 2 and high < width)
        low, high, width = low // 2, (high + 1) // 2, (width + 1) // 2
    return hashes
