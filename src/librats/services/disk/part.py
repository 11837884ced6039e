"""The files of a transfer that is not done: in a hidden folder, under the names that they will have."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple
from zlib import crc32

from librats.errors import TransferError
from librats.services.disk.errors import as_transfer_error
from librats.services.disk.existing import path_of
from librats.services.disk.folder_cache import FolderCache
from librats.services.disk.folders import Folder
from librats.services.disk.journal import Journal, Record, Recorded
from librats.services.disk.read_at import read_at
from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.layout import Layout
from librats.transfer.manifest import Manifest
from librats.transfer.tree import HASH_SIZE, LEAF_SIZE, Buffer, leaf_count, leaf_hashes
from librats.transfer.twins import Twins
from librats.transfer.verifying import MAX_CHUNK, marked_ranges

__all__ = ["CONTENT", "Chunk", "PartFiles", "check_chunk", "mark"]

CONTENT = "content"
"""Name of the folder that holds what the offer is, below the hidden one."""

MAX_OPEN = 32
FEW = 64
"""Up to so many files are brought to the disk one by one, more with all else that waits for it."""

EXECUTABLE, ORDINARY = 0o777, 0o666  # less what the umask takes away

BUFFERS_AT_ONCE = 512
"""Buffers that one call writes at most: every system takes as many."""

Range = tuple[int, int, int]
"""Number of a file, of a first leaf, and how many leaves."""


class Chunk(NamedTuple):
    """What is to be written, of one file."""

    file: int
    """Number of the file."""

    first: int
    """Number of the first leaf."""

    data: Sequence[Buffer]
    """Buffers that hold the leaves, one behind the other."""

    leaves: bytes
    """Hashes of the leaves."""


def check_chunk(
    layout: Layout, wanted: tuple[int, int], pieces: Sequence[Buffer], twins: Twins | None = None
) -> list[Chunk]:
    """Check the body of a chunk, and return what is to be written, also for other leaves of the same content.

    Raises:
        TransferError: It is not what was offered; see :meth:`~librats.transfer.layout.Layout.check`.
    """
    chunks = [Chunk(part.file, part.leaf, data, leaves) for part, data, leaves in layout.check(wanted, pieces)]
    if twins:
        chunks += [twin for chunk in chunks for twin in _twins(layout, chunk, twins)]
    return chunks


def _twins(layout: Layout, chunk: Chunk, twins: Twins) -> Iterator[Chunk]:
    start, count = layout.start(chunk.file) + chunk.first, len(chunk.leaves) // HASH_SIZE
    if not any(twins.of(leaf) for leaf in range(start, start + count)):
        return
    data = memoryview(b"".join(chunk.data))
    for number in range(count):
        for twin in twins.of(start + number):
            leaf = chunk.leaves[number * HASH_SIZE : (number + 1) * HASH_SIZE]
            yield Chunk(*layout.place_of(twin), [data[number * LEAF_SIZE : (number + 1) * LEAF_SIZE]], leaf)


def mark(have: bytearray, first: int, count: int) -> None:
    """Set the bits of some leaves; see :attr:`~librats.transfer.verifying.FileVerifier.have`."""
    at, end = first, first + count
    while at < end:
        if at % 8 == 0 and end - at >= 8:  # noqa: PLR2004 - bits of a byte
            whole = (end - at) // 8
            have[at // 8 : at // 8 + whole] = b"\xff" * whole
            at += 8 * whole
        else:
            have[at // 8] |= 1 << at % 8
            at += 1


class _Begun:
    """A file of several chunks that is not whole yet."""

    __slots__ = ("have", "left")

    def __init__(self, leaves: int) -> None:
        self.have = bytearray(-(-leaves // 8))
        self.left = leaves

    def take(self, first: int, count: int) -> None:
        for leaf in range(first, first + count):
            bit = 1 << leaf % 8
            if not self.have[leaf // 8] & bit:
                self.have[leaf // 8] |= bit
                self.left -= 1


class PartFiles:
    """Writes the files of an offer. All of it blocks, and one thread at a time may call it.

    Args:
        content: The folder that they are in.
        manifest: The offer.
        journal: Where chunks are noted that were written.
    """

    def __init__(self, content: Folder, manifest: Manifest, journal: Journal) -> None:
        self._content = content
        self._manifest = manifest
        self._table = FileTable.of(manifest.files)
        self._journal = journal
        self.folders = FolderCache(content, make=True)
        """The folders of the content."""
        self._begun: dict[int, _Begun] = {}
        self._done = bytearray(len(manifest.files))  # 1 for each that is whole: a set would take fifty times as much
        self._open: OrderedDict[int, int] = OrderedDict()

    def restore(self, recorded: Recorded, on_read: Callable[[int], object]) -> None:
        """Take over what an earlier process has written, and remove what is of no use.

        Args:
            recorded: What its journal says. Where it is not certain, what may not have reached the disk is compared.
            on_read: Called with how many bytes were read for that.

        Raises:
            OSError: Something cannot be read or removed.
        """
        there = set()
        for number, file in enumerate(self._manifest.files):
            path = path_of(self._manifest, file)
            folder = self._folder_of(path)
            status = folder.status(path[-1])
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_size == file.size:
                there.add(number)
            else:
                folder.remove_file(path[-1])
        have: dict[int, bytearray] = {}
        for record in recorded.records:
            if record.file in there and self._holds(record, on_read, is_certain=recorded.is_certain):
                if record.file not in have:
                    have[record.file] = bytearray(-(-self._leaves(record.file) // 8))
                mark(have[record.file], record.first, record.count)
        self._close_files()
        for number in sorted(there - have.keys()):
            path = path_of(self._manifest, self._manifest.files[number])
            self._folder_of(path).remove_file(path[-1])
        for number, bits in have.items():
            begun = _Begun(self._leaves(number))
            begun.have = bits
            begun.left -= int.from_bytes(bits).bit_count()
            if begun.left:
                self._begun[number] = begun
            else:
                self._done[number] = True

    def _holds(self, record: Record, on_read: Callable[[int], object], *, is_certain: bool) -> bool:
        """Tell whether the disk has what a record says."""
        if not record.count or record.first + record.count > self._leaves(record.file):
            return False
        if is_certain or record.crc is None:
            return True
        if record.count > MAX_CHUNK // LEAF_SIZE:
            return False
        data = read_at(self._opened(record.file), record.count * LEAF_SIZE, record.first * LEAF_SIZE)
        on_read(len(data))
        return crc32(leaf_hashes([data])) == record.crc

    def _whole(self) -> Iterator[int]:
        return (number for number, is_whole in enumerate(self._done) if is_whole)

    def _leaves(self, number: int) -> int:
        return leaf_count(self._table.size(number))

    @property
    def is_empty(self) -> bool:
        """True where nothing has been written."""
        return not self._begun and True not in self._done

    @property
    def whole(self) -> bytearray:
        """A byte for each file, 1 where all of it is there; a copy."""
        return bytearray(self._done)

    def begun(self) -> dict[int, bytearray]:
        """Return which leaves of other files are there; see :attr:`~librats.transfer.verifying.FileVerifier.have`."""
        return {number: bytearray(begun.have) for number, begun in self._begun.items()}

    def ranges(self) -> Iterator[Range]:
        """Yield what is there, in as few ranges as it takes."""
        for number in self._whole():
            yield number, 0, self._leaves(number)
        for number, begun in self._begun.items():
            yield from ((number, first, count) for first, count in marked_ranges(begun.have))

    def sync(self) -> None:
        """Bring what is there to the disk.

        Raises:
            OSError: It cannot be.
        """
        self.sync_files([*self._whole(), *self._begun])

    def sync_files(self, numbers: Sequence[int]) -> bool:
        """Bring some files to the disk: a few one by one, many with all else that waits for it.

        Returns:
            Whether all else was, folders among it.

        Raises:
            OSError: They cannot be.
        """
        if len(numbers) > FEW and self._content.sync_all():
            return True
        for number in numbers:
            descriptor = self.open(number, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return False

    def write(self, chunks: Sequence[Chunk]) -> None:
        """Write chunks, and note them.

        Raises:
            TransferError: The disk does not take them: ``"no_space"``, ``"permission"``, ``"gone"``, ``"link"``,
                ``"bad_name"`` (two names are one on this file system), or ``"disk"``.
        """
        written: list[Record] = []
        with as_transfer_error("a file cannot be written"):
            try:
                for chunk in chunks:
                    if not self._done[chunk.file]:
                        written.append(self._write_one(chunk))
            finally:
                self._journal.add(written)

    def _write_one(self, chunk: Chunk) -> Record:
        number, count = chunk.file, len(chunk.leaves) // HASH_SIZE
        if count == self._leaves(number):
            file = self._table[number]
            descriptor = self.create(file)
            try:
                _write_at(descriptor, chunk.data, 0)
                self.end(file, descriptor)
            finally:
                os.close(descriptor)
            self._done[number] = True
        else:
            _write_at(self._descriptor(number), chunk.data, chunk.first * LEAF_SIZE)
            begun = self._begun[number]
            begun.take(chunk.first, count)
            if not begun.left:
                self.end(self._table[number], self._open[number])
                os.close(self._open.pop(number))
                del self._begun[number]
                self._done[number] = True
        return Record(number, chunk.first, count, crc32(chunk.leaves))

    def create(self, file: OfferedFile) -> int:
        """Make a file that is not there, and return its descriptor.

        Raises:
            TransferError: It is there: this file system takes two names for one (``"bad_name"``).
            OSError: It cannot be made.
        """
        path = path_of(self._manifest, file)
        mode = EXECUTABLE if file.executable else ORDINARY
        try:
            return self._folder_of(path).open_file(path[-1], os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            raise TransferError("bad_name", "two names of an offer are one on this file system") from None

    def open(self, number: int, flags: int = os.O_RDONLY) -> int:
        """Open a file that is there, and return its descriptor.

        Raises:
            OSError: It cannot be opened.
        """
        path = path_of(self._manifest, self._manifest.files[number])
        return self._folder_of(path).open_file(path[-1], flags)

    def end(self, file: OfferedFile, descriptor: int) -> None:
        """Give a file that is whole its time."""
        path = path_of(self._manifest, file)
        self._folder_of(path).set_time(descriptor, path[-1], file.modified)

    def _folder_of(self, path: tuple[str, ...]) -> Folder:
        return self.folders.at(path[:-1])

    def _descriptor(self, number: int) -> int:
        """Return that of a file of several chunks, made or opened where it is not open."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if number in self._begun:
            return self._opened(number)
        file = self._table[number]
        descriptor = self._keep(number, self.create(file))
        os.ftruncate(descriptor, file.size)  # the rest is a hole, which takes no room
        self._begun[number] = _Begun(leaf_count(file.size))
        return descriptor

    def _opened(self, number: int) -> int:
        """Return the descriptor of a file that is there."""
        if number not in self._open:
            return self._keep(number, self.open(number, os.O_RDWR))
        return self._open[number]

    def _keep(self, number: int, descriptor: int) -> int:
        self._open[number] = descriptor
        if len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def close(self) -> None:
        """Close every file and folder. Idempotent."""
        self._close_files()
        self.folders.close()

    def _close_files(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])


def _write_at(descriptor: int, buffers: Sequence[Buffer], offset: int) -> None:
    """Write buffers one behind the other, as many in one call as the system takes."""
    waiting = deque(buffers)
    while waiting:
        if hasattr(os, "pwritev"):
            written = os.pwritev(descriptor, list(islice(waiting, BUFFERS_AT_ONCE)), offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            written = os.write(descriptor, waiting[0])
        offset += written
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.popleft())
        if written:
            waiting[0] = memoryview(waiting[0])[written:]
