"""Files that only their owner may use, written whole or not at all whenever the process or the machine stops."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = [
    "FOLLOWING",
    "SAFELY",
    "make_missing",
    "read_regular",
    "remove_leftovers",
    "rename",
    "replace",
    "sync_directory",
    "write_new",
]

# Not every platform has every flag. Without O_NONBLOCK, opening a FIFO would wait for its writer.
FOLLOWING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags to open a file with."""

SAFELY = FOLLOWING | getattr(os, "O_NOFOLLOW", 0)
"""Flags to open a file with, but no symbolic link."""

_NO_HARD_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP}
_IN_USE_TRIES = 5 if sys.platform == "win32" else 0
"""Windows refuses to replace a file while another process, a virus scanner for example, looks at it."""
_IN_USE_DELAY = 0.05


def make_missing(folder: Path) -> None:
    """Make a directory, and those above it, for its owner alone; one that is there is left as it is."""
    if folder.is_dir():
        return
    make_missing(folder.parent)
    try:
        folder.mkdir(0o700)
    except FileExistsError:  # another process was faster
        return
    folder.chmod(0o700)  # the umask may have taken away more than it should
    sync_directory(folder.parent)


def read_regular(path: Path, limit: int, flags: int = FOLLOWING) -> tuple[bytes, os.stat_result] | None:
    """Read a regular file, never waiting for a writer as that of a FIFO would.

    Args:
        path: The file.
        limit: Most bytes to read.
        flags: :data:`FOLLOWING` or :data:`SAFELY`.

    Returns:
        What it begins with, and its status; None where there is no file.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | flags)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return _read_up_to(descriptor, limit), status
    finally:
        os.close(descriptor)


def _read_up_to(descriptor: int, limit: int) -> bytes:
    pieces = []
    while limit and (piece := os.read(descriptor, min(limit, 1 << 20))):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that did not exist, whole or not at all.

    Raises:
        FileExistsError: There is something of that name already.
        OSError: It cannot be written.
    """
    temporary = _write_temporary(path, data)
    try:
        _give_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Write a file in place of the one of that name, if any: at every moment the name stands for one of them, whole.

    Raises:
        OSError: It cannot be written; what was there stays.
    """
    temporary = _write_temporary(path, data)
    try:
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def rename(source: Path, target: Path) -> None:
    """Give a file another name, which it takes from the file that had it.

    Raises:
        OSError: It cannot be done.
    """
    for _ in range(_IN_USE_TRIES):
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(_IN_USE_DELAY)
        else:
            return
    source.replace(target)


def remove_leftovers(path: Path, *, older_than: float = 0.0) -> int:
    """Remove what processes that were killed while they wrote a file have left beside it; return how many.

    Args:
        path: The file.
        older_than: Seconds for which nobody has written to them; 0 only where nobody else writes that file.
    """
    removed = 0
    for leftover in path.parent.glob(f"{path.name}.*.tmp"):
        with contextlib.suppress(OSError):
            if not older_than or leftover.stat().st_mtime < time.time() - older_than:
                leftover.unlink()
                removed += 1
    return removed


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY, 0o600)
    try:
        try:
            if sys.platform != "win32":
                os.fchmod(descriptor, 0o600)  # the umask may have taken away more than it should
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _give_name(temporary: Path, path: Path) -> None:
    """Make the temporary file the file of that name, unless there is one, which raises FileExistsError."""
    if sys.platform == "win32":
        temporary.rename(path)  # refuses to overwrite there
    else:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            _rename_alone(temporary, path)


def _rename_alone(temporary: Path, path: Path) -> None:
    """Rename without overwriting, where there are no hard links, as on Android."""
    if sys.platform != "win32":
        with _opened_directory(path.parent) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # a rename overwrites: one process at a time looks first
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            temporary.rename(path)


def sync_directory(folder: Path) -> None:
    """Make a new name in a directory outlive a crash of the machine, where the file system can."""
    if sys.platform != "win32":
        with _opened_directory(folder) as descriptor, contextlib.suppress(OSError):
            os.fsync(descriptor)


@contextlib.contextmanager
def _opened_directory(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
