"""Folders as descriptors, where the system opens files relative to them."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from librats.services.disk.folders import Folder

__all__ = ["HandleFolder"]

_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_HARD_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}


class HandleFolder:
    """An open folder; see :class:`~librats.services.disk.folders.Folder`."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> HandleFolder:
        """Open a folder; links in its path are followed."""
        return cls(os.open(path, _FOLDER))

    def enter(self, name: str) -> HandleFolder:
        """Open a folder in it."""
        return HandleFolder(os.open(name, _FOLDER | _SAFELY, dir_fd=self._descriptor))

    def make(self, name: str, mode: int = 0o777) -> None:
        """Make a folder in it."""
        os.mkdir(name, mode, dir_fd=self._descriptor)

    def open_file(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file in it."""
        return os.open(name, flags | _SAFELY, mode, dir_fd=self._descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """Return what something in it is."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Return what is in it."""
        return os.listdir(self._descriptor)  # noqa: PTH208 - no path

    def move(self, name: str, to: Folder, new_name: str, *, replace: bool) -> None:
        """Give something in it another place."""
        if not isinstance(to, HandleFolder):
            raise TypeError("folders of two kinds")
        here, there = self._descriptor, to._descriptor
        if not replace:
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode) and self._linked(name, there, new_name):
                os.unlink(name, dir_fd=here)
                return
            # A folder takes no other's name but that of an empty one, whoever is faster. For a file without hard
            # links, nothing better is to be had.
            if to.status(new_name) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(name, new_name, src_dir_fd=here, dst_dir_fd=there)

    def _linked(self, name: str, there: int, new_name: str) -> bool:
        """Give a file a second name, which fails where there is one; False where the file system has no such thing."""
        try:
            os.link(name, new_name, src_dir_fd=self._descriptor, dst_dir_fd=there, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return False
        return True

    def remove_file(self, name: str) -> None:
        """Remove a file."""
        os.unlink(name, dir_fd=self._descriptor)

    def remove_folder(self, name: str) -> None:
        """Remove a folder that nothing is in."""
        os.rmdir(name, dir_fd=self._descriptor)

    def set_time(self, descriptor: int, name: str, modified: int) -> None:
        """Set when a file in it was changed last."""
        os.utime(descriptor, ns=(modified, modified))

    def lock(self) -> bool:
        """Keep others from locking it until it is closed."""
        if sys.platform != "win32":
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # a file system without locks
                return True
        return True

    def free(self) -> int:
        """Return how many bytes this user may still write there."""
        if sys.platform == "win32":
            raise NotImplementedError
        found = os.fstatvfs(self._descriptor)
        return found.f_bavail * found.f_frsize

    def sync(self) -> None:
        """Bring its names to the disk."""
        os.fsync(self._descriptor)

    def sync_all(self) -> bool:
        """Bring all of its file system to the disk."""
        if sys.platform != "linux":
            return False  # elsewhere sync(2) returns before it is done
        import ctypes  # noqa: PLC0415 - needed once, at the end of a transfer of many files

        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            return False
        if syncfs(self._descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return True

    def close(self) -> None:
        """Close it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
