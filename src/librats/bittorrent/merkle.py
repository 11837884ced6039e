"""Trees of hashes of version 2 (BEP 52): SHA-256 over blocks of 16 KiB, one tree for each file.

A tree has a power of two of leaves; those that no block of the file fills are 32 zero bytes. The layer whose hashes
cover a piece each is the one that a torrent file carries.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from librats._core.digests import sha256_each
from librats.errors import UsageError

__all__ = [
    "BLOCK_SIZE",
    "HASH_SIZE",
    "block_hashes",
    "climb",
    "hashes_above",
    "next_power",
    "padding_hash",
    "root_above",
]

BLOCK_SIZE: Final = 16_384
"""Bytes of a block, what a leaf covers."""

HASH_SIZE: Final = 32
"""Bytes of a hash."""

MAX_LEVEL = 64

Buffer = bytes | bytearray | memoryview

_PADDING = [bytes(HASH_SIZE)]
while len(_PADDING) <= MAX_LEVEL:
    _PADDING.append(sha256(_PADDING[-1] * 2).digest())


def next_power(count: int) -> int:
    """Return the smallest power of two that is not less than a count; 1 for 0."""
    return 1 << max(count - 1, 0).bit_length()


def padding_hash(level: int) -> bytes:
    """Return the hash of a subtree that no block of the file is in.

    Args:
        level: How far above the leaves, from 0 to 64.
    """
    return _PADDING[level]


def block_hashes(data: Buffer) -> bytes:
    """Return the leaves over a part of a file that begins at a block.

    Args:
        data: The part; only the last part of a file ends within a block.
    """
    return sha256_each(data, BLOCK_SIZE)


def hashes_above(hashes: bytes, level: int) -> bytes:
    """Return the hashes one level above some others.

    Args:
        hashes: Hashes of a level, from an even one on; where their count is odd, nothing of the file is behind them.
        level: Their level.
    """
    if len(hashes) % (2 * HASH_SIZE):
        hashes += _PADDING[level]
    return sha256_each(hashes, 2 * HASH_SIZE)


def root_above(hashes: bytes, count: int, level: int = 0) -> bytes:
    """Return the root over hashes of one level.

    Args:
        hashes: At least one, at most ``count`` of them; the others are padding.
        count: How many the tree has at that level, a power of two.
        level: Their level, 0 for leaves.

    Raises:
        UsageError: There are none, too many, or the count is no power of two.

    Example:
        >>> from librats.bittorrent.merkle import block_hashes, root_above
        >>> root_above(block_hashes(bytes(20_000)), 2).hex()[:16]
        '83de568e921ea540'
    """
    have = len(hashes) // HASH_SIZE
    if len(hashes) % HASH_SIZE or not 0 < have <= count or count & (count - 1):
        raise UsageError(f"{len(hashes)} bytes are no hashes of a level of {count}")
    while count > 1:
        hashes = hashes_above(hashes, level)
        count //= 2
        level += 1
    return hashes


def climb(node: bytes, index: int, uncles: bytes) -> bytes:
    """Return the root that a node has with these hashes beside the way up (the proof of a ``hashes`` message).

    Args:
        node: The node, 32 bytes.
        index: Its place in its level, from 0.
        uncles: The hashes beside the way, from below.
    """
    for at in range(0, len(uncles), HASH_SIZE):
        uncle = uncles[at : at + HASH_SIZE]
        node = sha256(uncle + node if index % 2 else node + uncle).digest()
        index //= 2
    return node
