"""Piece layers of version 2 from peers and for peers (BEP 52): a torrent that came by a magnet link has none."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from librats.bittorrent.layout import Layout
from librats.bittorrent.merkle import (
    BLOCK_SIZE,
    HASH_SIZE,
    climb,
    hashes_above,
    next_power,
    padding_hash,
    root_above,
)
from librats.bittorrent.messages import Hashes, HashReject, HashRequest
from librats.bittorrent.metainfo import Torrent

__all__ = ["MAX_HASHES", "LayerFetch", "LayerServer", "hash_at", "is_answerable"]

MAX_HASHES: Final = 512
"""Hashes that are asked for at once at most."""

MIN_HASHES = 2
MAX_SERVED = 8192
TIMEOUT = 20.0
ASKED_AT_ONCE = 4
TRIES = 8


def _level(layout: Layout) -> int:
    return (layout.piece_length // BLOCK_SIZE).bit_length() - 1


class LayerFetch:
    """Asks peers for the piece layers that a torrent lacks, in parts that are proven one by one.

    Args:
        torrent: A torrent of version 2 or both.
    """

    def __init__(self, torrent: Torrent) -> None:
        layout = torrent.layout
        self._level = _level(layout)
        self._files: dict[bytes, int] = {}  # pieces, by root
        self._parts: dict[bytes, dict[int, bytes]] = {}
        self._missing: dict[HashRequest, None] = {}
        self._asked: dict[HashRequest, tuple[Hashable, float]] = {}
        self._refusals: dict[Hashable, int] = {}
        for number in torrent.missing_layers:
            file = layout.files[number]
            pieces = -(-file.size // layout.piece_length)
            if file.root not in self._files:
                self._files[file.root] = pieces
                self._parts[file.root] = {}
                self._missing.update(dict.fromkeys(self._requests(file.root, pieces)))
        self.layers: dict[bytes, bytes] = {}
        """Layers that are whole, by root."""

    def _requests(self, root: bytes, pieces: int) -> list[HashRequest]:
        width = next_power(pieces)
        length = min(MAX_HASHES, width)
        # Layers above the one asked for, without the root. Those that follow from what is asked for are left out.
        proof = width.bit_length() - 2
        return [HashRequest(root, self._level, first, length, proof) for first in range(0, pieces, length)]

    @property
    def is_complete(self) -> bool:
        """Whether every layer is there."""
        return len(self.layers) == len(self._files)

    def next_requests(self, key: Hashable, now: float) -> list[HashRequest]:
        """Return what to ask a peer for."""
        for request, (asked, when) in list(self._asked.items()):
            if now - when > TIMEOUT:
                self._give_back(request, asked)
        busy = sum(asked == key for asked, _ in self._asked.values())
        if busy >= ASKED_AT_ONCE or self._refusals.get(key, 0) >= TRIES:
            return []
        chosen = list(self._missing)[: ASKED_AT_ONCE - busy]
        for request in chosen:
            del self._missing[request]
            self._asked[request] = (key, now)
        return chosen

    def _give_back(self, request: HashRequest, key: Hashable) -> None:
        self._asked.pop(request, None)
        self._missing[request] = None
        self._refusals[key] = self._refusals.get(key, 0) + 1

    def remove_peer(self, key: Hashable) -> None:
        """Take note that a peer is gone."""
        self._refusals.pop(key, None)
        for request, (asked, _) in list(self._asked.items()):
            if asked == key:
                del self._asked[request]
                self._missing[request] = None

    def reject(self, key: Hashable, message: HashReject) -> None:
        """Take note that a peer does not give what it was asked for."""
        request = HashRequest(*message)
        if self._asked.get(request, (None, 0.0))[0] == key:
            self._give_back(request, key)

    def forgive(self, key: Hashable) -> None:
        """Ask a peer again that may have more to give than before, as it has introduced itself anew."""
        self._refusals.pop(key, None)

    def receive(self, key: Hashable, message: Hashes) -> bool:
        """Take hashes.

        Returns:
            False where they are not those that were asked for, and so the peer lies.
        """
        request = HashRequest(*message[:-1])
        if self._asked.get(request, (None, 0.0))[0] != key:
            return True  # it came too late
        size = request.length * HASH_SIZE
        hashes, uncles = message.hashes[:size], message.hashes[size:]
        proofs = request.proof_layers + 2 - request.length.bit_length()
        is_right = len(hashes) == size and len(uncles) == proofs * HASH_SIZE
        if is_right:
            top = root_above(hashes, request.length, self._level)
            is_right = climb(top, request.first // request.length, uncles) == request.root
        if not is_right:
            self._give_back(request, key)
            return False
        del self._asked[request]
        parts, pieces = self._parts[request.root], self._files[request.root]
        parts[request.first] = hashes
        if len(parts) == -(-pieces // request.length):
            whole = b"".join(parts[first] for first in sorted(parts))
            self.layers[request.root] = whole[: pieces * HASH_SIZE]
        return True


class LayerServer:
    """Gives peers hashes of piece layers. Those of blocks are not kept: see :mod:`librats.bittorrent.block_hashes`.

    Args:
        torrent: The torrent; one of version 1 has none.
    """

    def __init__(self, torrent: Torrent) -> None:
        self._layers = torrent.piece_layers
        self._level = _level(torrent.layout)
        self._above: dict[bytes, list[bytes]] = {}  # levels by root, the piece layer first

    def answer(self, request: HashRequest) -> Hashes | HashReject:
        """Return the answer to a request."""
        layer = self._layers.get(request.root)
        if layer is None or request.base_layer != self._level:
            return HashReject(*request)
        height = next_power(len(layer) // HASH_SIZE).bit_length() - 1
        if not is_answerable(request, height):
            return HashReject(*request)
        first, length = request.first, request.length
        levels = self.levels_of(request.root)
        hashes = [hash_at(levels[0], number, self._level) for number in range(first, first + length)]
        for above in range(length.bit_length() - 1, request.proof_layers + 1):
            hashes.append(hash_at(levels[above], (first >> above) ^ 1, self._level + above))
        return Hashes(*request, b"".join(hashes))

    def levels_of(self, root: bytes) -> list[bytes]:
        """Return the levels of a file's tree from that of its pieces to the one below its root."""
        levels = self._above.get(root)
        if levels is None:
            layer = self._layers[root]
            levels = self._above[root] = [layer]
            for above in range(next_power(len(layer) // HASH_SIZE).bit_length() - 2):
                levels.append(hashes_above(levels[-1], self._level + above))
        return levels


def is_answerable(request: HashRequest, height: int) -> bool:
    """Say whether a request is for hashes that there are (BEP 52).

    Args:
        request: The request.
        height: Levels of the file's tree above the one that is asked for.
    """
    first, length = request.first, request.length
    is_power = MIN_HASHES <= length <= MAX_SERVED and length == next_power(length)
    return is_power and not first % length and first + length <= 1 << height and request.proof_layers < height


def hash_at(level: bytes, number: int, height: int) -> bytes:
    """Return a hash of a level; behind what the file fills, that of padding.

    Args:
        level: The level's hashes.
        number: Which of them.
        height: How far it is above the leaves.
    """
    return level[number * HASH_SIZE : (number + 1) * HASH_SIZE] or padding_hash(height)
