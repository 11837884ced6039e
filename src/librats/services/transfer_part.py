"""The files of a transfer that is not done: in a hidden folder, under the names that they will have."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Sequence
from zlib import crc32

from librats.errors import TransferError
from librats.services.disk_errors import as_transfer_error
from librats.services.folder_cache import FolderCache
from librats.services.folders import Folder
from librats.services.transfer_existing import path_of
from librats.services.transfer_journal import Journal, Record
from librats.transfer.manifest import Manifest
from librats.transfer.tree import LEAF_SIZE, leaf_count
from librats.transfer.verifying import MAX_CHUNK

__all__ = ["CONTENT", "Chunk", "PartFiles", "mark"]

CONTENT = "content"
"""Name of the folder that holds what the offer is, below the hidden one."""

MAX_OPEN = 32
EXECUTABLE, ORDINARY = 0o777, 0o666  # less what the umask takes away

Buffer = bytes | bytearray | memoryview
Chunk = tuple[int, int, Buffer]
"""Number of a file, number of the first leaf, and the data."""


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
        self._manifest = manifest
        self._journal = journal
        self.folders = FolderCache(content, make=True)
        """The folders of the content."""
        self._begun: dict[int, _Begun] = {}
        self._done: set[int] = set()
        self._open: OrderedDict[int, int] = OrderedDict()

    def restore(self, records: Sequence[Record], *, trusted: bool) -> list[Record]:
        """Take over what an earlier process has written, and remove what is of no use.

        Args:
            records: What its journal says.
            trusted: Whether that is so for certain; otherwise the data is compared with its CRC.

        Returns:
            The records that hold.

        Raises:
            OSError: Something cannot be read or removed.
        """
        by_file: dict[int, list[Record]] = {}
        for record in records:
            if record.file < len(self._manifest.files):
                by_file.setdefault(record.file, []).append(record)
        held: list[Record] = []
        for number, file in enumerate(self._manifest.files):
            path = path_of(self._manifest, file)
            folder = self._folder_of(path)
            status = folder.status(path[-1])
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_size == file.size and number in by_file:
                good = self._holding(folder, path[-1], file.size, by_file[number], trusted=trusted)
                if good:
                    held += good
                    continue
            folder.remove_file(path[-1])
        for record in held:
            if record.file not in self._begun:
                leaves = leaf_count(self._manifest.files[record.file].size)
                self._begun[record.file] = _Begun(leaves)
            self._begun[record.file].take(record.first, record.count)
        self._done = {number for number, begun in self._begun.items() if not begun.left}
        for number in self._done:
            del self._begun[number]
        return held

    @staticmethod
    def _holding(folder: Folder, name: str, size: int, records: list[Record], *, trusted: bool) -> list[Record]:
        leaves = leaf_count(size)
        fitting = [one for one in records if one.count and one.first + one.count <= leaves]
        if trusted:
            return fitting
        descriptor = folder.open_file(name, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            good = []
            for record in fitting:
                if record.count > MAX_CHUNK // LEAF_SIZE:
                    continue
                file.seek(record.first * LEAF_SIZE)
                if crc32(file.read(record.count * LEAF_SIZE)) == record.crc:
                    good.append(record)
        return good

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
                    if chunk[0] not in self._done:
                        written.append(self._write_one(*chunk))
            finally:
                self._journal.add(written)

    def _write_one(self, number: int, first: int, data: Buffer) -> Record:
        file = self._manifest.files[number]
        view = memoryview(data).cast("B")
        count = leaf_count(len(view))
        if len(view) == file.size:
            descriptor = self.create(number)
            try:
                _write_at(descriptor, view, 0)
                self.end(number, descriptor)
            finally:
                os.close(descriptor)
            self._done.add(number)
        else:
            _write_at(self._descriptor(number), view, first * LEAF_SIZE)
            begun = self._begun[number]
            begun.take(first, count)
            if not begun.left:
                self.end(number, self._open[number])
                os.close(self._open.pop(number))
                del self._begun[number]
                self._done.add(number)
        return Record(number, first, count, crc32(view))

    def create(self, number: int) -> int:
        """Make a file that is not there, and return its descriptor.

        Raises:
            TransferError: It is there: this file system takes two names for one (``"bad_name"``).
            OSError: It cannot be made.
        """
        file = self._manifest.files[number]
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

    def end(self, number: int, descriptor: int) -> None:
        """Give a file that is whole its time."""
        file = self._manifest.files[number]
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
            descriptor = self.open(number, os.O_RDWR)
        else:
            size = self._manifest.files[number].size
            descriptor = self.create(number)
            os.ftruncate(descriptor, size)  # the rest is a hole, which takes no room
            self._begun[number] = _Begun(leaf_count(size))
        self._open[number] = descriptor
        if len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def close(self) -> None:
        """Close every file and folder. Idempotent."""
        while self._open:
            os.close(self._open.popitem()[1])
        self.folders.close()


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        if hasattr(os, "pwrite"):
            written = os.pwrite(descriptor, data, offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            written = os.write(descriptor, data)
        data = data[written:]
        offset += written
