"""How long the NATs of networks keep mappings: what was learnt of them, by network, for some time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from librats.stun.mapping_habits import LONGEST_KEPT, SHORTEST_KEPT, MappingTimes

__all__ = ["GOOD_FOR", "MAX_NETWORKS", "KnownMappings"]

MAX_NETWORKS = 16
"""Networks that are remembered; of more, those that something was learnt of last."""

GOOD_FOR = 14 * 86_400.0
"""Seconds after which what was learnt is learnt anew: a router may have been replaced."""

IN_ADVANCE = 86_400.0
"""Seconds by which the clock may have been ahead when something was kept."""

MOST_SECONDS = 1e12
"""Seconds since 1970 beyond which nothing was kept; whole numbers in JSON may be longer than a float can be."""

SILENCE, USE = "silence_at", "use_at"
OURS = frozenset({"outlived", "lost", "life", SILENCE, USE})


class KnownMappings:
    """What is known of NATs, by the mark of the network.

    Args:
        clock: Returns seconds since 1970.

    Example:
        >>> known = KnownMappings(clock=lambda: 1000.0)
        >>> known.note("home", MappingTimes(outlived=60.0, lost=90.0))
        >>> known.get("home").outlived
        60.0
        >>> known.get("office")
        MappingTimes(outlived=None, lost=None, life=None)
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._networks: dict[str, tuple[MappingTimes, float, float]] = {}
        self._others: dict[str, dict[str, Any]] = {}
        self.changed: Callable[[], object] = lambda: None
        """Called when there is something new."""

    def get(self, network: str) -> MappingTimes:
        """Return what is known of a network, without what was learnt too long ago."""
        times, silence_at, use_at = self._networks.get(network, (MappingTimes(), 0.0, 0.0))
        is_good, now = self._is_good, self._clock()
        return MappingTimes(
            outlived=times.outlived if is_good(silence_at, now) else None,
            lost=times.lost if is_good(silence_at, now) else None,
            life=times.life if is_good(use_at, now) else None,
        )

    @staticmethod
    def _is_good(at: float, now: float) -> bool:
        return -IN_ADVANCE <= now - at < GOOD_FOR

    def note(self, network: str, times: MappingTimes) -> None:
        """Take what is known of a network now.

        Args:
            network: The network's mark.
            times: All that is known; what differs from before was learnt just now.
        """
        now, before = self._clock(), self.get(network)
        _, silence_at, use_at = self._networks.pop(network, (None, 0.0, 0.0))
        if (times.outlived, times.lost) != (before.outlived, before.lost):
            silence_at = now
        if times.life != before.life:
            use_at = now
        self._networks[network] = (times, silence_at, use_at)
        self._drop_surplus()
        self.changed()

    def _drop_surplus(self) -> None:
        while len(self._networks) > MAX_NETWORKS:
            gone = next(iter(self._networks))
            del self._networks[gone]
            self._others.pop(gone, None)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return everything, to be kept."""
        return {mark: self._others.get(mark, {}) | _form(*entry) for mark, entry in self._networks.items()}

    def restore(self, members: object, is_mark: Callable[[str], object]) -> None:
        """Take what was kept, as far as it is sound: the last of too many, and no time that is out of bounds.

        Args:
            members: What :meth:`to_json` has returned, or anything else.
            is_mark: Tells whether a text is the mark of a network.
        """
        self._networks, self._others = {}, {}
        if not isinstance(members, Mapping):
            return
        for mark, form in members.items():
            if is_mark(mark) and isinstance(form, Mapping):
                self._networks[mark] = _entry(form)
                others = {name: value for name, value in form.items() if name not in OURS}
                if others:
                    self._others[mark] = others
                self._drop_surplus()


def _form(times: MappingTimes, silence_at: float, use_at: float) -> dict[str, float]:
    form = {"outlived": times.outlived, "lost": times.lost, "life": times.life}
    form |= {SILENCE: silence_at or None, USE: use_at or None}
    return {name: value for name, value in form.items() if value is not None}


def _entry(form: Mapping[str, object]) -> tuple[MappingTimes, float, float]:
    """Return an entry with what is sound of it: what is not is learnt again."""
    outlived, lost = _seconds(form, "outlived", 0.0), _seconds(form, "lost", SHORTEST_KEPT)
    if outlived is not None and lost is not None and outlived >= lost:
        outlived = None  # of two that contradict each other the careful one
    times = MappingTimes(outlived=outlived, lost=lost, life=_seconds(form, "life", SHORTEST_KEPT))
    return times, _number(form, SILENCE) or 0.0, _number(form, USE) or 0.0


def _number(form: Mapping[str, object], name: str) -> float | None:
    value = form.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if -MOST_SECONDS < value < MOST_SECONDS else None


def _seconds(form: Mapping[str, object], name: str, least: float) -> float | None:
    value = _number(form, name)
    return value if value is not None and least <= value <= LONGEST_KEPT else None
