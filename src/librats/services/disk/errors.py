"""What a disk says no with, in the words of a transfer."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from librats.errors import TransferError

__all__ = ["LocalError", "as_transfer_error", "disk_error", "local_error"]

_CODES = {
    "no_space": ("the disk is full", (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)),
    "permission": ("it is not permitted", (errno.EACCES, errno.EPERM, errno.EROFS)),
    "gone": ("it is not there any more", (errno.ENOENT, getattr(errno, "ESTALE", errno.ENOENT))),
    "exists": ("something of that name is there already", (errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR)),
    "link": ("a symbolic link or another kind of file is in the way", (errno.ELOOP, errno.ENOTDIR)),
    "bad_name": ("this file system does not take that name", (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)),
}
_BY_ERRNO = {number: (code, words) for code, (words, numbers) in _CODES.items() for number in numbers}


class LocalError(TransferError):
    """What is wrong at a path of this machine. The user is told where that is; peers are not.

    Args:
        code: Why, in a word.
        where: The path.
        thing: What stands for the path in what peers are told.
        words: What is wrong with it.
    """

    def __init__(self, code: str, where: Path, thing: str, words: str) -> None:
        super().__init__(code, f"{where} {words}")
        self.told = f"{thing} {words}"
        """The reason as peers may have it."""


def disk_error(error: OSError, doing: str) -> TransferError:
    """Return what a failed call means for a transfer.

    Args:
        error: What the system said.
        doing: What was tried, for people; nothing that a peer sent.

    Returns:
        One of the codes ``"no_space"``, ``"permission"``, ``"gone"``, ``"exists"``, ``"link"``, ``"bad_name"``, or
        ``"disk"`` for everything else.
    """
    code, words = _meaning(error)
    return TransferError(code, f"{doing}: {words}")


def local_error(error: OSError, where: Path, thing: str, doing: str) -> LocalError:
    """Return the same where it is told at which path it was."""
    code, words = _meaning(error)
    return LocalError(code, where, thing, f"{doing}: {words}")


def _meaning(error: OSError) -> tuple[str, str]:
    return _BY_ERRNO.get(error.errno or 0, ("disk", error.strerror or type(error).__name__))


@contextlib.contextmanager
def as_transfer_error(doing: str) -> Iterator[None]:
    """Raise a TransferError for an OSError; see :func:`disk_error`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing) from error
