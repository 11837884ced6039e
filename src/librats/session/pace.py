"""How often something may happen: a rate with some in advance (the generic cell rate algorithm, ITU-T I.371)."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Budget", "Pace", "PaceTable", "wait_for_all"]

SWEEP_EVERY = 1024
ROUNDING = 1e-6
"""Seconds: what is less is a rounding error of a long time."""


class Budget:
    """What may be used up: a rate, and how much at once after a quiet time.

    It holds nothing of who has used how much: that is one number, the time at which all will be made good again. So
    thousands can share a budget's terms, and two budgets can be asked before either is booked.

    Args:
        rate: How much, per second.
        burst: How much at once after a quiet time.

    Example:
        >>> budget = Budget(rate=10, burst=2)
        >>> until = budget.taken(0.0, 2, 5.0); until
        5.2
        >>> budget.taken(until, 1, 5.0) is None
        True
        >>> budget.delay(until, 1, 5.0)
        0.1
    """

    __slots__ = ("_advance", "_interval")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1.0 / rate
        self._advance = burst / rate

    def taken(self, until: float, amount: float, now: float, at_most: float = 0.0) -> float | None:
        """Return when all will be made good once that much more is used; None where it may not be: nothing is booked.

        Args:
            until: When all that was used will be made good; any time that is over where nothing was.
            amount: How much.
            now: Monotonic seconds.
            at_most: Seconds that the caller would wait.
        """
        booked = (until if until > now else now) + amount * self._interval
        return booked if booked - now - self._advance <= at_most + ROUNDING else None

    def delay(self, until: float, amount: float, now: float) -> float:
        """Return in how many seconds that much may be used; as for :meth:`taken`."""
        wait = round(max(until, now) + amount * self._interval - self._advance - now, 9)
        return wait if wait > ROUNDING else 0.0


class Pace:
    """One rate.

    Args:
        rate: How often, per second.
        burst: How many may come at once after a quiet time.

    Example:
        >>> pace = Pace(rate=10, burst=2)
        >>> [pace.wait(now=5.0, at_most=0.15) for _ in range(4)]
        [0.0, 0.0, 0.1, None]
        >>> pace.delay(now=5.0)
        0.2
    """

    __slots__ = ("_budget", "_next")

    def __init__(self, rate: float, burst: float) -> None:
        self._budget = Budget(rate, burst)
        self._next = float("-inf")

    def delay(self, count: int = 1, *, now: float) -> float:
        """Return in how many seconds one or more may happen at once, without booking them.

        Args:
            count: How many.
            now: Monotonic seconds.
        """
        return self._budget.delay(self._next, count, now)

    def wait(self, count: int = 1, *, now: float, at_most: float = 0.0) -> float | None:
        """Ask for one or more at once, and book them.

        Args:
            count: How many.
            now: Monotonic seconds.
            at_most: Seconds that the caller would wait.

        Returns:
            Seconds until it may happen; None where that is longer than the caller would wait, and nothing is booked.
        """
        booked = self._budget.taken(self._next, count, now, at_most)
        if booked is None:
            return None
        delay, self._next = self._budget.delay(self._next, count, now), booked
        return delay

    def is_quiet(self, now: float) -> bool:
        """Whether nothing is left of what has happened."""
        return self._next <= now


def wait_for_all(*paces: Pace, now: float, at_most: float = 0.0) -> float | None:
    """Ask for one by several rates at once: all of them are booked, or none is.

    Args:
        paces: The rates.
        now: Monotonic seconds.
        at_most: Seconds that the caller would wait.

    Returns:
        Seconds until it may happen; None where that is longer than the caller would wait.

    Example:
        >>> own, common = Pace(rate=1, burst=1), Pace(rate=1, burst=2)
        >>> [wait_for_all(own, common, now=0.0) for _ in range(2)], common.delay(now=0.0)
        ([0.0, None], 0.0)
    """
    delay = max(pace.delay(now=now) for pace in paces)
    if delay > at_most:
        return None
    for pace in paces:
        pace.wait(now=now, at_most=at_most)
    return delay


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

    def of(self, key: Hashable, *, now: float) -> Pace:
        """Return the rate of one, to be used now: it is not kept for long where nothing is booked.

        Args:
            key: Whose.
            now: Monotonic seconds.
        """
        pace = self._paces.get(key)
        if pace is None:
            self._sweep(now)
            pace = self._paces[key] = Pace(self._rate, self._burst)
        return pace

    def wait(self, key: Hashable, *, now: float) -> float | None:
        """Ask for one; see :meth:`Pace.wait`."""
        return self.of(key, now=now).wait(now=now)

    def _sweep(self, now: float) -> None:
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._paces = {key: pace for key, pace in self._paces.items() if not pace.is_quiet(now)}
            self._until_sweep = max(SWEEP_EVERY, len(self._paces))
