"""When the handshakes may go on that others begin, and who goes without where there are too many."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from msgspec import Struct

from librats.session.pace import Pace, PaceTable, wait_for_all

__all__ = ["PATIENCE", "Begun", "HandshakeTurns"]

PATIENCE = 0.5
"""Seconds that a handshake may wait for its turn."""

SWEEP_EVERY = 1024

Connection = TypeVar("Connection", bound=Hashable)


class _Turn(Struct, Generic[Connection]):
    due: float
    connection: Connection | None  # None where it has ended meanwhile: its turn is there for another one


class Begun(Struct, Generic[Connection], frozen=True):
    """What becomes of a handshake that somebody begins."""

    delay: float | None
    """Seconds until it may go on; None where it may not."""

    refused: Connection | None = None
    """The one that has to go without: itself, or one that has waited, whose turn it has now."""

    limit: str = ""
    """Name of the limit that says so."""


class HandshakeTurns(Generic[Connection]):
    """Turns of handshakes, so many a second of each source and of all.

    Those that come faster wait, where there is a turn within half a second. The newest has the next turn of its source,
    and who had that has the last one. Where there is none, somebody goes without: who had the next turn of the source,
    or else of the source of which most wait. Were newcomers to wait behind the others, or be refused, whoever begins
    more handshakes than that would keep everybody out, behind the same NAT at least.

    Args:
        rate: Handshakes a second of all sources, and how many may come at once after a quiet time.
        source_rate: Handshakes a second of one source.
        source_burst: How many of them may come at once after a quiet time; a second's worth where None.

    Example:
        >>> turns = HandshakeTurns(rate=8, source_rate=2)
        >>> [turns.begin("a", name, now=0.0).delay for name in ("first", "second", "third")]
        [0.0, 0.0, 0.5]
        >>> turns.begin("a", "fourth", now=0.0)
        Begun(delay=0.5, refused='third', limit='max_handshake_rate_per_source')
    """

    def __init__(self, rate: float, source_rate: float, source_burst: float | None = None) -> None:
        self._all = Pace(rate, rate)
        self._of_each = PaceTable(source_rate, source_rate if source_burst is None else source_burst)
        self._waiting: dict[str, deque[_Turn[Connection]]] = {}
        self._turns: dict[Connection, _Turn[Connection]] = {}
        self._until_sweep = SWEEP_EVERY

    def __len__(self) -> int:
        """How many turns are kept: those that have not come, and some that have."""
        return sum(map(len, self._waiting.values()))

    def begin(self, source: str, connection: Connection, *, now: float) -> Begun[Connection]:
        """Give a handshake its turn.

        Args:
            source: Where it comes from.
            connection: The connection.
            now: Monotonic seconds.
        """
        of_source = self._of_each.of(source, now=now)
        delay = wait_for_all(of_source, self._all, now=now, at_most=PATIENCE)
        if delay is not None:
            return Begun(self._wait_first(source, connection, now + delay, now) if delay else 0.0)
        is_source = of_source.delay(now=now) > PATIENCE
        limit = "max_handshake_rate_per_source" if is_source else "max_handshake_rate"
        turn = self._next(source, now)
        if turn is None and not is_source:
            turn = self._next(max(list(self._waiting), key=lambda each: self._count(each, now), default=source), now)
        if turn is None:
            return Begun(None, connection, limit)
        loser = turn.connection
        if loser is not None:
            del self._turns[loser]
        turn.connection = connection
        self._turns[connection] = turn
        self._waiting.setdefault(source, deque()).appendleft(turn)
        return Begun(turn.due - now, loser, limit if loser is not None else "")

    def left(self, connection: Connection, *, now: float) -> float:
        """Return how many seconds one that waits has to wait yet: others may have come before it meanwhile."""
        turn = self._turns.get(connection)
        return max(0.0, turn.due - now) if turn is not None else 0.0

    def end(self, connection: Connection) -> None:
        """Take note that a connection waits no more: its turn is free. Harmless where it did not."""
        turn = self._turns.pop(connection, None)
        if turn is not None:
            turn.connection = None

    def _wait_first(self, source: str, connection: Connection, last: float, now: float) -> float:
        """Have one wait for the next turn of its source, who had that for the last one; return for how long."""
        self._sweep(now)
        self._count(source, now)
        waiting = self._waiting.setdefault(source, deque())
        waiting.append(_Turn(last, None))
        first, newest = waiting[0], waiting[-1]
        if first.connection is not None:
            newest.connection = first.connection
            self._turns[first.connection] = newest
        first.connection = connection
        self._turns[connection] = first
        return first.due - now

    def _next(self, source: str, now: float) -> _Turn[Connection] | None:
        """Take out the turn of a source that comes next; None where none of it waits."""
        return self._waiting[source].popleft() if self._count(source, now) else None

    def _count(self, source: str, now: float) -> int:
        """Forget the turns of a source that have come; return how many are left."""
        waiting = self._waiting.get(source)
        if waiting is None:
            return 0
        while waiting and waiting[0].due <= now:
            turn = waiting.popleft()
            if turn.connection is not None:
                del self._turns[turn.connection]
        if not waiting:
            del self._waiting[source]
        return len(waiting)

    def _sweep(self, now: float) -> None:
        self._until_sweep -= 1
        if not self._until_sweep:
            self._until_sweep = SWEEP_EVERY
            for source in list(self._waiting):
                self._count(source, now)
