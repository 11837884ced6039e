"""What a disk says no with, in the words of a transfer."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from librats.errors import TransferError

__all__ = ["as_transfer_error", "disk_error"]

_CODES = {
    "no_space": ("the disk is full", (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)),
    "permission": ("it is not permitted", (errno.EACCES, errno.EPERM, errno.EROFS)),
    "gone": ("it is not there any more", (errno.ENOENT, getattr(errno, "ESTALE", errno.ENOENT))),
    "exists": ("something of that name is there already", (errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR)),
    "link": ("a symbolic link or another kind of file is in the way", (errno.ELOOP, errno.ENOTDIR)),
    "bad_name": ("this file system does not take that name", (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)),
}
_BY_ERRNO = {number: (code, words) for code, (words, numbers) in _CODES.items() for number in numbers}


def disk_error(error: OSError, doing: str) -> TransferError:
    """Return what a failed call means for a transfer.

    Args:
        error: What the system said.
        doing: What was tried, for people; nothing that a peer sent.

    Returns:
        One of the codes ``"no_space"``, ``"permission"``, ``"gone"``, ``"exists"``, ``"link"``, ``"bad_name"``, or
        ``"disk"`` for everything else.
    """
    code, words = _BY_ERRNO.get(error.errno or 0, ("disk", error.strerror or type(error).__name__))
    return TransferError(code, f"{doing}: {words}")


@contextlib.contextmanager
def as_transfer_error(doing: str) -> Iterator[None]:
    """Raise a TransferError for an OSError; see :func:`disk_error`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing) from error
