"""How fast: what a transfer may take, what it gets, and how much of it is asked for ahead. Times are passed in."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["RateLimit", "RateMeter", "Window"]

METER_SPAN: Final = 5.0
"""Seconds that a rate is measured over."""

BURST: Final = 0.25
"""Seconds' worth that a limit lets through at once."""

GROWS_BY = 1.2  # a round that is faster by this much shows that the pipe was not full
RESTING_ROUNDS = 8


class RateLimit:
    """A limit of bytes per second, for one or for many transfers together.

    What is taken may be more than there is: the debt is waited for, so that large pieces pass below a small limit.

    Args:
        rate: Bytes per second; None for no limit.
        burst: Seconds' worth that is let through at once after a quiet time.

    Example:
        >>> from librats.transfer.pacing import RateLimit
        >>> limit = RateLimit(1000.0)
        >>> limit.ready_at(10.0)
        10.0
        >>> limit.take(2000, 10.0)
        >>> limit.ready_at(10.0)
        11.75
    """

    def __init__(self, rate: float | None, *, burst: float = BURST) -> None:
        self.rate = rate
        """Bytes per second, or None."""
        self._burst = burst
        self._free_at = float("-inf")

    def take(self, size: int, now: float) -> None:
        """Take note of bytes that are under way."""
        if self.rate is not None:
            self._free_at = max(self._free_at, now - self._burst) + size / self.rate

    def give_back(self, size: int) -> None:
        """Take note of bytes that were taken, and will not come."""
        if self.rate is not None:
            self._free_at -= size / self.rate

    def ready_at(self, now: float) -> float:
        """Return when something may be taken again; now or earlier where that is at once."""
        return now if self.rate is None else max(now, self._free_at)


class RateMeter:
    """Measures bytes per second over the last seconds.

    Example:
        >>> from librats.transfer.pacing import RateMeter
        >>> meter = RateMeter(0.0)
        >>> for second in range(1, 11):
        ...     meter.add(1000, float(second))
        >>> meter.rate(10.0)
        1000.0
    """

    def __init__(self, now: float) -> None:
        self._begun = now
        self._total = 0
        self._points: deque[tuple[float, int]] = deque([(now, 0)])

    def add(self, size: int, now: float) -> None:
        """Count bytes."""
        self._total += size
        last = self._points[-1]
        if len(self._points) > 1 and now - last[0] < METER_SPAN / 50:  # bounds how many points there are
            self._points[-1] = (last[0], self._total)
        else:
            self._points.append((now, self._total))
        self._forget(now)

    def _forget(self, now: float) -> None:
        while len(self._points) > 1 and self._points[1][0] <= now - METER_SPAN:
            self._points.popleft()

    def rate(self, now: float) -> float:
        """Return bytes per second over the last five seconds; over what there is, where it is less."""
        self._forget(now)
        at, total = self._points[0]
        since = max(at, now - METER_SPAN)
        return (self._total - total) / (now - since) if now > since else 0.0


class Window:
    """How many bytes one source is asked for ahead: enough that it never waits for us, and no more.

    It doubles while that makes the source faster, goes back where it does not, and now and then tries again.

    Args:
        start: Bytes at first.
        most: Bytes that it grows up to.
    """

    def __init__(self, start: int, most: int) -> None:
        self.size = min(start, most)
        """Bytes that may be asked for and not be there yet."""
        self._good = self.size
        self._most = most
        self._arrived = 0
        self._began: float | None = None
        self._best = 0.0
        self._rests = 0

    def arrived(self, size: int, now: float, *, was_full: bool) -> None:
        """Take note of bytes that have come.

        Args:
            size: How many.
            now: The time.
            was_full: Whether as much was asked for as the window lets: without that nothing is learnt.
        """
        if self._began is None or not was_full:
            self._began, self._arrived = now, 0
            return
        self._arrived += size
        if self._arrived < self.size or now <= self._began:
            return
        rate = self._arrived / (now - self._began)
        self._began, self._arrived = now, 0
        if rate > self._best * GROWS_BY:
            self._good, self._best, self._rests = self.size, rate, 0
            self.size = min(2 * self.size, self._most)
        elif self.size > self._good:
            self.size, self._rests = self._good, 0
        elif self._rests < RESTING_ROUNDS:
            self._rests += 1
        else:
            self._best, self._rests = rate, 0
            self.size = min(2 * self.size, self._most)
