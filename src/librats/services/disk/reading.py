"""What is sent, from the disk: hashed once, read in pieces, and given up where it has changed since."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from librats._core.page_cache import read_cached
from librats.errors import TransferError, UsageError
from librats.runtime.offload import run_in_thread
from librats.services.batches import Batches
from librats.services.disk.errors import LocalError, local_error
from librats.services.disk.folder_cache import FolderCache
from librats.services.disk.read_at import read_at
from librats.services.disk.telling import teller
from librats.services.disk.walking import Found, Hashing, find_files, modified
from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.manifest import Manifest, ManifestLimits, content_id, write_manifest
from librats.transfer.names import MAX_DEPTH, NameSet, Parts, check_parts
from librats.transfer.tree import LEAF_SIZE, HashTree, proven_root

__all__ = ["Source"]

MAX_BATCH = 4 << 20
TOGETHER = 64 << 10
"""Bytes up to which small pieces are put together."""

MAX_OPEN = 32
MAX_THREADS = 4
A_FILE = "a file of it"
DEFAULT_LIMITS = ManifestLimits()

Piece = tuple[int, int, int]
"""Number of a file, offset and size in bytes."""


class Source:
    """A file or folder that is offered. Made by :meth:`open`.

    Example:
        >>> import asyncio, tempfile
        >>> from pathlib import Path
        >>> from librats.services.disk.reading import Source
        >>> async def main(folder):
        ...     Path(folder, "hello.txt").write_text("hello")
        ...     source = await Source.open(Path(folder, "hello.txt"))
        ...     print(source.manifest.name, source.manifest.size, await source.read(0, 1, 4))
        ...     await source.close()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     asyncio.run(main(folder))
        hello.txt 5 b'ello'
    """

    def __init__(self, path: Path, found: Found, manifest: Manifest, raw: bytes) -> None:
        self._reader = _Reader(path if found.is_folder else path.parent, found)
        self._batches: Batches[Sequence[Piece], list[bytes] | TransferError] = Batches(
            self._reader.read, max_bytes=MAX_BATCH, name="librats reads files"
        )
        self._size_of = found.files.size
        self.manifest = manifest
        """The offer."""
        self.raw = raw
        """The same as it is sent."""
        self.content_id = content_id(manifest)
        """Its id, 32 bytes."""
        self.trees: Mapping[int, HashTree] = found.trees
        """The trees of the files of more than one leaf, by their numbers in the manifest."""

    @property
    def change(self) -> TransferError | None:
        """Why it cannot be given any more as it was hashed; None while no reading has shown that."""
        return self._reader.change

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        name: str | None = None,
        limits: ManifestLimits = DEFAULT_LIMITS,
        on_hashed: Callable[[int, int], object] | None = None,
    ) -> Source:
        """Look at a file or folder, and hash all of it on threads.

        Args:
            path: What is offered. A link is followed here, and nowhere below.
            name: What it is called at the other side; the last part of the path where it is None.
            limits: How much may be offered.
            on_hashed: Called now and then with the bytes that are hashed and the bytes in all.

        Raises:
            TransferError: There is nothing (``"not_found"``), something may not be read (``"permission"``), is neither
                a file nor a folder, as links are not (``"not_regular"``), has a name that not every system has
                (``"bad_name"``), changes meanwhile (``"changed"``), or is beyond a limit (``"limit"``).
        """
        root = await run_in_thread(_absolute, path)
        found = await run_in_thread(find_files, root, limits)
        try:
            await _hash(root, found, on_hashed)
            resolved = name if name is not None else await run_in_thread(_name_of, root)
            manifest, raw = await run_in_thread(_described, found, root, resolved, limits)
            return cls(root, found, manifest, raw)
        except BaseException:
            found.folder.close()
            raise

    async def read(self, file: int, offset: int, size: int) -> bytes:
        """Read a piece of a file.

        Args:
            file: Its number in the manifest.
            offset: Bytes before the piece.
            size: Bytes of the piece.

        Raises:
            TransferError: The file is not what was hashed any more (``"changed"``), or cannot be read.
            UsageError: The file has no such piece.
        """
        return (await self.read_many([(file, offset, size)]))[0]

    async def read_many(self, pieces: Sequence[Piece]) -> list[bytes]:
        """Read pieces, all of them on one thread; what else is asked for meanwhile is read together.

        Pieces of one file that is open are read at once where they are in memory.

        Args:
            pieces: Of each the number of the file, the bytes before, and its size in bytes; see :meth:`read`.

        Returns:
            What they hold, one behind the other; small ones are put together, up to 64 KiB.

        Raises:
            TransferError: One of the files is not what was hashed any more (``"changed"``), or cannot be read.
            UsageError: A file has no such piece.
        """
        data = self.read_now(pieces)
        if data is not None:
            return data
        outcome = await self._batches.add(pieces, sum(size for _, _, size in pieces))
        if isinstance(outcome, TransferError):
            raise outcome
        return outcome

    def read_now(self, pieces: Sequence[Piece]) -> list[bytes] | None:
        """Read pieces of one file that is open, where they are in memory; None where that is not so.

        It waits for nothing. What :meth:`read_many` raises where a file is not what was hashed, it leaves to that.

        Args:
            pieces: As for :meth:`read_many`.

        Raises:
            UsageError: A file has no such piece.
        """
        for file, offset, size in pieces:
            whole = self._size_of(file)
            if not 0 <= offset <= offset + size <= whole:
                raise UsageError(f"a file of {whole} bytes has no {size} bytes from {offset} on")
        if getattr(asyncio.get_running_loop(), "librats_inline_calls", False):
            return None  # nothing is shared with threads there, and all of it is to go one way
        return self._reader.read_now(pieces)

    async def close(self) -> None:
        """Close every file, also where the caller is cancelled meanwhile. Idempotent."""
        try:
            await self._batches.drain()
        finally:
            closing = asyncio.ensure_future(run_in_thread(self._reader.close))
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                await closing
                raise


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()


def _name_of(path: Path) -> str:
    return path.name if path.name not in ("", "..") else path.resolve().name


async def _hash(root: Path, found: Found, on_hashed: Callable[[int, int], object] | None) -> None:
    hashing = Hashing(found, root if found.is_folder else root.parent, teller(on_hashed))
    threads = max(1, min(MAX_THREADS, os.cpu_count() or 1, len(found.files)))
    runs = [asyncio.ensure_future(run_in_thread(hashing.run)) for _ in range(threads)]
    try:
        await asyncio.wait(runs)
    except asyncio.CancelledError:
        hashing.stop()
        await asyncio.wait(runs)  # they read in folders that are closed next
        raise
    finally:
        failures = [run.exception() for run in runs if run.done() and not run.cancelled()]
    # The others only heard of it.
    failures.sort(key=lambda error: isinstance(error, TransferError) and error.code == "cancelled")
    for failure in filter(None, failures):
        raise failure


def _described(found: Found, root: Path, name: str, limits: ManifestLimits) -> tuple[Manifest, bytes]:
    files = found.files if found.is_folder else FileTable(file._replace(path=(name,)) for file in found.files)
    manifest = Manifest(name=name, is_folder=found.is_folder, files=files, empty_folders=tuple(found.empty_folders))
    try:
        return manifest, write_manifest(manifest, limits=limits)
    except TransferError as error:
        if error.code != "bad_name":
            raise
        raise TransferError(error.code, f"{_ill_named(manifest, root)}: {error.reason}") from None


def _ill_named(manifest: Manifest, root: Path) -> str:
    """Return which path a manifest is refused for, as text that may be shown."""
    names = NameSet(max_folders=len(manifest.files) * MAX_DEPTH + len(manifest.empty_folders))
    try:
        check_parts((manifest.name,))
    except TransferError:
        return repr(manifest.name)
    found: list[Parts] = []
    with contextlib.suppress(TransferError):
        for path in (*(file.path for file in manifest.files), *manifest.empty_folders):
            found.append(path)
            check_parts(path)
            names.add_file(path)
    return repr(str(root.joinpath(*found[-1])))


class _Reader:
    """Reads pieces of found files. All of it blocks, one thread at a time."""

    def __init__(self, root: Path, found: Found) -> None:
        self._root = root
        self._found = found
        self._folders = FolderCache(found.folder)
        self._open: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False
        self.change: TransferError | None = None

    def read(self, batch: Sequence[Sequence[Piece]]) -> list[list[bytes] | TransferError]:
        with self._lock:
            return [self._outcome(pieces) for pieces in batch]

    def read_now(self, pieces: Sequence[Piece]) -> list[bytes] | None:
        """Read pieces of one file without waiting for a disk or a thread; None where that is not to be had.

        Whatever is wrong with the file is for :meth:`read` to tell.
        """
        if len({number for number, _, _ in pieces}) != 1 or not self._lock.acquire(blocking=False):
            return None
        try:
            number = pieces[0][0]
            descriptor = self._open.get(number)
            if descriptor is None:
                return None
            found = []
            for _, offset, size in pieces:
                data = read_cached(descriptor, size, offset)
                if data is None:
                    return None
                found.append(data)
            # What was changed before it was read has another time by now.
            status, file = os.fstat(descriptor), self._found.files[number]
            return found if _is_same(status, file) and self._found.is_unchanged(number, status) else None
        finally:
            self._lock.release()

    def _outcome(self, pieces: Sequence[Piece]) -> list[bytes] | TransferError:
        if self._closed:
            return TransferError("cancelled", "what was offered is closed")
        try:
            return list(_together(self._read_named(*piece) for piece in pieces))
        except TransferError as error:
            if error.code == "changed":
                self.change = error
            return error

    def _read_named(self, number: int, offset: int, size: int) -> bytes:
        try:
            return self._read(number, offset, size)
        except TransferError as error:
            raise LocalError(error.code, self._where(number), A_FILE, error.reason) from None
        except FileNotFoundError:
            raise LocalError("changed", self._where(number), A_FILE, "was removed since it was hashed") from None
        except OSError as error:
            raise local_error(error, self._where(number), A_FILE, "cannot be read") from error

    def _where(self, number: int) -> Path:
        return self._root.joinpath(*self._found.files[number].path)

    def _read(self, number: int, offset: int, size: int) -> bytes:
        file = self._found.files[number]
        descriptor = self._descriptor(number, file.path)
        before = os.fstat(descriptor)
        _check_same(before, file)
        data = read_at(descriptor, size, offset)
        after = os.fstat(descriptor)
        _check_same(after, file)
        is_sure = self._found.is_unchanged(number, after)
        if len(data) != size or not (is_sure or self._holds(descriptor, number, offset, size)):
            raise TransferError("changed", "was changed since it was hashed")
        return data

    def _holds(self, descriptor: int, number: int, offset: int, size: int) -> bool:
        """Tell whether a piece is still what was hashed, where something of the file was changed, if only its mode."""
        if not size:
            return True
        file, tree = self._found.files[number], self._found.trees.get(number)
        first = offset // LEAF_SIZE
        end = min(-(-(offset + size) // LEAF_SIZE) * LEAF_SIZE, file.size)
        data = read_at(descriptor, end - first * LEAF_SIZE, first * LEAF_SIZE)
        proof = b"" if tree is None else tree.proof(first, -(-end // LEAF_SIZE) - first)
        return len(data) == end - first * LEAF_SIZE and proven_root(file.size, first, data, proof) == file.root

    def _descriptor(self, number: int, path: Parts) -> int:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        descriptor = self._folders.at(path[:-1]).open_file(path[-1], os.O_RDONLY)
        self._open[number] = descriptor
        if len(self._open) > MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._open:
                os.close(self._open.popitem()[1])
            self._folders.close()
            self._found.folder.close()


def _together(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put small buffers together as they come, so that of many small files there are never many."""
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        if small and size + len(piece) > TOGETHER:
            yield b"".join(small)
            small.clear()
            size = 0
        small.append(piece)
        size += len(piece)
    if small:
        yield b"".join(small)


def _is_same(status: os.stat_result, file: OfferedFile) -> bool:
    return (status.st_size, modified(status)) == (file.size, file.modified)


def _check_same(status: os.stat_result, file: OfferedFile) -> None:
    if not stat.S_ISREG(status.st_mode) or not _is_same(status, file):
        raise TransferError("changed", "was changed since it was hashed")
