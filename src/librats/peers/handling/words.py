"""What a peer is told of an exception that a handler has raised for it."""

from __future__ import annotations

import os

from librats.errors import ConnectError, IdentityError, StoreError

__all__ = ["words_for_peer"]

OF_THIS_MACHINE = (ConnectError, IdentityError, StoreError)
"""Errors of this library whose text names paths and addresses."""


def words_for_peer(error: BaseException) -> str:
    """Return class and text of an exception, without the paths and addresses that the system, or this library, put in.

    Args:
        error: What a handler has raised.

    Example:
        >>> words_for_peer(ValueError("no such room"))
        'ValueError: no such room'
        >>> words_for_peer(FileNotFoundError(2, "No such file or directory", "/home/ann/secret.txt"))
        'FileNotFoundError: No such file or directory'
    """
    name = type(error).__name__
    if isinstance(error, OF_THIS_MACHINE):
        return name
    if isinstance(error, OSError) and (error.errno is not None or error.filename is not None):
        return f"{name}: {os.strerror(error.errno)}" if isinstance(error.errno, int) else name
    return f"{name}: {error}"
