"""How many strangers a client dials: at once, and in any minute."""

from __future__ import annotations

from collections import deque

__all__ = ["DialBudget"]

MINUTE = 60.0


class DialBudget:
    """Dials to whoever strangers have told of.

    Args:
        at_once: Dials that may be under way.
        per_minute: Dials that may begin in any minute.

    Example:
        >>> budget = DialBudget(at_once=1, per_minute=2)
        >>> budget.take(now=0.0), budget.take(now=0.0)
        (True, False)
        >>> budget.give_back()
        >>> budget.take(now=1.0), budget.free_at(now=1.0)
        (True, None)
        >>> budget.give_back()
        >>> budget.take(now=2.0), budget.free_at(now=2.0)
        (False, 60.0)
    """

    def __init__(self, *, at_once: int, per_minute: int) -> None:
        self._at_once = at_once
        self._per_minute = per_minute
        self._began: deque[float] = deque()
        self._under_way = 0

    @property
    def under_way(self) -> int:
        """How many dials there are."""
        return self._under_way

    def take(self, *, now: float) -> bool:
        """Begin a dial; False where there may be no further one now.

        Args:
            now: Monotonic seconds.
        """
        if self.free_at(now=now) != now:
            return False
        self._began.append(now)
        self._under_way += 1
        return True

    def give_back(self) -> None:
        """Take that a dial has come to its end."""
        self._under_way -= 1

    def free_at(self, *, now: float) -> float | None:
        """Return when the next dial may begin: ``now``, later, or None for once another one has come to its end.

        Args:
            now: Monotonic seconds.
        """
        while self._began and self._began[0] + MINUTE <= now:
            self._began.popleft()
        if self._under_way >= self._at_once:
            return None
        return now if len(self._began) < self._per_minute else self._began[0] + MINUTE
