"""What is offered: one file or a folder, with names, sizes, times and roots, in bytes that have one form only.

A manifest is two values of bencode, one behind the other. The first is a dictionary that tells the kind, the name and
how much there is, so that what is too much is refused before the rest is read, or has come. The second is a list of two
lists: the files, and the folders that nothing is in. Bencode has one form for a value, and its reader limits how many
values there are, and how deep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from itertools import chain, pairwise
from typing import Any, Final

from librats._core import bencode
from librats.errors import BencodeError, TransferError
from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.names import NameSet, Parts, check_parts, read_path
from librats.transfer.tree import HASH_SIZE, MAX_LENGTH, hash_file

__all__ = [
    "MAX_HEAD",
    "Manifest",
    "ManifestHead",
    "ManifestLimits",
    "OfferedFile",
    "content_id",
    "read_head",
    "read_manifest",
    "write_manifest",
]

MAX_HEAD: Final = 512
"""Bytes that the first of the two values has at most."""

VERSION = 1
CONTENT_PREFIX = b"librats offer 1\0"
MAX_TIME = (1 << 63) - 1
FILE_TOKENS = 6  # that bencode's reader counts for a file: a list, and five values
EMPTY_ROOT = hash_file([]).root
HEAD_KEYS = frozenset([b"bytes", b"empty", b"files", b"folder", b"name", b"v"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestLimits:
    """How much an offer may hold. What is beyond is refused, and the limit is named."""

    files: int = 100_000
    """Files."""

    folders: int = 100_000
    """Folders, those that something is in among them."""

    size: int = 1 << 44
    """Bytes of all files together: 16 TiB."""

    manifest: int = 64 << 20
    """Bytes of the manifest itself."""


DEFAULT_LIMITS = ManifestLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHead:
    """The beginning of a manifest: enough to ask somebody whether it is wanted. What it claims is not checked yet."""

    name: str
    """Name of the file or the folder."""

    is_folder: bool
    """Whether it is a folder."""

    files: int
    """How many files."""

    empty_folders: int
    """How many folders that nothing is in."""

    size: int
    """Bytes of all files together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An offer: one file, or a folder with all that is in it.

    Example:
        >>> from librats.transfer.manifest import Manifest, OfferedFile, read_manifest, write_manifest
        >>> from librats.transfer.tree import hash_file
        >>> tree = hash_file([b"hello"])
        >>> file = OfferedFile(path=("notes", "hello.txt"), size=tree.length, root=tree.root)
        >>> manifest = Manifest(name="today", is_folder=True, files=(file,), empty_folders=(("drafts",),))
        >>> read_manifest(write_manifest(manifest)) == manifest
        True
    """

    name: str
    """Name of the file or the folder."""

    is_folder: bool
    """Whether it is a folder."""

    files: Sequence[OfferedFile]
    """The files, in the order of their paths as bytes, part by part; a table where it was read."""

    empty_folders: tuple[Parts, ...] = ()
    """Paths of the folders that nothing is in, in the same order."""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        files = self.files
        return files.total if isinstance(files, FileTable) else sum(file.size for file in files)


def _order(path: bytes) -> bytes:
    """Return what paths are sorted by: their parts as bytes, from the outermost one. No part has a NUL in it."""
    return path.replace(b"/", b"\0")


def _in_order(files: FileTable) -> Sequence[int]:
    """Return the numbers of files in the order of a manifest."""
    numbers = range(len(files))
    orders = pairwise(_order(files.raw_path(number)) for number in numbers)
    if all(before < after for before, after in orders):
        return numbers
    return sorted(numbers, key=lambda number: _order(files.raw_path(number)))


def write_manifest(manifest: Manifest, *, limits: ManifestLimits = DEFAULT_LIMITS) -> bytes:
    """Write a manifest as it is sent. Its files and folders may be in any order.

    Args:
        manifest: What is offered.
        limits: What the other side takes.

    Raises:
        TransferError: Nobody would take it: a name that not every system has or that collides (``"bad_name"``), a size,
            root or time that cannot be (``"bad_offer"``), or a limit (``"limit"``).
    """
    if len(manifest.files) > limits.files:  # before what takes long
        raise TransferError("limit", f"an offer of more than {limits.files} files")
    for path in chain([(manifest.name,)], (file.path for file in manifest.files), manifest.empty_folders):
        check_parts(path)
    files = FileTable.of(manifest.files)
    raw = BytesIO()  # what it returns at the end is no copy
    raw.write(_head(manifest) + b"ll")
    for number in _in_order(files):  # one by one, for there may be many
        raw.write(bencode.encode(_entry(files, number, files.modified(number))))
    raw.write(b"e" + bencode.encode(sorted(map(_path, manifest.empty_folders), key=_order)) + b"e")
    written = raw.getvalue()
    _check_manifest(written, limits)  # one place knows the rules
    return written


def _head(manifest: Manifest) -> bytes:
    fields = {
        "bytes": manifest.size,
        "empty": len(manifest.empty_folders),
        "files": len(manifest.files),
        "folder": int(manifest.is_folder),
        "name": manifest.name.encode(),
        "v": VERSION,
    }
    return bencode.encode(fields)


def _entry(files: FileTable, number: int, modified: int) -> tuple[bytes, int, bytes, int, int]:
    is_executable = int(files.is_executable(number))
    return files.raw_path(number), files.size(number), files.root(number), modified, is_executable


def _path(parts: Parts) -> bytes:
    return "/".join(parts).encode()


def content_id(manifest: Manifest) -> bytes:
    """Return the id of an offer: 32 bytes, the same for all offers of equal names, contents and modes.

    It is SHA-256 of ``librats offer 1``, a NUL, and the manifest with 0 for every time. So the copies of a folder have
    one id, whenever they were made, and all who have one can give it at once.

    Args:
        manifest: The offer, checked already.

    Example:
        >>> from librats.transfer.manifest import Manifest, OfferedFile, content_id
        >>> from librats.transfer.tree import hash_file
        >>> def copied(when):
        ...     file = OfferedFile(path=("a",), size=2, root=hash_file([b"hi"]).root, modified=when)
        ...     return Manifest(name="a", is_folder=False, files=(file,))
        >>> content_id(copied(when=1)) == content_id(copied(when=2))
        True
    """
    digest = sha256(CONTENT_PREFIX + _head(manifest) + b"ll")
    files = FileTable.of(manifest.files)
    for number in _in_order(files):  # one by one, for there may be many
        digest.update(bencode.encode(_entry(files, number, 0)))
    digest.update(b"e" + bencode.encode(sorted(map(_path, manifest.empty_folders), key=_order)) + b"e")
    return digest.digest()


def _bad(problem: str) -> TransferError:
    return TransferError("bad_offer", problem)


def read_head(raw: bytes, *, limits: ManifestLimits = DEFAULT_LIMITS) -> ManifestHead:
    """Read how a manifest begins.

    Args:
        raw: The manifest, or its first :data:`MAX_HEAD` bytes.
        limits: What is taken.

    Raises:
        TransferError: It is none (``"bad_offer"``), its name is unsafe (``"bad_name"``), or it claims more than a limit
            (``"limit"``).

    Example:
        >>> from librats.transfer.manifest import read_head
        >>> read_head(b"d5:bytesi7e5:emptyi0e5:filesi1000000e6:folderi1e4:name3:all1:vi1ee")
        Traceback (most recent call last):
        ...
        librats.errors.TransferError: an offer of more than 100000 files [limit]
    """
    return _read_head(raw, limits)[0]


def _read_head(raw: bytes, limits: ManifestLimits) -> tuple[ManifestHead, int]:
    """Read how a manifest begins, and where that ends."""
    try:
        fields, end = bencode.decode_prefix(raw[:MAX_HEAD], max_depth=1, max_tokens=2 * len(HEAD_KEYS) + 1)
    except BencodeError:
        raise _bad("a manifest does not begin as one does") from None
    if type(fields) is not dict or fields.keys() != HEAD_KEYS:
        raise _bad("a manifest has other fields than it must have")
    name = fields.pop(b"name")
    if type(name) is not bytes or any(type(field) is not int or field < 0 for field in fields.values()):
        raise _bad("a field of a manifest is of another type")
    if fields[b"v"] != VERSION or fields[b"folder"] > 1:
        raise _bad("a manifest of another version or kind")
    parts = read_path(name)
    if len(parts) != 1:
        raise TransferError("bad_name", "the name of an offer is a path")
    for what, claimed, limit in (
        ("files", fields[b"files"], limits.files),
        ("folders", fields[b"empty"], limits.folders),
        ("bytes", fields[b"bytes"], limits.size),
    ):
        if claimed > limit:
            raise TransferError("limit", f"an offer of more than {limit} {what}")
    head = ManifestHead(
        name=parts[0],
        is_folder=bool(fields[b"folder"]),
        files=fields[b"files"],
        empty_folders=fields[b"empty"],
        size=fields[b"bytes"],
    )
    if not head.is_folder and (head.files, head.empty_folders) != (1, 0):
        raise _bad("an offer of one file has another number of them")
    return head, end


def read_manifest(raw: bytes, *, limits: ManifestLimits = DEFAULT_LIMITS) -> Manifest:
    """Read a manifest that a peer sent. Its paths are safe, and no two are the same file on any system.

    Args:
        raw: As it was sent.
        limits: What is taken.

    Raises:
        TransferError: It is none, or not in its one form (``"bad_offer"``), a name is unsafe or collides
            (``"bad_name"``), or it is beyond a limit, which is named (``"limit"``).
    """
    files = FileTable()
    head, folders = _read_all(raw, limits, files.append)
    return Manifest(name=head.name, is_folder=head.is_folder, files=files, empty_folders=folders)


def _check_manifest(raw: bytes, limits: ManifestLimits) -> None:
    """Read a manifest, and keep nothing of it."""
    _read_all(raw, limits, lambda file: None)


class _Body:
    """Reads the second value of a manifest piece by piece: all of it at once would take twice the memory."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw = raw
        self._rest = memoryview(raw)
        self._at = at

    def take(self, expected: bytes) -> None:
        """Take bytes that must be there."""
        end = self._at + len(expected)
        if self._raw[self._at : end] != expected:
            raise _bad("the files of a manifest are not told as they must be")
        self._at = end

    def end(self) -> None:
        """Take note that there is nothing more."""
        if self._at != len(self._raw):
            raise _bad("there is something behind a manifest")

    def value(self, *, max_depth: int, max_tokens: int) -> Any:
        """Take a value."""
        try:
            value, size = bencode.decode_prefix(self._rest[self._at :], max_depth=max_depth, max_tokens=max_tokens)
        except BencodeError:
            raise _bad("the files of a manifest are not told as they must be") from None
        self._at += size
        return value


def _read_all(
    raw: bytes, limits: ManifestLimits, found: Callable[[OfferedFile], object]
) -> tuple[ManifestHead, tuple[Parts, ...]]:
    """Read a manifest, hand on each of its files, and return its head and the paths of the empty folders."""
    if len(raw) > limits.manifest:
        raise TransferError("limit", f"a manifest of more than {limits.manifest} bytes")
    head, at = _read_head(raw, limits)
    body, names = _Body(raw, at), NameSet(max_folders=limits.folders)
    size = 0
    body.take(b"ll")
    for file in _read_files(body, head.files, names):
        size += file.size
        if not head.is_folder and file.path != (head.name,):
            raise _bad("an offer of one file has two names")
        found(file)
    body.take(b"el")
    folders = tuple(_read_folders(body, head.empty_folders, names))
    body.take(b"ee")
    body.end()
    if size != head.size:
        raise _bad("a manifest has another size than it says")
    return head, folders


def _read_files(body: _Body, count: int, names: NameSet) -> Iterator[OfferedFile]:
    before: bytes | None = None
    for _ in range(count):
        entry = body.value(max_depth=1, max_tokens=FILE_TOKENS)
        file = _read_file(entry)
        _check_order(before, entry[0])
        before = entry[0]
        names.add_file(file.path)
        yield file


def _read_folders(body: _Body, count: int, names: NameSet) -> Iterator[Parts]:
    before: bytes | None = None
    for _ in range(count):
        path = body.value(max_depth=1, max_tokens=1)
        if type(path) is not bytes:
            raise _bad("a folder of a manifest is not told as it must be")
        _check_order(before, path)
        before = path
        parts = read_path(path)
        names.add_empty_folder(parts)
        yield parts


def _check_order(before: bytes | None, path: bytes) -> None:
    if before is not None and _order(before) >= _order(path):
        raise _bad("the paths of a manifest are not in their order")


def _read_file(entry: Any) -> OfferedFile:
    if type(entry) is not list or [type(field) for field in entry] != [bytes, int, bytes, int, int]:
        raise _bad("a file of a manifest is not told as it must be")
    path, size, root, modified, executable = entry
    if size > MAX_LENGTH:
        raise TransferError("limit", f"a file of more than {MAX_LENGTH} bytes")
    if size < 0 or len(root) != HASH_SIZE or not 0 <= modified <= MAX_TIME or executable not in {0, 1}:
        raise _bad("a size, root, time or mode that cannot be")
    if not size and root != EMPTY_ROOT:
        raise _bad("an empty file with the root of another one")
    return OfferedFile(path=read_path(path), size=size, root=root, modified=modified, executable=bool(executable))
