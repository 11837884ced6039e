"""How often something may happen: a rate with some in advance (the generic cell rate algorithm, ITU-T I.371)."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Pace", "PaceTable"]

SWEEP_EVERY = 1024


class Pace:
    """One rate.

    Args:
        rate: How often, per second.
        burst: How many may come at once after a quiet time.

    Example:
        >>> pace = Pace(rate=10, burst=2)
        >>> [pace.wait(now=5.0, at_most=0.15) for _ in range(4)]
        [0.0, 0.0, 0.1, None]
    """

    __slots__ = ("_advance", "_interval", "_next")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1.0 / rate
        self._advance = (burst - 1) / rate
        self._next = float("-inf")

    def wait(self, count: int = 1, *, now: float, at_most: float = 0.0) -> float | None:
        """Ask for one or more at once, and book them.

        Args:
            count: How many.
            now: Monotonic seconds.
            at_most: Seconds that the caller would wait.

        Returns:
            Seconds until it may happen; None where that is longer than the caller would wait, and nothing is booked.
        """
        due = max(self._next, now)
        delay = round(max(0.0, due + (count - 1) * self._interval - self._advance - now), 9)
        if delay > at_most:
            return None
        self._next = due + count * self._interval
        return delay

    def is_quiet(self, now: float) -> bool:
        """Whether nothing is left of what has happened."""
        return self._next <= now


class PaceTable:
    """The same rate for each of many, of whom only those that were heard of lately are kept.

    Args:
        rate: How often, per second, for each.
        burst: How many may come at once after a quiet time, for each.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._paces: dict[Hashable, Pace] = {}
        self._until_sweep = SWEEP_EVERY

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._paces)

    def wait(self, key: Hashable, *, now: float, at_most: float = 0.0) -> float | None:
        """Ask for one; see :meth:`Pace.wait`."""
        pace = self._paces.get(key)
        if pace is None:
            self._sweep(now)
            pace = self._paces[key] = Pace(self._rate, self._burst)
        return pace.wait(now=now, at_most=at_most)

    def _sweep(self, now: float) -> None:
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._paces = {key: pace for key, pace in self._paces.items() if not pace.is_quiet(now)}
            self._until_sweep = max(SWEEP_EVERY, len(self._paces))
