"""Virtual time: what will happen, in order, and the clock that jumps from one to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

__all__ = ["Agenda", "Appointment"]


class Appointment:
    """One call that is due at a time."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function: Callable[..., object] | None = function
        self.args = args

    def cancel(self) -> None:
        """Call it off."""
        self.function = None
        self.args = ()


class Agenda:
    """The clock of a simulation, and everything that its network has yet to do."""

    def __init__(self) -> None:
        self.now = 0.0
        """Virtual seconds since the simulation began."""
        # Earlier first; of two at one time, the one that was made first: numbers differ, so no appointment is compared.
        self._heap: list[tuple[float, int, Appointment]] = []
        self._made = 0

    def at(self, when: float, function: Callable[..., object], *args: Any) -> Appointment:
        """Call a function at a time; now where that is past."""
        self._made += 1
        appointment = Appointment(function, args)
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._made, appointment))
        return appointment

    def after(self, delay: float, function: Callable[..., object], *args: Any) -> Appointment:
        """Call a function after that many virtual seconds."""
        return self.at(self.now + delay, function, *args)

    def next_time(self) -> float | None:
        """Return when the next call is due; None where nothing is left."""
        heap = self._heap
        while heap and heap[0][2].function is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run_due(self) -> None:
        """Make every call that is due by now, also those that these calls add."""
        heap, now = self._heap, self.now
        while heap and heap[0][0] <= now:
            appointment = heapq.heappop(heap)[2]
            if appointment.function is not None:
                appointment.function(*appointment.args)
