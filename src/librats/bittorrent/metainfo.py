"""Torrent files of version 1, 2 and both (BEP 3, 47, 52): read as others wrote them, with limits.

The info-hash is taken over the bytes of the ``info`` dictionary as they are, so that is read leniently: keys out of
order, or bytes behind the torrent, are no reason to refuse what others take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha1, sha256
from typing import Any, Final

from librats._core import bencode
from librats.bittorrent.file_lists import ToldFile, told_in_list, told_in_tree
from librats.bittorrent.layout import Layout, TorrentFile
from librats.bittorrent.magnet import Magnet
from librats.bittorrent.merkle import BLOCK_SIZE, HASH_SIZE, block_hashes, next_power, root_above
from librats.bittorrent.names import SafePaths, torrent_name
from librats.bittorrent.outer import read_layers, read_nodes, read_trackers, read_web_seeds, text_of
from librats.errors import DecodeError, UsageError
from librats.types import Address

__all__ = ["MAX_PIECES", "MAX_PIECE_LENGTH", "MAX_TORRENT", "Torrent", "read_info", "read_torrent"]

MAX_TORRENT: Final = 64 << 20
"""Bytes that a torrent file has at most."""

MAX_PIECES: Final = 1 << 21
"""Pieces that a torrent has at most."""

MAX_PIECE_LENGTH: Final = 536_854_528
"""Bytes that a piece has at most."""

MAX_DEPTH = 100
MAX_TOKENS = 5_000_000
MAX_FIELDS = 100
SHA1_SIZE = 20
VERSION_2 = 2


@dataclass(frozen=True, kw_only=True)
class Torrent:
    """What a torrent file tells. Made by :func:`read_torrent` and :func:`read_info`.

    Example:
        >>> from librats.bittorrent.creating import TorrentBuilder
        >>> from librats.bittorrent.metainfo import read_torrent
        >>> builder = TorrentBuilder("hello.txt", [((), 5)])
        >>> builder.update(b"hello")
        >>> torrent = read_torrent(builder.finish())
        >>> torrent.name, torrent.version, torrent.layout.piece_count
        ('hello.txt', 'hybrid', 1)
    """

    name: str
    """Name of the file or the folder, safe on every system."""

    info: bytes = field(repr=False)
    """The ``info`` dictionary as it was read."""

    layout: Layout = field(repr=False)
    """Its files and pieces. The path of each begins with the name."""

    info_hash_v1: bytes | None
    """SHA-1 of ``info``, 20 bytes; None for a torrent of version 2 alone."""

    info_hash_v2: bytes | None
    """SHA-256 of ``info``, 32 bytes; None for a torrent of version 1."""

    piece_hashes: bytes = field(default=b"", repr=False)
    """SHA-1 of each piece, 20 bytes each; empty in version 2 alone."""

    piece_layers: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    """Of version 2: by the root of a file that has more than a piece, the hash of each piece, 32 bytes each. What
    is not here is to be asked of peers."""

    is_private: bool = False
    """Whether peers may be had of its trackers alone (BEP 27)."""

    trackers: tuple[tuple[str, ...], ...] = ()
    """URLs of trackers, by tier (BEP 12)."""

    web_seeds: tuple[str, ...] = ()
    """URLs that serve the files over HTTP (BEP 19)."""

    nodes: tuple[Address, ...] = ()
    """Nodes of the DHT to begin with (BEP 5)."""

    comment: str = ""
    """What whoever made it says."""

    created_by: str = ""
    """What program made it."""

    created: int = 0
    """When it was made: seconds since 1970; 0 where it does not say."""

    @property
    def version(self) -> str:
        """``"v1"``, ``"v2"`` or ``"hybrid"``."""
        if self.info_hash_v1 is None:
            return "v2"
        return "v1" if self.info_hash_v2 is None else "hybrid"

    @property
    def info_hash(self) -> bytes:
        """20 bytes that peers and trackers are asked with: of version 1 where there is one, else cut short."""
        return self.info_hash_v1 or (self.info_hash_v2 or b"")[:SHA1_SIZE]

    @property
    def size(self) -> int:
        """Bytes of all files, without what only fills pieces."""
        return self.layout.content_total

    @cached_property
    def missing_layers(self) -> tuple[int, ...]:
        """Numbers of the files whose piece layer is not there, and must be asked of peers."""
        if self.info_hash_v2 is None:
            return ()
        return tuple(
            number
            for number, file in enumerate(self.layout.files)
            if file.size > self.layout.piece_length and file.root and file.root not in self.piece_layers
        )

    def with_layers(self, layers: dict[bytes, bytes]) -> Torrent:
        """Return the same with piece layers that have come from peers.

        Raises:
            DecodeError: One is not of any file.
        """
        checked = read_layers(layers, self.layout)
        return replace(self, piece_layers=self.piece_layers | checked)

    def magnet(self) -> Magnet:
        """Return the magnet link for it."""
        trackers = tuple(url for tier in self.trackers for url in tier)
        return Magnet(
            info_hash_v1=self.info_hash_v1,
            info_hash_v2=self.info_hash_v2,
            name=self.name,
            trackers=trackers,
            web_seeds=self.web_seeds,
        )

    def piece_is_right(self, piece: int, data: bytes | bytearray | memoryview) -> bool:
        """Check a piece against its hashes: of version 1, of version 2, or both, as the torrent has them.

        Args:
            piece: Its number.
            data: All of it; of version 2 alone, what only fills it may be left out.

        Raises:
            UsageError: There is no such piece, or the layer with its hash is not there yet.
        """
        if not 0 <= piece < self.layout.piece_count:
            raise UsageError(f"there is no piece {piece}")
        if self.info_hash_v1 is not None:
            wanted = self.piece_hashes[piece * SHA1_SIZE : (piece + 1) * SHA1_SIZE]
            if sha1(data, usedforsecurity=False).digest() != wanted:
                return False
        return self.info_hash_v2 is None or self._is_right_v2(piece, data)

    def _is_right_v2(self, piece: int, data: bytes | bytearray | memoryview) -> bool:
        layout = self.layout
        number = layout.file_at(piece * layout.piece_length)
        file = layout.files[number]
        inside = piece * layout.piece_length - file.offset
        size = min(layout.piece_length, file.size - inside)
        if len(data) < size:
            return False
        hashes = block_hashes(memoryview(data)[:size])
        if file.size <= layout.piece_length:
            return root_above(hashes, layout.leaves_of(number)) == file.root
        layer = self.piece_layers.get(file.root)
        if layer is None:
            raise UsageError(f"the hash of piece {piece} is not known yet")
        at = inside // layout.piece_length * HASH_SIZE
        return root_above(hashes, layout.piece_length // BLOCK_SIZE) == layer[at : at + HASH_SIZE]


def read_torrent(raw: bytes) -> Torrent:
    """Read a torrent file.

    Args:
        raw: Its bytes.

    Raises:
        DecodeError: It is none, or beyond a limit.
    """
    if len(raw) > MAX_TORRENT:
        raise DecodeError(f"a torrent of more than {MAX_TORRENT} bytes")
    outer, info = _split(raw)
    if info is None:
        raise DecodeError("a torrent without an info dictionary")
    torrent = read_info(info)
    created = outer.get(b"creation date")
    return replace(
        torrent,
        piece_layers=read_layers(outer.get(b"piece layers", {}), torrent.layout) if torrent.info_hash_v2 else {},
        trackers=read_trackers(outer),
        web_seeds=read_web_seeds(outer),
        nodes=read_nodes(outer.get(b"nodes")),
        comment=text_of(outer.get(b"comment.utf-8", outer.get(b"comment"))),
        created_by=text_of(outer.get(b"created by")),
        created=created if type(created) is int and 0 <= created < 1 << 63 else 0,
    )


def _split(raw: bytes) -> tuple[dict[bytes, Any], bytes | None]:
    """Return the outer fields of a torrent, without ``info``, and the bytes of ``info``."""
    view = memoryview(raw)
    if raw[:1] != b"d":
        raise DecodeError("a torrent is a dictionary")
    outer: dict[bytes, Any] = {}
    info = None
    at, fields = 1, 0
    while raw[at : at + 1] != b"e":
        key, used = bencode.decode_prefix(view[at:], strict=False, max_depth=0, max_tokens=1)
        if type(key) is not bytes:
            raise DecodeError("a key of a torrent is no string", at)
        at += used
        value, used = bencode.decode_prefix(view[at:], strict=False, max_depth=MAX_DEPTH, max_tokens=MAX_TOKENS)
        fields += 1
        if fields > MAX_FIELDS:
            raise DecodeError(f"a torrent of more than {MAX_FIELDS} fields", at)
        if key != b"info":
            outer.setdefault(key, value)
        elif info is None:
            info = raw[at : at + used]
        at += used
    return outer, info


def read_info(raw: bytes) -> Torrent:
    """Read an ``info`` dictionary, as peers send it to whoever has a magnet link (BEP 9).

    That it is the right one is for the caller to check: see :attr:`Torrent.info_hash_v1`.

    Args:
        raw: Its bytes.

    Raises:
        DecodeError: It is none, or beyond a limit.
    """
    if len(raw) > MAX_TORRENT:
        raise DecodeError(f"an info dictionary of more than {MAX_TORRENT} bytes")
    info = bencode.decode(raw, strict=False, max_depth=MAX_DEPTH, max_tokens=MAX_TOKENS)
    if type(info) is not dict:
        raise DecodeError("the info of a torrent is no dictionary")
    has_tree = b"file tree" in info and b"meta version" in info
    if has_tree and info[b"meta version"] != VERSION_2:
        raise DecodeError("a torrent of a later version")
    has_list = not has_tree or b"pieces" in info
    hash_v1 = sha1(raw, usedforsecurity=False).digest() if has_list else None
    hash_v2 = sha256(raw).digest() if has_tree else None
    piece_length = _read_piece_length(info, has_tree=has_tree)
    tree = told_in_tree(info[b"file tree"]) if has_tree else []
    told = told_in_list(info) if has_list else _padded(tree, piece_length)
    raw_name = info.get(b"name.utf-8", info.get(b"name"))
    if type(raw_name) is not bytes:
        raise DecodeError("a torrent without a name")
    if not has_list and len(tree) == 1 and tree[0].path == (raw_name,):
        told = [told[0]._replace(path=()), *told[1:]]
    if hash_v1 is not None and has_tree:
        told = _matched(told, tree, raw_name, piece_length)
    name = torrent_name(raw_name) or (hash_v1 or hash_v2 or b"").hex()
    layout = Layout(_placed(told, name), piece_length)
    if not any(file.size for file in told if b"p" not in file.attributes):
        raise DecodeError("a torrent without a byte")
    if layout.piece_count > MAX_PIECES:
        raise DecodeError(f"a torrent of more than {MAX_PIECES} pieces")
    return Torrent(
        name=name,
        info=raw,
        layout=layout,
        info_hash_v1=hash_v1,
        info_hash_v2=hash_v2,
        piece_hashes=_read_pieces(info, layout) if has_list else b"",
        is_private=info.get(b"private") == 1,
    )


def _read_piece_length(info: dict[bytes, Any], *, has_tree: bool) -> int:
    length = info.get(b"piece length")
    if type(length) is not int or not 0 < length <= MAX_PIECE_LENGTH:
        raise DecodeError("the length of a piece is missing, or cannot be")
    if has_tree and (length < BLOCK_SIZE or length != next_power(length)):
        raise DecodeError(f"the length of a piece is no power of two from {BLOCK_SIZE} on")
    return length


def _read_pieces(info: dict[bytes, Any], layout: Layout) -> bytes:
    pieces = info.get(b"pieces")
    if type(pieces) is not bytes or len(pieces) != layout.piece_count * SHA1_SIZE:
        raise DecodeError("the hashes of pieces are missing, or not as many as the pieces")
    return pieces


def _padded(tree: Sequence[ToldFile], piece_length: int) -> list[ToldFile]:
    """Return the files of version 2 alone with what fills pieces behind each, so that each begins a piece."""
    told = []
    for file in tree:
        told.append(file)
        if file.size % piece_length:
            told.append(ToldFile((), piece_length - file.size % piece_length, b"p"))
    return told


def _matched(told: Sequence[ToldFile], tree: Sequence[ToldFile], name: bytes, piece_length: int) -> list[ToldFile]:
    """Return the files of a hybrid torrent: those of version 1 with the roots of version 2, which must be the same."""
    own = iter(tree)
    matched, offset = [], 0
    for file in told:
        if b"p" in file.attributes:
            matched.append(file)
        else:
            other = next(own, None)
            if other is None or (file.path or (name,), file.size) != (other.path, other.size):
                raise DecodeError("the two versions of a hybrid torrent have other files")
            if file.size and offset % piece_length:
                raise DecodeError("a file of a hybrid torrent does not begin a piece")
            matched.append(file._replace(root=other.root))
        offset += file.size
    if next(own, None) is not None:
        raise DecodeError("the two versions of a hybrid torrent have other files")
    return matched


def _placed(told: Sequence[ToldFile], name: str) -> tuple[TorrentFile, ...]:
    paths = SafePaths()
    files, offset = [], 0
    for file in told:
        is_pad = b"p" in file.attributes
        if is_pad:
            path: tuple[str, ...] = (name, ".pad", str(file.size))
        else:
            path = paths.place((name.encode(), *file.path))
        files.append(
            TorrentFile(
                path=path,
                size=file.size,
                offset=offset,
                root=file.root,
                is_pad=is_pad,
                is_executable=b"x" in file.attributes,
                is_symlink=b"l" in file.attributes,
            )
        )
        offset += file.size
    return tuple(files)
