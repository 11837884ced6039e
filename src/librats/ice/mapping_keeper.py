"""How often a NAT has to be sent something, so that it keeps a mapping: learnt from what it does."""

from __future__ import annotations

import math

from librats.stun.mapping_habits import MappingHabits

__all__ = ["MappingKeeper"]

FIRST = 15.0
"""Seconds from one keep-alive to the next in the beginning (RFC 8445, 11)."""

LEAST, MOST = 5.0, 120.0
GROWTH = 1.25
MARGIN = 0.6
"""Which part of a silence that was too long is tried next."""


class MappingKeeper:
    """Finds the time from one keep-alive to the next: longer while mappings outlive it, shorter once one has not.

    Args:
        habits: What is known of the NAT to begin with; it is told of mappings that are gone.

    Example:
        >>> keeper = MappingKeeper()
        >>> keeper.outlived(15.0); keeper.interval
        18.75
        >>> keeper.lost(18.75); keeper.interval
        11.25
    """

    def __init__(self, habits: MappingHabits | None = None) -> None:
        self._habits = habits or MappingHabits()
        self.interval = self._habits.interval(FIRST, most=MOST)
        """Seconds of silence after which something is to be sent."""
        self.longest_outlived = 0.0
        """The longest silence, in seconds, that a mapping has outlived."""
        self.shortest_lost = self._habits.times.lost or math.inf
        """The shortest silence, in seconds, after which one was gone."""

    def outlived(self, silence: float) -> None:
        """Take that a mapping is still there after so many seconds without traffic."""
        self.longest_outlived = max(self.longest_outlived, silence)
        longest = MOST if math.isinf(self.shortest_lost) else max(LEAST, self.shortest_lost * MARGIN)
        if silence >= self.interval * MARGIN:
            self.interval = min(self.interval * GROWTH, longest)

    def lost(self, silence: float) -> None:
        """Take that one was gone after so many seconds without traffic."""
        self.shortest_lost = min(self.shortest_lost, silence)
        self.interval = max(LEAST, min(self.interval, silence) * MARGIN)
        self._habits.silence_ended(silence)
