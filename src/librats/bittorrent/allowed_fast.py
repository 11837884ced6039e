"""Pieces that a newcomer may ask for before anybody serves it, so that it soon has something to give (BEP 6)."""

from __future__ import annotations

import ipaddress
from hashlib import sha1
from typing import Final

from librats.bittorrent.layout import Layout
from librats.bittorrent.picker import Block, PiecePicker, Source
from librats.errors import UsageError

__all__ = ["FAST_PIECES", "FastPieces", "allowed_fast_set"]

FAST_PIECES: Final = 10
"""Pieces that a newcomer is told of, and above which it is none."""

MAX_TAKEN = 64
TIMES = 2
NUMBER = 4
IPV4_NETWORK = 3
IPV6_NETWORK = 8


def allowed_fast_set(host: str, info_hash: bytes, piece_count: int, size: int = FAST_PIECES) -> list[int]:
    """Return the pieces that a peer may ask for at any time: the same for all of its network, whoever computes them.

    BEP 6 says how for IPv4. An IPv6 address counts with its first 64 bits.

    Args:
        host: The peer's IP address.
        info_hash: The torrent's, 20 bytes.
        piece_count: Pieces of the torrent.
        size: How many to return at most.

    Raises:
        UsageError: The host is no IP address.

    Example:
        >>> from librats.bittorrent.allowed_fast import allowed_fast_set
        >>> allowed_fast_set("80.4.4.200", b"\\xaa" * 20, 1313, 7)
        [1059, 431, 808, 1217, 287, 376, 1188]
    """
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        raise UsageError(f"{host} is no IP address") from None
    ip = getattr(ip, "ipv4_mapped", None) or ip
    network = ip.packed[: IPV4_NETWORK if ip.version == 4 else IPV6_NETWORK]  # noqa: PLR2004 - of IP
    chosen: dict[int, None] = {}
    digest = network.ljust(len(ip.packed), b"\0") + info_hash
    while len(chosen) < min(size, piece_count):
        digest = sha1(digest, usedforsecurity=False).digest()
        for at in range(0, len(digest), NUMBER):
            if len(chosen) < size:
                chosen[int.from_bytes(digest[at : at + NUMBER]) % piece_count] = None
    return list(chosen)


class FastPieces:
    """The pieces that one peer may ask us for though it is not served, and those that we may ask it for."""

    def __init__(self) -> None:
        self.taken: dict[int, None] = {}
        """Pieces that it gives at any time."""
        self._given: frozenset[int] = frozenset()
        self._left = 0

    def take(self, piece: int) -> None:
        """Take note of a piece that it gives at any time; those beyond a limit are passed over."""
        if len(self.taken) < MAX_TAKEN:
            self.taken[piece] = None

    def pick(self, source: Source, picker: PiecePicker, room: int) -> list[Block]:
        """Return blocks of pieces that it gives at any time, to ask it for.

        Args:
            source: The peer.
            picker: Who knows what is missing.
            room: How many at most.
        """
        blocks: list[Block] = []
        for piece in self.taken:
            if source.has_piece(piece) and len(blocks) < room:
                blocks += picker.pick_of(source, piece, room - len(blocks))
        return blocks

    def give(self, host: str, info_hash: bytes, layout: Layout) -> list[int]:
        """Return the pieces to tell a newcomer of; none the second time, or for a host that is no IP address."""
        if self._given:
            return []
        try:
            pieces = allowed_fast_set(host, info_hash, layout.piece_count)
        except UsageError:
            return []
        self._given = frozenset(pieces)
        self._left = TIMES * sum(map(layout.piece_size, pieces))
        return pieces

    def may_ask(self, piece: int) -> bool:
        """Whether it may ask for a block though it is not served: of pieces that it was told of, each twice at most."""
        return piece in self._given and self._left > 0

    def spend(self, size: int) -> None:
        """Take note of bytes that it was given though it is not served."""
        self._left -= size
