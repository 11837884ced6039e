"""How long the NAT on the way to the server keeps a mapping that is in use, learnt from those that it has dropped."""

from __future__ import annotations

import math

from librats.stun.mapping_habits import MappingHabits

__all__ = ["MappingLife"]

LONGEST = 900.0
"""Seconds; whatever ends later is no habit of a NAT."""

SHORTEST = 20.0
"""Seconds; nothing is renewed more often than that."""

ENOUGH = 2
"""Mappings that have to end in a row before others are renewed ahead of their end."""


class MappingLife:
    """What there is to know of the mappings of one allocation.

    Some NATs drop a mapping some time after it was made, though datagrams go out through it, which should keep it
    (RFC 4787, REQ-6). The server hears of us from another port then, and knows no allocation there.

    Args:
        habits: What is known of the NAT, and is told what is learnt.

    Example:
        >>> life = MappingLife(MappingHabits())
        >>> for began in (0.0, 60.0):
        ...     life.ended(began=began, heard=began + 45.0)
        >>> life.renew_at(began=120.0)
        165.0
    """

    def __init__(self, habits: MappingHabits) -> None:
        self._habits = habits
        known = habits.times.life
        self._falls = 0 if known is None else ENOUGH
        self._proven = math.inf if known is None else max(known, SHORTEST)

    def ended(self, *, began: float, heard: float) -> None:
        """Take note that a mapping has ended under an allocation.

        Args:
            began: When it was first used.
            heard: When the server last answered through it: it was there until then.
        """
        age = heard - began
        if age > LONGEST:
            self._falls, self._proven = 0, math.inf
            self._habits.use_ended(None)
            return
        self._falls += 1
        self._proven = min(self._proven, max(age, SHORTEST))
        if self._falls >= ENOUGH:
            self._habits.use_ended(self._proven)

    def renew_at(self, *, began: float) -> float:
        """Return when to take another mapping in the place of one that is in use; never while nothing is known."""
        return began + self._proven if self._falls >= ENOUGH else math.inf
