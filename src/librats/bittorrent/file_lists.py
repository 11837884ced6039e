"""The two ways to tell a torrent's files: the list of version 1 (BEP 3, 47), and the tree of version 2 (BEP 52)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from librats.bittorrent.merkle import HASH_SIZE
from librats.errors import DecodeError

__all__ = ["MAX_FILES", "MAX_SIZE", "ToldFile", "told_in_list", "told_in_tree"]

MAX_FILES: Final = 1_000_000
"""Files that a torrent has at most, those that only fill pieces among them."""

MAX_SIZE: Final = 1 << 50
"""Bytes that a torrent has at most, 1 PiB."""

MAX_PARTS = 64


class ToldFile(NamedTuple):
    """A file as a torrent tells it."""

    path: tuple[bytes, ...]
    """Parts of its path, not to be trusted; none for what only fills a piece and has no name."""

    size: int
    """Bytes."""

    attributes: bytes = b""
    """Letters of BEP 47: p for what only fills a piece, x for executable, l for a symbolic link."""

    root: bytes = b""
    """Root of its tree of hashes."""


def _size_of(fields: dict[bytes, Any]) -> int:
    size = fields.get(b"length")
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        raise DecodeError("the length of a file is missing, or cannot be")
    return size


def _attributes_of(fields: dict[bytes, Any]) -> bytes:
    attributes = fields.get(b"attr", b"")
    return attributes if type(attributes) is bytes else b""


def _path_of(fields: dict[bytes, Any]) -> tuple[bytes, ...]:
    path = fields.get(b"path.utf-8", fields.get(b"path"))
    if type(path) is not list or not path or any(type(part) is not bytes for part in path) or len(path) > MAX_PARTS:
        raise DecodeError("the path of a file is missing, or cannot be")
    return tuple(path)


def told_in_list(info: dict[bytes, Any]) -> list[ToldFile]:
    """Read the files of version 1.

    Args:
        info: The ``info`` dictionary.

    Returns:
        The files; one whose path is empty where the torrent is a single file.

    Raises:
        DecodeError: They are missing, or not told as they must be.
    """
    if b"files" not in info:
        return [ToldFile((), _size_of(info), _attributes_of(info))]
    entries = info[b"files"]
    if type(entries) is not list or not 0 < len(entries) <= MAX_FILES:
        raise DecodeError(f"the list of files is empty, has more than {MAX_FILES}, or is none")
    files = []
    for fields in entries:
        if type(fields) is not dict:
            raise DecodeError("a file is no dictionary")
        attributes = _attributes_of(fields)
        path = () if b"p" in attributes else _path_of(fields)
        size = 0 if b"l" in attributes and b"length" not in fields else _size_of(fields)
        files.append(ToldFile(path, size, attributes))
    return files


def told_in_tree(tree: Any) -> list[ToldFile]:
    """Read the files of version 2, in their order.

    Args:
        tree: Value of ``file tree``.

    Raises:
        DecodeError: It is not told as it must be.
    """
    files = list(_walk(tree, ()))
    if not files:
        raise DecodeError("the tree of files is empty")
    return files


def _walk(tree: Any, above: tuple[bytes, ...]) -> Iterator[ToldFile]:
    # As deep as the reader of bencode lets it be.
    if type(tree) is not dict or not tree:
        raise DecodeError("a folder is no dictionary, or empty")
    for name, below in tree.items():
        if name == b"":
            raise DecodeError("a file has no name")
        if type(below) is not dict:
            raise DecodeError("a file or folder is no dictionary")
        if b"" in below:
            if len(below) > 1:
                raise DecodeError("a path is a file and a folder")
            yield _leaf(below[b""], (*above, name))
        else:
            yield from _walk(below, (*above, name))


def _leaf(fields: Any, path: tuple[bytes, ...]) -> ToldFile:
    if type(fields) is not dict:
        raise DecodeError("a file is no dictionary")
    attributes = _attributes_of(fields)
    size = 0 if b"l" in attributes and b"length" not in fields else _size_of(fields)
    root = fields.get(b"pieces root", b"")
    if b"p" in attributes:
        raise DecodeError("a file of the tree only fills a piece")
    if not size or b"l" in attributes:
        return ToldFile(path, size, attributes)
    if type(root) is not bytes or len(root) != HASH_SIZE or not any(root):
        raise DecodeError("a file of the tree has no root")
    return ToldFile(path, size, attributes, root)
