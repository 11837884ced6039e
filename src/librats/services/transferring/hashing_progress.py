"""How far the hashing of what is to be shared is, as the application hears of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from librats.services.transferring.handle import Progress, TransferState
from librats.transfer.pacing import RateMeter

__all__ = ["HashingReport"]

logger = logging.getLogger("librats.files")


class HashingReport:
    """Tells an application how far a hashing is; it never goes back, though several threads count.

    Args:
        handler: What the application wants to have called.
        clock: Returns the time in seconds.

    Example:
        >>> from librats.services.transferring.hashing_progress import HashingReport
        >>> report = HashingReport(lambda progress: print(progress.bytes, progress.state), clock=lambda: 5.0)
        >>> report(250, 1000)
        250 hashing
    """

    def __init__(self, handler: Callable[[Progress], object], clock: Callable[[], float]) -> None:
        self._handler: Callable[[Progress], object] | None = handler
        self._clock = clock
        self._meter = RateMeter(clock())
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        """Take that so many bytes are hashed, of so many."""
        if self._handler is None or done < self._done:
            return
        now = self._clock()
        self._meter.add(done - self._done, now)
        self._done = done
        rate = self._meter.rate(now)
        eta = (total - done) / rate if rate > 0 else None
        try:
            self._handler(Progress(done, total, 0, 0, rate, eta, TransferState.HASHING))
        except Exception:
            logger.exception("the handler of progress failed, and is not called again")
            self._handler = None
