"""What is received, on its way to the disk: a hidden folder until all of it is there, then its name."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from librats.errors import TransferError, UsageError
from librats.runtime.offload import run_in_thread
from librats.services.batches import Batches
from librats.services.disk.errors import as_transfer_error, disk_error
from librats.services.disk.existing import find_in_place
from librats.services.disk.folders import Folder, open_folder, remove_tree
from librats.services.disk.journal import Journal, Record
from librats.services.disk.part import CONTENT, Chunk, PartFiles
from librats.services.disk.placing import place
from librats.services.disk.telling import teller
from librats.transfer.file_table import FileTable
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.manifest import Manifest, ManifestLimits, content_id, read_manifest
from librats.transfer.tree import LEAF_SIZE, Buffer, leaf_count, leaf_hashes

__all__ = ["Destination", "part_name"]

MAX_BATCH = 1 << 20
MAX_WAITING = 1 << 20
"""Bytes that wait for the disk before a writer waits too: what a process that is killed has to have sent again."""

DEFAULT_LIMITS = ManifestLimits()
HEX_OF_ID = 16


def part_name(content: bytes) -> str:
    """Return the name of the hidden folder that a transfer has until it is done.

    Example:
        >>> from librats.services.disk.writing import part_name
        >>> part_name(bytes(32))
        '.librats-0000000000000000.part'
    """
    return f".librats-{content.hex()[:HEX_OF_ID]}.part"


Check = Callable[[], Sequence[Chunk]]
"""Checks a chunk, and returns what is to be written; raises a TransferError where it is not what it should be."""


class _Opened:
    """A transfer on the disk: its folders, files and journal. All of it blocks, one thread at a time."""

    def __init__(self, folder: Folder, manifest: Manifest, identifier: bytes, wanted: _Wanted) -> None:
        self.manifest = manifest
        self._folder = folder
        self._name = part_name(identifier)
        self._overwrite = wanted.overwrite
        self._tell = wanted.tell
        self._read = 0
        self._lock = threading.Lock()  # a thread whose caller was cancelled goes on
        self._part: Folder | None = None
        self._content: Folder | None = None
        self._files: PartFiles | None = None
        self.is_new = False
        self._failure: TransferError | None = None
        self.placed = find_in_place(folder, manifest, overwrite=wanted.overwrite, on_read=self._count)
        self.copies = _copies(manifest, self.placed)
        try:
            with as_transfer_error("the folder of the transfer cannot be opened"):
                self._open(identifier)
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
        self._read += size
        self._tell(min(self._read, self.manifest.size), self.manifest.size)

    @property
    def files(self) -> PartFiles:
        if self._files is None:
            raise TransferError("cancelled", "the transfer is closed")
        return self._files

    def begin(self) -> None:
        """Begin the journal, once it is clear that there is room."""
        with as_transfer_error("the folder of the transfer cannot be written"):
            self.files.sync()
            self._journal.begin(Record(*found, crc=None) for found in self.files.ranges())

    def free(self) -> int:
        with as_transfer_error("the room on the disk cannot be told"):
            return self._folder.free()

    def write(self, batch: Sequence[Check]) -> list[TransferError | None]:
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

    def finish(self) -> None:
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
        with self._lock:
            self._close(keep=keep)

    def _close(self, *, keep: bool) -> None:
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


def _copies(manifest: Manifest, placed: set[int]) -> dict[int, int]:
    """Return which files need not come, for another one has the same content: their numbers, and that of the other."""
    files = FileTable.of(manifest.files)
    first = {files.root(number): number for number in sorted(placed, reverse=True)}
    return {
        number: one
        for number in range(len(files))
        if files.size(number)
        and number not in placed
        and (one := first.setdefault(files.root(number), number)) != number
        and files.size(one) == files.size(number)
    }


class Destination:
    """Where an offer is written to. Made by :meth:`open`.

    Until all is there it is in the folder ``.librats-ID.part`` beside, where ID are the first 16 digits of the content
    id, with a journal of what has come: whoever opens the same offer in the same folder goes on from there, also after
    the process was killed. Nothing is written outside of the folder: names come from a manifest that was checked, and
    every folder and file is opened below the one before, and never through a symbolic link.

    Example:
        >>> import asyncio, tempfile
        >>> from librats.services.disk.writing import Destination
        >>> from librats.transfer.manifest import Manifest, OfferedFile, content_id, write_manifest
        >>> from librats.transfer.tree import hash_file
        >>> tree = hash_file([b"hello"])
        >>> file = OfferedFile(path=("hello.txt",), size=5, root=tree.root)
        >>> offer = Manifest(name="hello.txt", is_folder=False, files=(file,))
        >>> async def main(folder):
        ...     destination = await Destination.open(folder, write_manifest(offer), content_id=content_id(offer))
        ...     destination.verifiers[0].take(0, b"hello", tree.proof(0, 1))
        ...     await destination.write(0, 0, b"hello")
        ...     path = await destination.finish()
        ...     print(path.name, path.read_bytes())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     asyncio.run(main(folder))
        hello.txt b'hello'
    """

    def __init__(self, path: Path, opened: _Opened, verifiers: FileVerifiers) -> None:
        self._path = path
        self._opened = opened
        self._batches: Batches[Check, TransferError | None] = Batches(
            opened.write, max_bytes=MAX_BATCH, name="librats writes files"
        )
        self._failure: TransferError | None = None
        self.manifest = opened.manifest
        """The offer."""
        self.verifiers = verifiers
        """What is there of each file, in the order of the manifest; files with the same content share one."""

    @classmethod
    async def open(
        cls,
        folder: str | Path,
        raw_manifest: bytes,
        *,
        content_id: bytes,
        max_disk: int | None = None,
        overwrite: bool = False,
        limits: ManifestLimits = DEFAULT_LIMITS,
        on_checked: Callable[[int, int], object] | None = None,
    ) -> Destination:
        """Begin to receive an offer, or go on with it. Files that are in their place already are found.

        Args:
            folder: Where it is put; made where it is missing. A link to a folder is followed here, and nowhere below.
            raw_manifest: The manifest as it was sent.
            content_id: Its id, 32 bytes.
            max_disk: Bytes that it may take on the disk at most; None for what is free.
            overwrite: Whether files of the same names with other content are replaced, at the end.
            limits: What is taken.
            on_checked: Called now and then with how many bytes of what is there already were read, and how many the
                whole offer has; never where nothing has to be read.

        Raises:
            TransferError: The manifest is none (``"bad_offer"``, ``"bad_name"``, ``"limit"``), it takes more than
                ``max_disk`` (``"limit"``) or more than is free (``"no_space"``), something that may not be replaced has
                its name (``"exists"``), the folder is none (``"not_a_folder"``) or may not be written
                (``"permission"``), another transfer of it into the folder is under way (``"busy"``), or the disk fails.
        """
        manifest = await run_in_thread(_checked, raw_manifest, content_id, limits)
        wanted = _Wanted(overwrite, max_disk, teller(on_checked))
        opening = asyncio.ensure_future(run_in_thread(_open, folder, manifest, content_id, wanted))
        try:
            path, opened, verifiers = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise
        return cls(path, opened, verifiers)

    @classmethod
    async def begin(
        cls,
        folder: str | Path,
        manifest: Manifest,
        *,
        identifier: bytes,
        max_disk: int | None = None,
        overwrite: bool = False,
    ) -> Destination:
        """Begin to receive files whose hashes are not known; what is left of an earlier try is removed.

        There are no verifiers: the caller checks what it writes, and that all is there before it calls :meth:`finish`.

        Args:
            folder: Where it is put; made where it is missing.
            manifest: Names and sizes, checked already; roots that no file has, and no two are equal.
            identifier: What it is known by, 32 bytes.
            max_disk: Bytes that it may take on the disk at most; None for what is free.
            overwrite: Whether files of the same names are replaced, at the end.

        Raises:
            TransferError: As for :meth:`open`.
        """
        wanted = _Wanted(overwrite, max_disk, teller(None))
        opening = asyncio.ensure_future(run_in_thread(_begin, folder, manifest, identifier, wanted))
        try:
            return cls(*await asyncio.shield(opening))
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise

    async def write(self, file: int, first_leaf: int, data: Buffer) -> None:
        """Write a chunk that a verifier has taken. Returns before it is on the disk, and waits where much waits for it.

        Args:
            file: Number of its file in the manifest.
            first_leaf: Number of its first leaf.
            data: The chunk. The buffer must not change any more.

        Raises:
            TransferError: This chunk or an earlier one could not be written: ``"no_space"``, ``"permission"``,
                ``"gone"`` (the folder was removed), ``"link"``, ``"bad_name"`` or ``"disk"``.
        """
        self._raise_failure()
        view = memoryview(data).cast("B")
        self._batches.add(partial(_as_it_is, file, first_leaf, view), len(view)).add_done_callback(self._written)
        while self._batches.bytes > MAX_WAITING:
            await self._batches.room()
            self._raise_failure()

    async def take(self, check: Check, size: int) -> TransferError | None:
        """Have a chunk checked on the thread that writes, and written at once where it is right.

        What is added while another chunk is being written waits for its turn.

        Args:
            check: Called on that thread; returns what is to be written, or raises a TransferError.
            size: Bytes of the chunk.

        Returns:
            What the check has raised; None where all of it is written.

        Raises:
            TransferError: As for :meth:`write`.
        """
        self._raise_failure()
        writing = self._batches.add(check, size)
        try:
            return await writing
        except Exception:
            self._written(writing)
            self._raise_failure()
            raise

    def _written(self, future: asyncio.Future[TransferError | None]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, TransferError):
            self._failure = self._failure or error
        elif error is not None:
            self._failure = self._failure or TransferError("disk", f"a file cannot be written: {error!r}")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise TransferError(self._failure.code, self._failure.reason)

    async def finish(self) -> Path:
        """Bring everything to the disk, and give it its name.

        Where nothing has that name, all of it appears at once. Where the folder is there, files are added to it, each
        whole; what else is in it stays.

        Returns:
            The path of the file or folder.

        Raises:
            TransferError: As for :meth:`write`, or something has the name meanwhile (``"exists"``). It can be tried
                again after :meth:`suspend` and :meth:`open`.
            UsageError: Not all of it is there.
        """
        await self._batches.drain()
        self._raise_failure()
        if not self.verifiers.is_complete:
            raise UsageError("a transfer is finished before all of it is there")
        await run_in_thread(self._opened.finish)
        return self._path / self.manifest.name

    async def suspend(self) -> None:
        """Close everything; what has come is kept, and :meth:`open` goes on from there. Idempotent."""
        await self._batches.drain()
        await run_in_thread(self._close, True)

    async def discard(self) -> None:
        """Close everything, and remove what has come. Idempotent.

        Raises:
            TransferError: It cannot be removed.
        """
        await self._batches.drain()
        await run_in_thread(self._close, False)

    def _close(self, keep: bool) -> None:
        self._opened.close(keep=keep)


def _as_it_is(file: int, first: int, data: memoryview) -> list[Chunk]:
    return [Chunk(file, first, [data], leaf_hashes([data]))]


class _Wanted:
    __slots__ = ("max_disk", "overwrite", "tell")

    def __init__(self, overwrite: bool, max_disk: int | None, tell: Callable[[int, int], None]) -> None:
        self.overwrite = overwrite
        self.max_disk = max_disk
        self.tell = tell


_Outcome = tuple[Path, _Opened, FileVerifiers]


def _checked(raw: bytes, expected: bytes, limits: ManifestLimits) -> Manifest:
    manifest = read_manifest(raw, limits=limits)
    if content_id(manifest) != expected:
        raise TransferError("bad_offer", "a manifest is not what was asked for")
    return manifest


def _opened(path: Path, manifest: Manifest, identifier: bytes, wanted: _Wanted) -> _Opened:
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = open_folder(path)
    except (FileExistsError, NotADirectoryError):
        raise TransferError("not_a_folder", f"{path} is no folder") from None
    except OSError as error:
        raise disk_error(error, f"{path} cannot be opened") from error
    try:
        return _Opened(folder, manifest, identifier, wanted)
    except BaseException:
        folder.close()
        raise


def _begin(given: str | Path, manifest: Manifest, identifier: bytes, wanted: _Wanted) -> _Outcome:
    path = Path(given).absolute()
    opened = _opened(path, manifest, identifier, wanted)
    if not opened.is_new:
        opened.close(keep=False)
        opened = _opened(path, manifest, identifier, wanted)
    try:
        _check_free(opened, manifest.size, manifest.size, wanted.max_disk)
        opened.begin()
    except BaseException:
        opened.close(keep=False)
        raise
    return path, opened, FileVerifiers(FileTable(), copies={}, whole=bytearray())


def _open(given: str | Path, manifest: Manifest, identifier: bytes, wanted: _Wanted) -> _Outcome:
    path = Path(given).absolute()
    opened = _opened(path, manifest, identifier, wanted)
    try:
        verifiers = _verifiers(opened)
        _check_room(opened, verifiers, wanted.max_disk)
        opened.begin()
    except BaseException:
        opened.close(keep=not opened.files.is_empty)
        raise
    return path, opened, verifiers


def _verifiers(opened: _Opened) -> FileVerifiers:
    whole, begun = opened.files.whole, opened.files.begun()
    for number in opened.placed:
        whole[number] = 1
        begun.pop(number, None)
    return FileVerifiers(FileTable.of(opened.manifest.files), copies=opened.copies, whole=whole, begun=begun)


def _check_room(opened: _Opened, verifiers: FileVerifiers, max_disk: int | None) -> None:
    files = FileTable.of(opened.manifest.files)
    to_write = [number for number in range(len(files)) if number not in opened.placed]
    whole = sum(map(files.size, to_write))
    there = sum(
        min(verifiers.leaves(number) * LEAF_SIZE, files.size(number))
        for number in to_write
        if number not in opened.copies
    )
    _check_free(opened, whole, whole - there, max_disk)


def _check_free(opened: _Opened, whole: int, missing: int, max_disk: int | None) -> None:
    if max_disk is not None and whole > max_disk:
        raise TransferError("limit", f"it takes {whole} bytes on the disk, and {max_disk} are allowed")
    free = opened.free()
    if missing > free:
        raise TransferError("no_space", f"it takes {missing} bytes more, and the disk has {free}")


def _close_late(opening: asyncio.Future[_Outcome]) -> None:
    """Close what nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[1].close(keep=True)
