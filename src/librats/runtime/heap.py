"""The C library's memory, in a process that moves many bytes."""

from __future__ import annotations

import sys
from functools import cache

__all__ = ["keep_freed_memory"]

LARGEST = 8 << 20


@cache
def keep_freed_memory() -> None:
    """Have the C library keep some MiB of what is freed, rather than ask the system for it again each time.

    That is for buffers which come and go by the MiB: glibc gives what is free at the end of its memory back to the
    system from 128 KiB on, and each page that it gets again costs a fault. It goes by the longest block that was asked
    of the system and freed so far: it keeps up to twice as much, and asks the system itself only for longer ones. So
    one is freed here, which nobody has written to. Where the process has set limits of its own (``mallopt``,
    ``GLIBC_TUNABLES``), they stay, and other systems go by other rules: nothing is done there, and
    nothing the second time.

    Example:
        >>> from librats.runtime.heap import keep_freed_memory
        >>> keep_freed_memory()
    """
    if sys.platform == "linux":
        untouched = bytes(LARGEST)
        del untouched
