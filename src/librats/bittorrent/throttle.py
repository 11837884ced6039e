"""How much comes and goes at most: limits of one torrent and of all together, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from librats.errors import UsageError
from librats.transfer.pacing import RateLimit

__all__ = ["Gate", "Turns"]

BURST: Final = 0.1
"""Seconds' worth that a limit lets through at once: a loop that is late by less loses nothing."""

NO_LIMIT = float(1 << 60)


class Gate:
    """What one torrent may take, or give: its own limit, and one that it shares.

    Args:
        common: The gate whose limit is shared by all that are given it; None for no other limit.

    Example:
        >>> from librats.bittorrent.throttle import Gate
        >>> client = Gate()
        >>> torrent = Gate(client)
        >>> client.limit = 1000.0
        >>> torrent.limit = 500.0
        >>> torrent.take(1000, 10.0)
        >>> client.ready_at(10.0), torrent.ready_at(10.0)
        (10.9, 11.9)
    """

    def __init__(self, common: Gate | None = None) -> None:
        self._own = RateLimit(None, burst=BURST)
        self._common = common

    @property
    def limit(self) -> float | None:
        """Bytes a second of its own limit; None for none. What was taken below another one is forgotten."""
        return self._own.rate

    @limit.setter
    def limit(self, rate: float | None) -> None:
        if rate is not None and not rate > 0:
            raise UsageError("a limit is a number of bytes a second above 0, or None")
        if rate is not None and rate >= NO_LIMIT:
            rate = None
        if rate != self._own.rate:
            self._own = RateLimit(rate, burst=BURST)

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self._own.rate is not None or (self._common is not None and self._common.is_limited)

    @property
    def rate(self) -> float:
        """Bytes a second that pass at most; infinite where there is no limit."""
        own = self._own.rate if self._own.rate is not None else float("inf")
        return own if self._common is None else min(own, self._common.rate)

    def take(self, size: int, now: float) -> None:
        """Take note of bytes that pass."""
        self._own.take(size, now)
        if self._common is not None:
            self._common.take(size, now)

    def give_back(self, size: int) -> None:
        """Take note of bytes that were to pass, and have not: others may instead."""
        self._own.give_back(size)
        if self._common is not None:
            self._common.give_back(size)

    def ready_at(self, now: float) -> float:
        """Return when something may pass; now where that is at once."""
        ready = self._own.ready_at(now)
        return ready if self._common is None else max(ready, self._common.ready_at(now))


Go = Callable[[float], int]


class Turns:
    """Who waits at gates. Each has its turn, a block at a time, so that nobody gets less than others who want as much.

    Example:
        >>> from librats.bittorrent.throttle import Gate, Turns
        >>> turns, gate = Turns(), Gate()
        >>> gate.limit = 1000.0
        >>> turns.wait("a", gate, lambda now: 500)
        >>> turns.wait("b", gate, lambda now: 500)
        >>> turns.run(7.0)
        >>> round(turns.next_time(7.0), 6)
        7.4
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, tuple[Gate, Go]] = {}
        self._passed_over: dict[Hashable, tuple[Gate, Go]] = {}  # while others have their turn

    def wait(self, key: Hashable, gate: Gate, go: Go) -> None:
        """Have somebody wait; who waits already keeps the place.

        Args:
            key: Who it is.
            gate: Where.
            go: Called with the time once it is somebody's turn; returns how many bytes pass. Who wants more waits
                again, but nobody who takes nothing.
        """
        self._waiting.setdefault(key, (gate, go))

    def leave(self, key: Hashable) -> None:
        """Have somebody wait no more."""
        self._waiting.pop(key, None)
        self._passed_over.pop(key, None)

    def next_time(self, now: float) -> float | None:
        """Return when it is somebody's turn; None where nobody waits."""
        gates = {gate for gate, _ in self._waiting.values()}
        return min((gate.ready_at(now) for gate in gates), default=None)

    def run(self, now: float) -> None:
        """Let pass whose turn it is."""
        while self._waiting:
            key = next(iter(self._waiting))
            gate, go = self._waiting.pop(key)
            if gate.ready_at(now) > now:
                self._passed_over[key] = gate, go
                continue
            size = go(now)
            if size:
                gate.take(size, now)
        self._waiting, self._passed_over = self._passed_over, {}
