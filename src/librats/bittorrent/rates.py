"""How quick something is, in bytes a second, over the last few seconds."""

from __future__ import annotations

__all__ = ["Rate"]

WEIGHT = 0.3


class Rate:
    """A moving average that is brought up to date about once a second.

    Example:
        >>> from librats.bittorrent.rates import Rate
        >>> rate = Rate(now=0.0)
        >>> rate.total += 1000
        >>> rate.update(now=1.0)
        >>> rate.value
        1000.0
    """

    __slots__ = ("_counted", "_last", "_warm", "total", "value")

    def __init__(self, now: float) -> None:
        self.total = 0
        """Bytes so far; to be added to."""
        self.value = 0.0
        """Bytes a second."""
        self._counted = 0
        self._last = now
        self._warm = False

    def update(self, now: float) -> None:
        """Take in what was added since the last time."""
        elapsed = now - self._last
        if elapsed <= 0:
            return
        current = (self.total - self._counted) / elapsed
        self.value = self.value + WEIGHT * (current - self.value) if self._warm else current
        self._warm = self._warm or current > 0
        self._counted, self._last = self.total, now
