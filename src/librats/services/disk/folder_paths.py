"""Folders as paths, for Windows, which opens nothing relative to a folder.

There, a handle on a folder that does not share the right to delete keeps everybody from renaming and removing it. So
each folder on the way is opened as what it is, never as what a link points to, then looked at, and held: what is below
stays below. Elsewhere nothing is held, and this is for tests alone.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if sys.platform == "win32":
    import _winapi
    import msvcrt

if TYPE_CHECKING:
    from librats.services.disk.folders import Folder

__all__ = ["PathFolder"]

_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_SAFELY = _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LOCK = ".lock"
# With the right to list, which counts for sharing; with that to read attributes alone, nobody would be kept out.
_LIST_DIRECTORY, _SHARE_READ_WRITE, _OPEN_EXISTING = 0x1, 0x1 | 0x2, 3
_BACKUP_SEMANTICS, _OPEN_REPARSE_POINT, _REPARSE_POINT = 0x02000000, 0x00200000, 0x400


def _is_link(status: os.stat_result) -> bool:
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_file_attributes", 0) & _REPARSE_POINT)


def _pinned(path: str, *, follow: bool) -> int:
    """Hold a folder by a handle, so that nobody renames or removes it; 0 where that is not to be had."""
    if sys.platform == "win32":
        flags = _BACKUP_SEMANTICS | (0 if follow else _OPEN_REPARSE_POINT)
        return _winapi.CreateFile(path, _LIST_DIRECTORY, _SHARE_READ_WRITE, 0, _OPEN_EXISTING, flags, 0)
    return 0


class PathFolder:
    """An open folder; see :class:`~librats.services.disk.folders.Folder`."""

    __slots__ = ("_lock", "_path", "_pin")

    def __init__(self, path: str, *, follow: bool = False) -> None:
        self._path = path
        self._lock = -1
        self._pin = _pinned(path, follow=follow)
        status = os.stat(path, follow_symlinks=follow)  # noqa: PTH116
        if not stat.S_ISDIR(status.st_mode) or (not follow and _is_link(status)):
            self.close()
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    @classmethod
    def open(cls, path: Path) -> PathFolder:
        """Open a folder; links in its path are followed."""
        return cls(str(path.resolve()), follow=True)

    def _at(self, name: str) -> str:
        return os.path.join(self._path, name)  # noqa: PTH118 - as short as it can be, for it is called for every file

    def enter(self, name: str) -> PathFolder:
        """Open a folder in it."""
        return PathFolder(self._at(name))

    def make(self, name: str, mode: int = 0o777) -> None:
        """Make a folder in it."""
        os.mkdir(self._at(name), mode)  # noqa: PTH102

    def open_file(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file in it."""
        path = self._at(name)
        descriptor = os.open(path, flags | _SAFELY, mode)
        try:
            # What was opened is what is there, and no link: a file that is open cannot be swapped on Windows.
            if _is_link(os.lstat(path)):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def status(self, name: str) -> os.stat_result | None:
        """Return what something in it is."""
        try:
            status = os.lstat(self._at(name))
        except FileNotFoundError:
            return None
        if _is_link(status) and not stat.S_ISLNK(status.st_mode):  # a junction says that it is a folder
            return os.stat_result((stat.S_IFLNK | 0o777, *status[1:]))
        return status

    def names(self) -> list[str]:
        """Return what is in it."""
        return [name for name in os.listdir(self._path) if name != _LOCK]  # noqa: PTH208

    def move(self, name: str, to: Folder, new_name: str, *, replace: bool) -> None:
        """Give something in it another place."""
        if not isinstance(to, PathFolder):
            raise TypeError("folders of two kinds")
        source, target = self._at(name), to._at(new_name)
        if replace:
            os.replace(source, target)  # noqa: PTH105
            return
        if sys.platform != "win32" and to.status(new_name) is not None:  # Windows refuses by itself
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(source, target)  # noqa: PTH104

    def remove_file(self, name: str) -> None:
        """Remove a file."""
        os.unlink(self._at(name))  # noqa: PTH108

    def remove_folder(self, name: str) -> None:
        """Remove a folder that nothing is in."""
        path = self._at(name)
        if os.path.lexists(os.path.join(path, _LOCK)):  # noqa: PTH118
            os.unlink(os.path.join(path, _LOCK))  # noqa: PTH108, PTH118
        os.rmdir(path)  # noqa: PTH106

    def set_time(self, descriptor: int, name: str, modified: int) -> None:
        """Set when a file in it was changed last."""
        os.utime(self._at(name), ns=(modified, modified))

    def lock(self) -> bool:
        """Keep others from locking it until it is closed."""
        self._lock = os.open(self._at(_LOCK), os.O_RDWR | os.O_CREAT | _SAFELY, 0o600)
        if sys.platform == "win32":
            try:
                msvcrt.locking(self._lock, msvcrt.LK_NBLCK, 1)
            except OSError:
                return False
        return True

    def free(self) -> int:
        """Return how many bytes this user may still write there."""
        return shutil.disk_usage(self._path).free

    def sync(self) -> None:
        """Do nothing: Windows syncs no folder."""

    def sync_all(self) -> bool:
        """Do nothing: files are synced one by one."""
        return False

    def close(self) -> None:
        """Close it."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)
        pin, self._pin = self._pin, 0
        if sys.platform == "win32" and pin:
            _winapi.CloseHandle(pin)
