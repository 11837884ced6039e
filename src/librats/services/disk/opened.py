"""A transfer on the disk that is not done: its folders, files and journal, and what is there in older files."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence

from librats.errors import TransferError
from librats.services.disk.errors import as_transfer_error
from librats.services.disk.existing import find_in_place
from librats.services.disk.folders import Folder, remove_tree
from librats.services.disk.journal import NEW_NAME, Journal, Record
from librats.services.disk.old_files import OldFiles, found_chunks
from librats.services.disk.part import CONTENT, Chunk, PartFiles
from librats.services.disk.placing import place
from librats.transfer.file_table import FileTable
from librats.transfer.layout import Layout, Range
from librats.transfer.manifest import Manifest
from librats.transfer.names import unfinished
from librats.transfer.reusing import LeafIndex
from librats.transfer.tree import HASH_SIZE, leaf_count

__all__ = ["Check", "Opened", "Wanted", "part_name"]

HEX_OF_ID = 16


def part_name(content: bytes) -> str:
    """Return the name of the hidden folder that a transfer has until it is done.

    Example:
        >>> from librats.services.disk.opened import part_name
        >>> part_name(bytes(32))
        '.librats-0000000000000000.part'
    """
    return unfinished(content.hex()[:HEX_OF_ID])


Check = Callable[[], Sequence[Chunk]]
"""Checks a chunk, and returns what is to be written; raises a TransferError where it is not what it should be."""


class Wanted:
    """What the user wants of a transfer.

    Args:
        overwrite: Whether files of the same names are replaced.
        max_disk: Bytes that it may take on the disk at most; None for what is free.
        tell: Called with how many bytes were read, and how many there are.
    """

    __slots__ = ("is_given_up", "max_disk", "overwrite", "tell")

    def __init__(self, overwrite: bool, max_disk: int | None, tell: Callable[[int, int], None]) -> None:
        self.overwrite = overwrite
        self.max_disk = max_disk
        self.tell = tell
        self.is_given_up = False
        """Whether nobody waits for it any more: then no more is read."""


def _is_ours(part: Folder) -> bool:
    """Tell whether a folder belongs to whom belongs what we make there; who that is, the file system says."""
    if part.status(NEW_NAME) is not None:
        part.remove_file(NEW_NAME)
    descriptor = part.open_file(NEW_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        status = part.status(".")
        return status is not None and status.st_uid == os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        part.remove_file(NEW_NAME)


class Opened:
    """A transfer on the disk: its folders, files and journal. All of it blocks, one thread at a time."""

    def __init__(self, folder: Folder, manifest: Manifest, identifier: bytes, wanted: Wanted) -> None:
        self.manifest = manifest
        """The offer."""
        self._folder = folder
        self._name = part_name(identifier)
        self._overwrite = wanted.overwrite
        self._wanted = wanted
        self._read = 0
        self._lock = threading.Lock()  # a thread whose caller was cancelled goes on
        self._part: Folder | None = None
        self._content: Folder | None = None
        self._files: PartFiles | None = None
        self.is_new = False
        self.old = OldFiles(folder, manifest, self._name, [], overwrite=wanted.overwrite)
        self._failure: TransferError | None = None
        self.placed = find_in_place(folder, manifest, overwrite=wanted.overwrite, on_read=self._count)
        """Numbers of the files that are in their place."""
        self.copies = FileTable.of(manifest.files).copies(self.placed)
        """Files whose content another one has: their numbers, and that of the other one."""
        try:
            with as_transfer_error("the folder of the transfer cannot be opened"):
                self._open(identifier)
                missing = [n for n, whole in enumerate(self.files.whole) if not whole]
                missing = [n for n in missing if n not in self.placed and n not in self.copies]
                self.old = OldFiles(folder, manifest, self._name, missing, overwrite=wanted.overwrite)
        except BaseException:
            self.close(keep=not self.is_new)
            raise

    def _open(self, identifier: bytes) -> None:
        try:
            self._part = self._folder.enter(self._name)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # who opens it at the same time has made it since
                self._folder.make(self._name, 0o700)
                self.is_new = True
            self._part = self._folder.enter(self._name)
        if not self._part.lock():
            raise TransferError("busy", "another transfer of the same content into this folder is under way")
        if not self.is_new and not _is_ours(self._part):  # what its journal says would be believed
            raise TransferError("permission", f"{self._name}, where the transfer would go on, is another user's")
        if self._part.status(CONTENT) is None:
            self._part.make(CONTENT)
        self._content = self._part.enter(CONTENT)
        self._journal = Journal(self._part, identifier)
        self._files = PartFiles(self._content, self.manifest, self._journal)
        if not self.is_new:
            most = 4 * sum(leaf_count(file.size) for file in self.manifest.files) + len(self.manifest.files)
            self._files.restore(self._journal.read(most), self._count)

    def _count(self, size: int) -> None:
        """Tell that more of what is there already was read."""
        if self._wanted.is_given_up:
            raise TransferError("cancelled", "nobody waits for the transfer any more")
        self._read += size
        self._wanted.tell(min(self._read, self.manifest.size), self.manifest.size)

    @property
    def files(self) -> PartFiles:
        """What is written to."""
        if self._files is None:
            raise TransferError("cancelled", "the transfer is closed")
        return self._files

    def begin(self) -> None:
        """Begin the journal, once it is clear that there is room."""
        with as_transfer_error("the folder of the transfer cannot be written"):
            self.files.sync()
            self._journal.begin(Record(*found, crc=None) for found in self.files.ranges())

    def free(self) -> int:
        """Return how many bytes may still be written there."""
        with as_transfer_error("the room on the disk cannot be told"):
            return self._folder.free()

    def write(self, batch: Sequence[Check]) -> list[TransferError | None]:
        """Check chunks, and write those that are right; return what the checks have raised."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                return [self._write(check, self.files) for check in batch]
            except TransferError as error:
                self._failure = error  # a disk that is full takes the next chunk no better
                raise

    def _write(self, check: Check, files: PartFiles) -> TransferError | None:
        try:
            chunks = check()
        except TransferError as error:
            return error
        wanted = [chunk._replace(file=self.copies.get(chunk.file, chunk.file)) for chunk in chunks]
        files.write([chunk for chunk in wanted if chunk.file not in self.placed])
        return None

    def reuse(self, layout: Layout, wanted: Range, index: LeafIndex) -> list[Range]:
        """Read what is older in the place of some leaves, and write what of it is looked for; see Destination.reuse."""
        (part,) = layout.parts(wanted)
        found: list[Range] = []
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                for data in self.old.read(part.file, part.offset, part.size):
                    self._count(len(data))
                    chunks = found_chunks(layout, data, index)
                    self.files.write(chunks)
                    found += [
                        (layout.start(file) + first, len(hashes) // HASH_SIZE) for file, first, _, hashes in chunks
                    ]
            except TransferError as error:
                self._failure = error
                raise
        return found

    def finish(self) -> None:
        """Bring all of it to the disk, and give it its name."""
        with self._lock:
            files = self.files
            if self._content is None:
                raise TransferError("cancelled", "the transfer is closed")
            place(
                self._folder,
                self._content,
                files,
                self.manifest,
                copies=self.copies,
                placed=self.placed,
                overwrite=self._overwrite,
            )
            self._close(keep=False)

    def close(self, *, keep: bool) -> None:
        """Close everything; keep what has come, or remove it. Idempotent."""
        with self._lock:
            self._close(keep=keep)

    def _close(self, *, keep: bool) -> None:
        self.old.close()
        if self._files is not None:
            self._files.close()
            self._journal.close()
            self._files = None
        is_ours = self._part is not None
        for folder in (self._content, self._part):
            if folder is not None:
                folder.close()
        self._content = self._part = None
        try:
            if is_ours and not keep:
                with as_transfer_error("the folder of the transfer cannot be removed"):
                    remove_tree(self._folder, self._name)
        finally:
            self._folder.close()
