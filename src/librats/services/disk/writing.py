"""What is received, on its way to the disk: a hidden folder until all of it is there, then its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from librats.errors import TransferError, UsageError
from librats.runtime.offload import run_in_thread
from librats.services.batches import Batches
from librats.services.disk.errors import LocalError, local_error
from librats.services.disk.folders import open_folder
from librats.services.disk.opened import Check, Opened, Wanted
from librats.services.disk.part import Chunk
from librats.services.disk.telling import teller
from librats.transfer.file_table import FileTable
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.layout import Layout, Range
from librats.transfer.manifest import Manifest, ManifestLimits, content_id, read_manifest
from librats.transfer.reusing import LeafIndex
from librats.transfer.tree import LEAF_SIZE, Buffer, leaf_hashes

__all__ = ["Destination"]

MAX_BATCH = 1 << 20
MAX_WAITING = 1 << 20
"""Bytes that wait for the disk before a writer waits too: what a process that is killed has to have sent again."""

DEFAULT_LIMITS = ManifestLimits()
THE_FOLDER = "the folder that it is put into"


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

    def __init__(self, path: Path, opened: Opened, verifiers: FileVerifiers) -> None:
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
        wanted = Wanted(overwrite, max_disk, teller(on_checked))
        opening = asyncio.ensure_future(run_in_thread(_open, folder, manifest, content_id, wanted))
        try:
            path, opened, verifiers = await asyncio.shield(opening)
        except asyncio.CancelledError:
            wanted.is_given_up = True
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
        wanted = Wanted(overwrite, max_disk, teller(None))
        opening = asyncio.ensure_future(run_in_thread(_begin, folder, manifest, identifier, wanted))
        try:
            return cls(*await asyncio.shield(opening))
        except asyncio.CancelledError:
            wanted.is_given_up = True
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

    @property
    def old_files(self) -> list[int]:
        """Numbers of the files of which the folder has something older: what gives way, or the rest of other tries."""
        return self._opened.old.numbers

    async def reuse(self, layout: Layout, wanted: Range, index: LeafIndex) -> list[Range]:
        """Read what is older in the place of some leaves, and write what of it is looked for.

        What is written has been hashed, so that it is what the offer says, whatever changes the older file meanwhile.

        Args:
            layout: Of the manifest.
            wanted: In whose place; of one file.
            index: What is looked for. It is changed, and must not be used before this returns.

        Returns:
            The leaves that were written, each range of one file.

        Raises:
            TransferError: As for :meth:`write`.
        """
        self._raise_failure()
        return await run_in_thread(self._opened.reuse, layout, wanted, index)

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


_Outcome = tuple[Path, Opened, FileVerifiers]


def _checked(raw: bytes, expected: bytes, limits: ManifestLimits) -> Manifest:
    manifest = read_manifest(raw, limits=limits)
    if content_id(manifest) != expected:
        raise TransferError("bad_offer", "a manifest is not what was asked for")
    return manifest


def _opened(path: Path, manifest: Manifest, identifier: bytes, wanted: Wanted) -> Opened:
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = open_folder(path)
    except (FileExistsError, NotADirectoryError):
        raise LocalError("not_a_folder", path, THE_FOLDER, "is no folder") from None
    except OSError as error:
        raise local_error(error, path, THE_FOLDER, "cannot be opened") from error
    try:
        return Opened(folder, manifest, identifier, wanted)
    except BaseException:
        folder.close()
        raise


def _begin(given: str | Path, manifest: Manifest, identifier: bytes, wanted: Wanted) -> _Outcome:
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


def _open(given: str | Path, manifest: Manifest, identifier: bytes, wanted: Wanted) -> _Outcome:
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


def _verifiers(opened: Opened) -> FileVerifiers:
    whole, begun = opened.files.whole, opened.files.begun()
    for number in opened.placed:
        whole[number] = 1
        begun.pop(number, None)
    return FileVerifiers(FileTable.of(opened.manifest.files), copies=opened.copies, whole=whole, begun=begun)


def _check_room(opened: Opened, verifiers: FileVerifiers, max_disk: int | None) -> None:
    files = FileTable.of(opened.manifest.files)
    to_write = [number for number in range(len(files)) if number not in opened.placed]
    whole = sum(map(files.size, to_write))
    there = sum(
        min(verifiers.leaves(number) * LEAF_SIZE, files.size(number))
        for number in to_write
        if number not in opened.copies
    )
    _check_free(opened, whole, whole - there, max_disk)


def _check_free(opened: Opened, whole: int, missing: int, max_disk: int | None) -> None:
    if max_disk is not None and whole > max_disk:
        raise TransferError("limit", f"it takes {whole} bytes on the disk, and {max_disk} are allowed")
    free = opened.free()
    if missing > free:
        raise TransferError("no_space", f"it takes {missing} bytes more, and the disk has {free}")


def _close_late(opening: asyncio.Future[_Outcome]) -> None:
    """Close what nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[1].close(keep=True)
