"""The ``info`` of a torrent from peers, for whoever has a magnet link alone (BEP 9), and for peers that ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from hashlib import sha1, sha256
from typing import Final

from librats.bittorrent.extensions import METADATA_PIECE, MetadataKind, MetadataMessage
from librats.bittorrent.magnet import Magnet

__all__ = ["MAX_ANSWERS", "MAX_METADATA", "MetadataFetch", "serve_metadata"]

MAX_METADATA: Final = 32 << 20
"""Bytes that an ``info`` dictionary from peers has at most."""

MAX_ANSWERS: Final = 1 << 20
"""Bytes of answers that may wait for a peer to read them, unless the dictionary has more."""

MAX_PIECES = 2 * MAX_METADATA // METADATA_PIECE  # of all sizes together
TRIES = 3
ASKED_AT_ONCE = 2
TIMEOUT = 20.0

Key = Hashable


class MetadataFetch:
    """Asks peers for the pieces of the ``info``.

    Each size that peers tell is tried apart, so that one that lies about it spoils nothing for the others.

    Args:
        magnet: Whose hash it must have.
    """

    def __init__(self, magnet: Magnet) -> None:
        self._magnet = magnet
        self._sizes: dict[Key, int] = {}
        self._pieces: dict[int, dict[int, bytes]] = {}  # by size, then number
        self._givers: dict[int, set[Key]] = {}
        self._asked: dict[Key, dict[int, float]] = {}  # when, by number
        self._refusals: dict[Key, int] = {}
        self.info: bytes | None = None
        """The dictionary, once it is there and right."""

    def add_peer(self, key: Key, size: int) -> None:
        """Take note of a peer that has it, and how long it says that is."""
        before = self._sizes.get(key)
        if 0 < size <= MAX_METADATA and size != before:
            self._sizes[key] = size
            self._asked[key] = {}
            if before is not None and before not in self._sizes.values():
                self._drop(before)  # whoever tells ever other sizes has nothing kept of them

    def is_asked(self, key: Key, piece: int) -> bool:
        """Whether a peer was asked for a piece, and has not answered."""
        return piece in self._asked.get(key, {})

    def _drop(self, size: int) -> None:
        self._pieces.pop(size, None)
        self._givers.pop(size, None)

    def remove_peer(self, key: Key) -> None:
        """Take note that a peer is gone."""
        size = self._sizes.pop(key, None)
        self._asked.pop(key, None)
        self._refusals.pop(key, None)
        if size is not None and size not in self._sizes.values() and not self._pieces.get(size):
            self._drop(size)

    def next_requests(self, key: Key, now: float) -> list[MetadataMessage]:
        """Return what to ask a peer for."""
        size, asked = self._sizes.get(key), self._asked.get(key)
        if size is None or asked is None or self.info is not None or self._refusals.get(key, 0) >= TRIES:
            return []
        for piece, when in list(asked.items()):
            if now - when > TIMEOUT:
                del asked[piece]
                self._refusals[key] = self._refusals.get(key, 0) + 1
        there = self._pieces.setdefault(size, {})
        others = {piece for other, pieces in self._asked.items() if self._sizes.get(other) == size for piece in pieces}
        missing = [piece for piece in range(-(-size // METADATA_PIECE)) if piece not in there and piece not in others]
        chosen = missing[: ASKED_AT_ONCE - len(asked)] if len(asked) < ASKED_AT_ONCE else []
        asked.update(dict.fromkeys(chosen, now))
        return [MetadataMessage(kind=MetadataKind.REQUEST, piece=piece) for piece in chosen]

    def receive(self, key: Key, message: MetadataMessage) -> set[Key]:
        """Take a piece, or a refusal.

        Returns:
            Who alone has given all of an ``info`` that is wrong, and so lies.
        """
        size, asked = self._sizes.get(key), self._asked.get(key)
        if size is None or asked is None or asked.pop(message.piece, None) is None or self.info is not None:
            return set()
        if message.kind is MetadataKind.REJECT:
            self._refusals[key] = self._refusals.get(key, 0) + 1
            return set()
        wanted = min(METADATA_PIECE, size - message.piece * METADATA_PIECE)
        if message.kind is not MetadataKind.DATA or len(message.data) != wanted:
            return {key}
        there = self._pieces.setdefault(size, {})
        there[message.piece] = message.data
        self._givers.setdefault(size, set()).add(key)
        if len(there) == -(-size // METADATA_PIECE):
            return self._finish(size)
        self._make_room()
        return set()

    @property
    def kept(self) -> int:
        """Pieces that are kept, of all sizes."""
        return sum(map(len, self._pieces.values()))

    def _make_room(self) -> None:
        """Let go what is told by the fewest, where more is kept than the longest one and all that it could be."""
        while self.kept > MAX_PIECES:
            told = Counter(self._sizes.values())
            self._drop(min(self._pieces, key=lambda size: (told[size], -len(self._pieces[size]))))

    def _finish(self, size: int) -> set[Key]:
        there = self._pieces.pop(size)
        givers = self._givers.pop(size)
        info = b"".join(there[piece] for piece in range(len(there)))
        if self._is_right(info):
            self.info = info
            return set()
        for key in givers:
            self._refusals[key] = self._refusals.get(key, 0) + 1
        return givers if len(givers) == 1 else set()

    def _is_right(self, info: bytes) -> bool:
        v1, v2 = self._magnet.info_hash_v1, self._magnet.info_hash_v2
        if v1 is not None and sha1(info, usedforsecurity=False).digest() != v1:
            return False
        return v2 is None or sha256(info).digest() == v2


def serve_metadata(info: bytes | None, message: MetadataMessage, waiting: int = 0) -> MetadataMessage:
    """Return the answer to a request: a refusal where much waits for the peer to read it, as BEP 9 has it.

    Args:
        info: The dictionary; None where it is not there, or not to be given away.
        message: The request.
        waiting: Bytes that wait for the peer.
    """
    if info is not None and waiting > max(MAX_ANSWERS, len(info) * 5 // 4):  # all of it may be asked for at once
        info = None
    begin = message.piece * METADATA_PIECE
    if info is None or begin >= len(info):
        return MetadataMessage(kind=MetadataKind.REJECT, piece=message.piece)
    data = info[begin : begin + METADATA_PIECE]
    return MetadataMessage(kind=MetadataKind.DATA, piece=message.piece, total_size=len(info), data=data)
