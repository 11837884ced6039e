"""Hashes of blocks of version 2 for peers (BEP 52): with them a peer finds which block of a piece is wrong.

They are not kept, for they would fill memory with a five-hundredth of the content: pieces are read and hashed anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final

from librats.bittorrent.hash_exchange import LayerServer, hash_at, is_answerable
from librats.bittorrent.layout import TorrentFile
from librats.bittorrent.merkle import BLOCK_SIZE, HASH_SIZE, hashes_above, next_power, root_above
from librats.bittorrent.messages import Hashes, HashReject, HashRequest
from librats.bittorrent.metainfo import Torrent

__all__ = ["MAX_HASHED", "BlockServer"]

MAX_HASHED: Final = 32 << 20
"""Bytes that are read for one request at most, unless one piece has more."""

MAX_WAITING = 4
MAX_ALL_WAITING = 32


class BlockServer:
    """Answers requests for hashes of blocks with what the driver has hashed.

    Args:
        torrent: A torrent of version 2 or both, with its piece layers.
        layers: Gives its piece layers.
    """

    def __init__(self, torrent: Torrent, layers: LayerServer) -> None:
        self._layout = torrent.layout
        self._layers = layers
        self._per_piece = torrent.layout.piece_length // BLOCK_SIZE
        self._level = self._per_piece.bit_length() - 1
        self._files = {file.root: file for file in torrent.layout.files if file.root}
        self._waiting: Counter[Hashable] = Counter()

    def pieces_for(self, request: HashRequest, have: bytearray) -> range | None:
        """Return the pieces whose blocks are to be hashed for an answer; None where the request is for no blocks, for
        such as there are not, for too many at once, or for pieces that are not there.

        Args:
            request: What a peer asks for.
            have: A byte for each piece: 1 where it is there.
        """
        file = self._files.get(request.root)
        if file is None or request.base_layer or (not self._level and file.size > self._layout.piece_length):
            return None
        if not is_answerable(request, self._height(file)):
            return None
        begin = file.offset // self._layout.piece_length
        last = -(-file.size // self._layout.piece_length)
        behind = -(-(request.first + request.length) // self._per_piece)
        pieces = range(request.first // self._per_piece, min(last, behind))
        if not pieces or len(pieces) > max(1, MAX_HASHED // self._layout.piece_length):
            return None
        numbers = range(begin + pieces.start, begin + pieces.stop)
        return numbers if all(have[number] for number in numbers) else None

    def admit(self, key: Hashable) -> bool:
        """Whether one request more of a peer may wait for pieces to be hashed; :meth:`release` is to be called then."""
        if self._waiting[key] >= MAX_WAITING or self._waiting.total() >= MAX_ALL_WAITING:
            return False
        self._waiting[key] += 1
        return True

    def release(self, key: Hashable) -> None:
        """Take note that a request of a peer waits no more."""
        self._waiting[key] -= 1

    def remove_peer(self, key: Hashable) -> None:
        """Take note that a peer is gone."""
        del self._waiting[key]

    def answer(self, request: HashRequest, leaves: bytes | None) -> Hashes | HashReject:
        """Return the answer to a request.

        Args:
            request: What a peer asks for.
            leaves: The hashes of all blocks of :meth:`pieces_for`; None where these could not be read.
        """
        file = self._files[request.root]
        height = self._height(file)
        level = min(self._level, height)  # where the trees of what was hashed end
        first, length = request.first, request.length
        begin = first >> level << level  # the first leaf that there is
        if leaves is None or not self._are_right(file, leaves, begin >> level, level):
            return HashReject(*request)
        levels = [leaves]
        for above in range(level):
            levels.append(hashes_above(levels[-1], above))
        hashes = [hash_at(leaves, number - begin, 0) for number in range(first, first + length)]
        for above in range(length.bit_length() - 1, request.proof_layers + 1):
            uncle = (first >> above) ^ 1
            if above < level:
                hashes.append(hash_at(levels[above], uncle - (begin >> above), above))
            else:
                hashes.append(hash_at(self._layers.levels_of(request.root)[above - level], uncle, above))
        return Hashes(*request, b"".join(hashes))

    def _height(self, file: TorrentFile) -> int:
        return next_power(-(-file.size // BLOCK_SIZE)).bit_length() - 1

    def _are_right(self, file: TorrentFile, leaves: bytes, piece: int, level: int) -> bool:
        """Say whether the pieces have still the hashes that they must have: a file may have changed meanwhile."""
        step = HASH_SIZE << level
        tops = [root_above(leaves[at : at + step], 1 << level) for at in range(0, len(leaves), step)]
        if file.size <= self._layout.piece_length:
            return tops == [file.root]
        layer = self._layers.levels_of(file.root)[0]
        return b"".join(tops) == layer[piece * HASH_SIZE : (piece + len(tops)) * HASH_SIZE]
