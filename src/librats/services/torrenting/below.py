"""Files opened below a folder, and nowhere else: no link on the way is followed."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from librats.transfer.names import Parts, check_parts

__all__ = ["open_below", "read_at", "write_at"]

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
DIRECTORY = getattr(os, "O_DIRECTORY", 0)
BINARY = getattr(os, "O_BINARY", 0)
CLOEXEC = getattr(os, "O_CLOEXEC", 0)
OPENING = NOFOLLOW | BINARY | CLOEXEC | getattr(os, "O_NONBLOCK", 0)  # a pipe in its place is not waited for
BY_HANDLE = os.open in os.supports_dir_fd and os.mkdir in os.supports_dir_fd and bool(NOFOLLOW)


def open_below(folder: Path, parts: Parts, *, writing: bool) -> int:
    """Open a file below a folder, and return its descriptor.

    Args:
        folder: The folder.
        parts: The names on the way, and that of the file.
        writing: Whether to write: then it is made where it is not there, and the folders on the way.

    Raises:
        OSError: It cannot be opened, is no file, or is a link, as is a folder on the way.
    """
    check_parts(parts)  # who made the torrent may have chosen it: here is the last place to look
    flags = (os.O_RDWR | os.O_CREAT if writing else os.O_RDONLY) | OPENING
    opened = _open_by_handle if BY_HANDLE else _open_by_path
    descriptor = opened(folder, parts, flags, writing=writing)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no file")
    return descriptor


def _open_by_handle(folder: Path, parts: Parts, flags: int, *, writing: bool) -> int:
    above = os.open(folder, os.O_RDONLY | DIRECTORY | CLOEXEC)
    try:
        for part in parts[:-1]:
            if writing:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=above)
            below = os.open(part, os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC, dir_fd=above)
            os.close(above)
            above = below
        return os.open(parts[-1], flags, 0o666, dir_fd=above)
    finally:
        os.close(above)


def _open_by_path(folder: Path, parts: Parts, flags: int, *, writing: bool) -> int:
    """Open where folders have no handles: nothing on the way may be a link."""
    at = folder
    for part in parts[:-1]:
        at /= part
        if writing:
            at.mkdir(exist_ok=True)
        if at.is_symlink() or _is_junction(at):
            raise OSError("a folder on the way is a link")
    if (at / parts[-1]).is_symlink():
        raise OSError("it is a link")
    return os.open(at / parts[-1], flags, 0o666)


def _is_junction(path: Path) -> bool:
    is_junction: Callable[[], bool] | None = getattr(path, "is_junction", None)
    return is_junction() if is_junction is not None else False


_SEEKING = threading.Lock()


def read_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Fill a buffer from a place in a file.

    Raises:
        OSError: It cannot be read, or is too short.
    """
    while view:
        if hasattr(os, "preadv"):
            got = os.preadv(descriptor, [view], offset)
        else:
            got = _seek_and_read(descriptor, view, offset)
        if not got:
            raise OSError("the file is shorter than the torrent says")
        view = view[got:]
        offset += got


def _seek_and_read(descriptor: int, view: memoryview, offset: int) -> int:
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        data = os.read(descriptor, len(view))
    view[: len(data)] = data
    return len(data)


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write a buffer to a place in a file.

    Raises:
        OSError: It cannot be written: the disk is full, for one.
    """
    while view:
        if hasattr(os, "pwrite"):
            put = os.pwrite(descriptor, view, offset)
        else:
            with _SEEKING:
                os.lseek(descriptor, offset, os.SEEK_SET)
                put = os.write(descriptor, view)
        view = view[put:]
        offset += put
