"""Reading at a place of an open file, also where the system has no call for that."""

from __future__ import annotations

import os

__all__ = ["read_at"]


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read a part of a file; fewer bytes where it ends before.

    Args:
        descriptor: The file. Where the system has no ``pread`` nobody else may read it meanwhile.
        size: Bytes of the part.
        offset: Bytes before it.

    Raises:
        OSError: The file cannot be read.

    Example:
        >>> import tempfile
        >>> from librats.services.disk.read_at import read_at
        >>> with tempfile.TemporaryFile(buffering=0) as file:
        ...     _ = file.write(b"hello")
        ...     read_at(file.fileno(), 4, 1)
        b'ello'
    """
    pieces = []
    while size:
        if hasattr(os, "pread"):
            piece = os.pread(descriptor, size, offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            piece = os.read(descriptor, size)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
