"""Making torrents: pieces hashed as the files' bytes come by, in version 1, 2 or both."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from itertools import chain
from typing import Any, Final

from librats._core import bencode
from librats.bittorrent.merkle import BLOCK_SIZE, HASH_SIZE, block_hashes, next_power, root_above
from librats.bittorrent.outer import is_tracker, is_web
from librats.errors import UsageError
from librats.transfer.names import NameSet, Parts, check_parts

__all__ = ["MAX_CHOSEN_PIECE", "TorrentBuilder", "choose_piece_length"]

MAX_CHOSEN_PIECE: Final = 16 << 20
"""Bytes that a piece has at most where nobody asks for more."""

WANTED_PIECES = 1500
VERSIONS = ("v1", "v2", "hybrid")

Buffer = bytes | bytearray | memoryview


def choose_piece_length(size: int) -> int:
    """Return a good length of pieces for so many bytes: a power of two, from 16 KiB to 16 MiB.

    Example:
        >>> from librats.bittorrent.creating import choose_piece_length
        >>> choose_piece_length(500_000_000)
        524288
    """
    return max(BLOCK_SIZE, min(next_power(-(-size // WANTED_PIECES)), MAX_CHOSEN_PIECE))


class TorrentBuilder:
    """Makes a torrent of files whose bytes it is given one behind the other.

    Args:
        name: Name of the folder; or of the file, where there is one whose path is ``()``.
        files: Path below the folder and size in bytes of each. In versions 2 and both they come in the order of their
            names; see :attr:`files`.
        version: ``"v1"``, ``"v2"`` or ``"hybrid"``, for both.
        piece_length: Bytes of a piece, a power of two from 16 KiB on; chosen by size where it is None.
        trackers: URLs of trackers, by tier: ``[["udp://a.example:80"], ["https://b.example/announce"]]``.
        web_seeds: URLs that serve the files.
        private: Whether peers may be had of the trackers alone.
        comment: What to say to people.
        created_by: What program makes it.
        created: Now: seconds since 1970; None to say nothing.

    Raises:
        UsageError: The length or the version cannot be, there is no byte, or paths or URLs are not as they must be.
        TransferError: A name is one that not every system takes, or two collide (``"bad_name"``).

    Example:
        >>> from librats.bittorrent.creating import TorrentBuilder
        >>> from librats.bittorrent.metainfo import read_torrent
        >>> builder = TorrentBuilder("letters", [(("b.txt",), 3), (("a.txt",), 2)], piece_length=16_384)
        >>> [path for path, size in builder.files]
        [('a.txt',), ('b.txt',)]
        >>> builder.update(b"aa")
        >>> builder.update(b"bbb")
        >>> read_torrent(builder.finish()).info_hash_v1.hex()[:16]
        'b720bac3d9c80637'
    """

    def __init__(
        self,
        name: str,
        files: Sequence[tuple[Parts, int]],
        *,
        version: str = "hybrid",
        piece_length: int | None = None,
        trackers: Sequence[Sequence[str]] = (),
        web_seeds: Sequence[str] = (),
        private: bool = False,
        comment: str = "",
        created_by: str = "",
        created: int | None = None,
    ) -> None:
        size = sum(size for _, size in files)
        if version not in VERSIONS:
            raise UsageError(f"version is one of {', '.join(VERSIONS)}")
        if piece_length is None:
            piece_length = choose_piece_length(size)
        if piece_length < BLOCK_SIZE or piece_length != next_power(piece_length):
            raise UsageError(f"piece_length is no power of two from {BLOCK_SIZE} on")
        if size <= 0 or any(size < 0 for _, size in files):
            raise UsageError("a torrent has at least one byte")
        self._name, self._length = name, piece_length
        self._is_single = [path for path, _ in files] == [()]
        _check_names(name, [path for path, _ in files], is_single=self._is_single)
        if version != "v1":
            files = sorted(files, key=lambda file: [part.encode() for part in file[0]])
        self.files: tuple[tuple[Parts, int], ...] = tuple(files)
        """The files in the order in which their bytes are to come."""
        self._outer = _outer_fields(trackers, web_seeds, comment, created_by, created)
        self._private = private
        self._v1 = None if version == "v2" else _PiecesV1(piece_length)
        self._v2 = None if version == "v1" else _TreesV2(piece_length)
        self._number = 0
        self._left = self.files[0][1]
        self._skip_empty()

    def update(self, data: Buffer) -> None:
        """Take the next bytes of the files; the buffer may be used again afterwards.

        Raises:
            UsageError: There are more than the files have.
        """
        view = memoryview(data).cast("B")
        while view:
            if self._number == len(self.files):
                raise UsageError("there are more bytes than the files have")
            taken = min(self._left, len(view))
            if self._v1 is not None:
                self._v1.update(view[:taken])
            if self._v2 is not None:
                self._v2.update(view[:taken])
            view = view[taken:]
            self._left -= taken
            self._skip_empty()

    def _skip_empty(self) -> None:
        """Go on to the next file that lacks bytes, where this one has all of them."""
        while self._left == 0 and self._number < len(self.files):
            if self._v2 is not None:
                self._v2.end_file()
                if self._v1 is not None and not self._is_single:
                    self._v1.update(bytes(-self.files[self._number][1] % self._length))
            self._number += 1
            if self._number < len(self.files):
                self._left = self.files[self._number][1]

    def finish(self) -> bytes:
        """Return the torrent file.

        Raises:
            UsageError: Bytes of the files are missing.
        """
        if self._number < len(self.files):
            raise UsageError("bytes of the files are missing")
        info: dict[bytes, Any] = {b"name": self._name.encode(), b"piece length": self._length}
        if self._private:
            info[b"private"] = 1
        outer = dict(self._outer)
        if self._v1 is not None:
            info[b"pieces"] = self._v1.finish()
            if self._is_single:
                info[b"length"] = self.files[0][1]
            else:
                info[b"files"] = self._list()
        if self._v2 is not None:
            info[b"meta version"] = 2
            info[b"file tree"] = self._tree(self._v2.roots)
            outer[b"piece layers"] = self._v2.layers
        outer[b"info"] = info
        return bencode.encode(outer)

    def _list(self) -> list[dict[bytes, Any]]:
        told: list[dict[bytes, Any]] = []
        for path, size in self.files:
            told.append({b"length": size, b"path": [part.encode() for part in path]})
            missing = -size % self._length
            if self._v2 is not None and missing:
                told.append({b"attr": b"p", b"length": missing, b"path": [b".pad", str(missing).encode()]})
        return told

    def _tree(self, roots: Sequence[bytes]) -> dict[bytes, Any]:
        tree: dict[bytes, Any] = {}
        for (path, size), root in zip(self.files, roots, strict=True):
            folder = tree
            for part in path or (self._name,):
                folder = folder.setdefault(part.encode(), {})
            folder[b""] = {b"length": size, b"pieces root": root} if size else {b"length": 0}
        return tree


def _check_names(name: str, paths: Sequence[Parts], *, is_single: bool) -> None:
    check_parts((name,))
    if is_single:
        return
    names = NameSet()
    for path in paths:
        if not path:
            raise UsageError("a file has no path")
        check_parts(path)
        names.add_file(path)


def _outer_fields(
    trackers: Sequence[Sequence[str]], web_seeds: Sequence[str], comment: str, created_by: str, created: int | None
) -> dict[bytes, Any]:
    for url in chain.from_iterable(trackers):
        if not is_tracker(url):
            raise UsageError(
                f"not a tracker: {url!r}; trackers are lists of URLs, http://, https:// or udp://, by tier"
            )
    for url in web_seeds:
        if not is_web(url):
            raise UsageError(f"not a web seed: {url!r}; write http:// or https://")
    outer: dict[bytes, Any] = {}
    tiers = [[url.encode() for url in tier] for tier in trackers if tier]
    if tiers:
        outer[b"announce"] = tiers[0][0]
    if len(tiers) > 1 or (tiers and len(tiers[0]) > 1):
        outer[b"announce-list"] = tiers
    if web_seeds:
        outer[b"url-list"] = [url.encode() for url in web_seeds]
    for key, text in ((b"comment", comment), (b"created by", created_by)):
        if text:
            outer[key] = text.encode()
    if created is not None:
        outer[b"creation date"] = created
    return outer


class _PiecesV1:
    """SHA-1 of each piece, over all files one behind the other."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._left = length
        self._hash = sha1(usedforsecurity=False)
        self._pieces = bytearray()

    def update(self, data: Buffer) -> None:
        view = memoryview(data)
        while view:
            taken = min(self._left, len(view))
            self._hash.update(view[:taken])
            self._left -= taken
            view = view[taken:]
            if not self._left:
                self._end_piece()

    def _end_piece(self) -> None:
        self._pieces += self._hash.digest()
        self._hash = sha1(usedforsecurity=False)
        self._left = self._length

    def finish(self) -> bytes:
        if self._left < self._length:
            self._end_piece()
        return bytes(self._pieces)


class _TreesV2:
    """The tree of hashes of each file."""

    def __init__(self, length: int) -> None:
        self._per_piece = length // BLOCK_SIZE
        self._begun = bytearray()  # of a block that is not whole yet
        self._leaves = bytearray()
        self.roots: list[bytes] = []
        self.layers: dict[bytes, bytes] = {}

    def update(self, data: memoryview) -> None:
        if self._begun:
            taken = min(BLOCK_SIZE - len(self._begun), len(data))
            self._begun += data[:taken]
            data = data[taken:]
            if len(self._begun) < BLOCK_SIZE:
                return
            self._leaves += block_hashes(self._begun)
            self._begun.clear()
        whole = len(data) - len(data) % BLOCK_SIZE
        self._leaves += block_hashes(data[:whole])
        self._begun += data[whole:]

    def end_file(self) -> None:
        if self._begun:
            self._leaves += block_hashes(self._begun)
            self._begun.clear()
        leaves = bytes(self._leaves)
        self._leaves.clear()
        if not leaves:
            self.roots.append(b"")
            return
        step = self._per_piece * HASH_SIZE
        if len(leaves) <= step:
            self.roots.append(root_above(leaves, next_power(len(leaves) // HASH_SIZE)))
            return
        pieces = [root_above(leaves[at : at + step], self._per_piece) for at in range(0, len(leaves), step)]
        layer = b"".join(pieces)
        root = root_above(layer, next_power(len(pieces)), self._per_piece.bit_length() - 1)
        self.roots.append(root)
        self.layers[root] = layer
