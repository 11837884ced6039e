"""Incoming connections whose handshake is under way, and who makes room when there are too many."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

__all__ = ["HalfOpenTable"]


class _Opening(Protocol):
    """What the table wants to know of a connection."""

    @property
    def opening_step(self) -> int:
        """How far its handshake has come; 0 where nothing was heard."""


Connection = TypeVar("Connection", bound=_Opening)


class HalfOpenTable(Generic[Connection]):
    """The handshakes that others have begun, by source.

    For a new one somebody else makes room, for refusing the newest would let idle connections lock everybody out. It
    is one of the source that has the most, of those the one that has come least far, of those the oldest. So
    whoever opens many connections loses his own.

    Args:
        limit: How many there may be.
        source_limit: How many of one source.
    """

    def __init__(self, limit: int, source_limit: int) -> None:
        self._limit = limit
        self._source_limit = source_limit
        self._by_source: dict[str, dict[Connection, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    @property
    def most_of_a_source(self) -> int:
        """How many there are of the source that has the most."""
        return max(map(len, self._by_source.values()), default=0)

    def add(self, source: str, connection: Connection) -> tuple[Connection, str] | None:
        """Take one more.

        Returns:
            The one that has to make room for it, no longer in the table, and the name of the limit; or None.
        """
        of_source = self._by_source.get(source)
        evicted: tuple[Connection, str] | None = None
        if of_source is not None and len(of_source) >= self._source_limit:
            evicted = self._evict(source), "max_half_open_per_source"
        elif self._count >= self._limit:
            biggest = max(self._by_source, key=lambda key: len(self._by_source[key]))
            evicted = self._evict(biggest), "max_half_open"
        self._by_source.setdefault(source, {})[connection] = None
        self._count += 1
        return evicted

    def _evict(self, source: str) -> Connection:
        # min() returns the first of equals, and a dict keeps the order of arrival.
        victim = min(self._by_source[source], key=lambda connection: connection.opening_step)
        self.remove(source, victim)
        return victim

    def remove(self, source: str, connection: Connection) -> None:
        """Forget one whose handshake is over; harmless where it is not there."""
        of_source = self._by_source.get(source)
        if of_source is not None and connection in of_source:
            del of_source[connection]
            self._count -= 1
            if not of_source:
                del self._by_source[source]
