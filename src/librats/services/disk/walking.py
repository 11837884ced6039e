"""What is offered, read from the disk: a file or a folder, hashed on several threads."""

from __future__ import annotations

import os
import stat
import threading
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from librats.errors import TransferError
from librats.services.disk.errors import disk_error
from librats.services.disk.folder_cache import FolderCache
from librats.services.disk.folders import Folder, open_folder
from librats.services.disk.hashing import hash_descriptor
from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.manifest import MAX_TIME, ManifestLimits
from librats.transfer.names import MAX_DEPTH, is_unfinished
from librats.transfer.tree import HASH_SIZE, LEAF_SIZE, HashTree

__all__ = ["Found", "Hashing", "find_files", "modified"]

NOBODY_EXECUTES = 0o111
NOT_HASHED = bytes(HASH_SIZE)
ANY_TIME = (1 << 64) - 1
Parts = tuple[str, ...]


@dataclass(slots=True)
class Found:
    """What a path stands for."""

    folder: Folder
    """The folder that is offered, or that the file is in; open."""

    is_folder: bool
    files: FileTable = field(default_factory=FileTable)
    """In the order that a manifest has, below the folder; their roots once they are hashed."""

    changed: array[int] = field(default_factory=lambda: array("Q"))
    """When anything of each file was changed last, its times among them, as the system keeps it."""

    trees: dict[int, HashTree] = field(default_factory=dict)
    """The trees of files of more than one leaf, by their numbers, once they are hashed."""

    empty_folders: list[Parts] = field(default_factory=list)

    def is_unchanged(self, number: int, status: os.stat_result) -> bool:
        """Tell whether a file has the time of its last change of any kind that it had when it was hashed."""
        return self.changed[number] == status.st_ctime_ns & ANY_TIME


def modified(status: os.stat_result) -> int:
    """Return when a file was changed last, in nanoseconds since 1970, as an offer has it: from 1970 to 2262."""
    return min(max(status.st_mtime_ns, 0), MAX_TIME)


def find_files(path: Path, limits: ManifestLimits) -> Found:
    """Look up what is below a path. It blocks.

    Hidden folders of transfers that are not done are left out. Links are followed in the path, and nowhere below it.

    Args:
        path: A file or a folder.
        limits: How much is taken.

    Raises:
        TransferError: There is nothing (``"not_found"``), or something is a link, a socket or the like
            (``"not_regular"``), may not be read (``"permission"``), or is beyond a limit (``"limit"``).
    """
    try:
        path = path.resolve(strict=True)
        is_folder = path.is_dir()
        folder = open_folder(path if is_folder else path.parent)
    except (FileNotFoundError, NotADirectoryError):
        raise TransferError("not_found", f"{path} does not exist") from None
    except OSError as error:
        raise disk_error(error, f"{path} cannot be read") from error
    except RuntimeError:
        raise TransferError("link", f"{path} cannot be read: its links lead in a ring") from None
    found = Found(folder, is_folder)
    walk = _Walk(found, path if is_folder else path.parent, limits)
    try:
        if is_folder:
            walk.enter(folder, ())
        else:
            walk.note(folder, (path.name,))
    except BaseException:
        folder.close()
        raise
    return found


class _Walk:
    def __init__(self, found: Found, root: Path, limits: ManifestLimits) -> None:
        self._found = found
        self._root = root
        self._limits = limits
        self._folders = 0
        self._size = 0

    def _where(self, path: Parts) -> Path:
        """Return where something is, for people. Each name that a path is made of is kept for as long as we run."""
        return self._root.joinpath(*path)

    def enter(self, folder: Folder, path: Parts) -> None:
        """Look at all that is in a folder."""
        if len(path) >= MAX_DEPTH:
            raise TransferError("limit", f"{self._where(path)} is more than {MAX_DEPTH} folders deep")
        self._folders += 1
        if self._folders > self._limits.folders:
            raise TransferError("limit", f"an offer of more than {self._limits.folders} folders")
        try:
            names = folder.names()
        except OSError as error:
            raise disk_error(error, f"{self._where(path)} cannot be read") from error
        names = [name for name in names if not is_unfinished(name)]
        names.sort(key=os.fsencode)  # which makes the order of a manifest, as folders are entered one by one
        if path and not names:
            self._found.empty_folders.append(path)
        for name in names:
            self.note(folder, (*path, name))

    def note(self, folder: Folder, path: Parts) -> None:
        """Take down a file, or enter a folder."""
        try:
            status = folder.status(path[-1])
        except OSError as error:
            raise disk_error(error, f"{self._where(path)} cannot be read") from error
        if status is None:
            raise TransferError("changed", f"{self._where(path)} was removed meanwhile")
        if stat.S_ISDIR(status.st_mode):
            try:
                below = folder.enter(path[-1])
            except OSError as error:
                raise disk_error(error, f"{self._where(path)} cannot be read") from error
            try:
                self.enter(below, path)
            finally:
                below.close()
            return
        if not stat.S_ISREG(status.st_mode):
            raise TransferError("not_regular", f"{self._where(path)} is neither a file nor a folder")
        self._size += status.st_size
        if len(self._found.files) >= self._limits.files:
            raise TransferError("limit", f"an offer of more than {self._limits.files} files")
        if self._size > self._limits.size:
            raise TransferError("limit", f"an offer of more than {self._limits.size} bytes")
        executable = os.name == "posix" and bool(status.st_mode & NOBODY_EXECUTES)
        self._found.files.append(
            OfferedFile(
                path=path,
                size=status.st_size,
                root=NOT_HASHED,
                modified=modified(status),
                executable=executable,
            )
        )
        self._found.changed.append(status.st_ctime_ns & ANY_TIME)


class Hashing:
    """Makes the trees of found files, on as many threads as call :meth:`run`.

    Args:
        found: The files.
        root: Where they are, for people.
        progress: Called with bytes done and bytes in all, on one of these threads.
    """

    def __init__(self, found: Found, root: Path, progress: Callable[[int, int], None]) -> None:
        self._found = found
        self._root = root
        self._progress = progress
        self._lock = threading.Lock()
        self._next = 0
        self._done = 0
        self._total = found.files.total
        self._stopped = False

    def stop(self) -> None:
        """Have :meth:`run` return soon, with nothing of use."""
        self._stopped = True

    def run(self) -> None:
        """Hash files until there are none left. It blocks.

        Raises:
            TransferError: One cannot be read (``"permission"``), or changes meanwhile (``"changed"``).
        """
        folders = FolderCache(self._found.folder)
        try:
            while (number := self._take()) is not None:
                self._hash(folders, number)
        except BaseException:
            self.stop()
            raise
        finally:
            folders.close()

    def _take(self) -> int | None:
        with self._lock:
            number = self._next
            self._next += 1
        return number if number < len(self._found.files) and not self._stopped else None

    def _hash(self, folders: FolderCache, number: int) -> None:
        file = self._found.files[number]
        try:
            descriptor = folders.at(file.path[:-1]).open_file(file.path[-1], os.O_RDONLY)
            try:
                tree = hash_descriptor(descriptor, file.size, self._count)
                status = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise TransferError("changed", f"{self._where(file)} was removed meanwhile") from None
        except OSError as error:
            raise disk_error(error, f"{self._where(file)} cannot be read") from error
        is_same = (status.st_size, modified(status)) == (file.size, file.modified)
        if not stat.S_ISREG(status.st_mode) or tree.length != file.size or not is_same:
            raise TransferError("changed", f"{self._where(file)} was changed while it was read")
        self._found.changed[number] = status.st_ctime_ns & ANY_TIME
        self._found.files.set_root(number, tree.root)
        if file.size > LEAF_SIZE:
            self._found.trees[number] = tree

    def _where(self, file: OfferedFile) -> Path:
        return self._root.joinpath(*file.path)

    def _count(self, read: int) -> None:
        if self._stopped:
            raise TransferError("cancelled", "reading was stopped")
        with self._lock:
            self._done += read
            done = self._done
        self._progress(done, self._total)
