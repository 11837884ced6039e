"""How long the NATs of a network keep mappings, as far as it is known, and how often something is to be sent for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet

from msgspec import Struct, structs

__all__ = ["LEAST_INTERVAL", "LONGEST_KEPT", "SHORTEST_KEPT", "KeepsMappings", "MappingHabits", "MappingTimes"]

SHORTEST_KEPT, LONGEST_KEPT = 5.0, 900.0
"""Seconds: shorter times are no habit of a NAT that anything works behind, longer ones make no difference."""

LEAST_INTERVAL = 3.0
"""Seconds: nothing is sent more often than that to keep a mapping."""

BEFORE_LOSS = 0.6
"""Which part of a silence that was too long is short enough."""

WITHIN_PROOF = 0.8
"""Which part of a silence that a mapping has outlived is made use of."""


class MappingTimes(Struct, frozen=True, kw_only=True):
    """How long a NAT keeps mappings, in seconds; None for what is not known."""

    outlived: float | None = None
    """The longest silence that a mapping has outlived."""

    lost: float | None = None
    """The shortest silence after which one was gone."""

    life: float | None = None
    """The age at which one that was in use was gone."""


class KeepsMappings(Protocol):
    """Sends something from time to time, so that NATs keep a mapping."""

    def adjust(self, habits: MappingHabits) -> None:
        """Send as often as is needed by what is known now."""


class MappingHabits:
    """What there is to know of the NATs of the network that this host is in: shared by all that keep mappings there.

    Args:
        times: What is known from before.

    Example:
        >>> habits = MappingHabits()
        >>> habits.interval(10.0, most=20.0)
        10.0
        >>> habits.measured(outlived=30.0, lost=45.0)
        >>> habits.interval(10.0, most=20.0)
        20.0
        >>> habits.silence_ended(15.0)
        >>> habits.interval(10.0, most=20.0)
        9.0
    """

    def __init__(self, times: MappingTimes | None = None) -> None:
        self._times = times or MappingTimes()
        self._keepers: WeakSet[KeepsMappings] = WeakSet()
        self.changed: Callable[[], object] = lambda: None
        """Called when something was learnt."""
        self.is_doubted = False
        """True where a mapping was gone against what was known: it is worth measuring again."""

    @property
    def times(self) -> MappingTimes:
        """What is known."""
        return self._times

    def keep(self, keeper: KeepsMappings) -> None:
        """Adjust somebody that keeps mappings, now and whenever something was learnt, for as long as it is there."""
        self._keepers.add(keeper)
        keeper.adjust(self)

    def restore(self, times: MappingTimes) -> None:
        """Go on with what is known of another network, without telling that it was learnt."""
        self.is_doubted = False
        self._take(times)

    def interval(self, usual: float, *, most: float) -> float:
        """Return after how many seconds of silence something is to be sent.

        Args:
            usual: Seconds, where nothing is known.
            most: Seconds that are not gone beyond, however long mappings live.
        """
        outlived, lost = self._times.outlived, self._times.lost
        proven = 0.0 if outlived is None else outlived * WITHIN_PROOF
        if lost is None:
            return max(usual, min(most, proven))
        return max(LEAST_INTERVAL, min(most, max(proven, lost * BEFORE_LOSS)))

    def measured(self, *, outlived: float | None, lost: float | None) -> None:
        """Take what a measurement has found, in the place of what was known of silences.

        Args:
            outlived: Seconds; None where nothing could be measured, which changes nothing.
            lost: Seconds; None where every silence that was tried was outlived.
        """
        if outlived is None:
            return
        self.is_doubted = False
        bound = None if lost is None else _within(lost)
        self._learn(structs.replace(self._times, outlived=min(outlived, LONGEST_KEPT), lost=bound))

    def silence_ended(self, silence: float) -> None:
        """Take that a mapping was gone after so many seconds of silence: it counts at once, whatever was known."""
        lost = _within(silence if self._times.lost is None else min(silence, self._times.lost))
        outlived = self._times.outlived
        self.is_doubted = True
        self._learn(
            structs.replace(self._times, outlived=None if outlived is None else min(outlived, lost / 2), lost=lost)
        )

    def doubt(self) -> None:
        """Take that mappings may be gone, for a way has died: no silence beyond the usual is trusted until measured."""
        self.is_doubted = True
        if self._times.lost is None and self._times.outlived is not None:
            self._learn(structs.replace(self._times, outlived=None))
        else:
            self._take(self._times)

    def use_ended(self, life: float | None) -> None:
        """Take at which age mappings in use are gone, in seconds; None where that was no habit after all."""
        if life != self._times.life:
            self._learn(structs.replace(self._times, life=None if life is None else _within(life)))

    def _learn(self, times: MappingTimes) -> None:
        if times != self._times:
            self._take(times)
            self.changed()

    def _take(self, times: MappingTimes) -> None:
        self._times = times
        for keeper in list(self._keepers):
            keeper.adjust(self)


def _within(seconds: float) -> float:
    return max(SHORTEST_KEPT, min(seconds, LONGEST_KEPT))
