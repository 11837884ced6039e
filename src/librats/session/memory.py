"""Memory that the peers of one client can make it hold, counted when it is promised to them, not when it is full."""

from __future__ import annotations

__all__ = ["MemoryBudget", "MemoryShare"]

SHORT_BELOW = 8
"""Memory is short where less than one part in that many is free."""

GREED = 8
"""A share grows by at most one part in that many of what is free, so that many may grow."""


class MemoryBudget:
    """The memory of all sessions of a client together.

    Args:
        limit: Bytes that all of them may take.
    """

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Bytes that may be taken."""
        self.taken = 0
        """Bytes that are taken; more than the limit only by what had to be given."""

    @property
    def free(self) -> int:
        """Bytes that may still be taken."""
        return max(0, self.limit - self.taken)

    @property
    def is_short(self) -> bool:
        """True where little is left: whoever has more than he needs gives back."""
        return self.limit - self.taken < self.limit // SHORT_BELOW

    @property
    def is_overdrawn(self) -> bool:
        """True where more is taken than there is."""
        return self.taken > self.limit


class MemoryShare:
    """What one session has taken of the budget.

    Args:
        budget: The budget.
        least: Bytes that the session has in any case, be there so much or not.
    """

    __slots__ = ("_budget", "_closed", "held", "least")

    def __init__(self, budget: MemoryBudget, least: int) -> None:
        self._budget = budget
        self._closed = False
        self.least = least
        """Bytes that it has in any case."""
        self.held = least
        """Bytes that it has taken."""
        budget.taken += least

    @property
    def is_short(self) -> bool:
        """True where the budget has little left."""
        return self._budget.is_short

    def take(self, size: int) -> bool:
        """Take that many bytes more; False where the budget has not so many, and nothing is taken then."""
        if size > self._budget.free:
            return False
        self.take_anyway(size)
        return True

    def take_some(self, wanted: int) -> int:
        """Take as many of the bytes wanted as is fair to others who want some too; returns how many, which may be 0."""
        size = 0 if self._budget.is_short else min(wanted, self._budget.free // GREED)
        self.take_anyway(size)
        return size

    def take_anyway(self, size: int) -> None:
        """Take what is there already, be there so much or not."""
        if not self._closed:
            self.held += size
            self._budget.taken += size

    def give(self, size: int) -> None:
        """Give that many bytes back."""
        if not self._closed:
            self.held -= size
            self._budget.taken -= size

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self.give(self.held)
        self._closed = True
