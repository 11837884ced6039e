"""The tree of hashes of a file on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable

from librats.transfer.tree import HashTree, TreeBuilder

__all__ = ["hash_descriptor"]

BUFFER = 1 << 20


def hash_descriptor(descriptor: int, size: int, progress: Callable[[int], object] | None = None) -> HashTree:
    """Read a file from where it stands to its end, and return its tree.

    Args:
        descriptor: The file.
        size: Bytes that it should have. One that has more is not read much further.
        progress: Called with how many bytes were read; what it raises ends it.

    Raises:
        OSError: It cannot be read.
        TransferError: It is longer than a file may be (``"limit"``).
    """
    builder = TreeBuilder()
    if size <= BUFFER:
        data = os.read(descriptor, size + 1)
        while len(data) < size and (more := os.read(descriptor, size + 1 - len(data))):  # some disks give less at once
            data += more
        builder.update(data)
        if progress is not None:
            progress(len(data))
        return builder.finish()
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        done = 0
        while done <= size and (count := file.readinto(buffer)):
            builder.update(view[:count])
            done += count
            if progress is not None:
                progress(count)
    return builder.finish()
