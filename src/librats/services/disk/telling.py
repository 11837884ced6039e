"""How much a thread has read, told in the loop now and then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

__all__ = ["teller"]

TELL_EVERY = 0.05


def teller(
    handler: Callable[[int, int], object] | None, *, clock: Callable[[], float] = time.monotonic
) -> Callable[[int, int], None]:
    """Return what threads may call with the bytes that are read and the bytes in all.

    Args:
        handler: Called with the same in the running loop: the first time, at the end, and 20 times a second between.
        clock: Returns the time in seconds.
    """
    loop = asyncio.get_running_loop()
    told = float("-inf")

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = clock()
        if handler is not None and (done == total or now - told >= TELL_EVERY):
            told = now
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(handler, done, total)

    return tell
