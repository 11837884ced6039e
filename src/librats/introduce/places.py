"""Places where two meet who know a number: what an introducer keeps of them, within limits."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from librats.session.pace import Pace, PaceTable, wait_for_all

__all__ = ["PlaceLimits", "Places"]

MINUTE = 60.0
FIRST_SPAN = 100
LAST_SPAN = 1_000_000


class PlaceLimits(Struct, frozen=True, kw_only=True):
    """What an introducer bears of places."""

    lifetime: float = 600.0
    """Seconds for which a place is kept."""

    per_owner: int = 4
    """Places of one peer."""

    per_source: int = 16
    """Places from one IPv4 address, or one IPv6 network of /64."""

    total: int = 4096
    """Places in all."""

    opened_per_minute: float = 20.0
    """Places that are opened from one source."""

    visits_per_minute: float = 10.0
    """Visits from one source: each uses a place up, and numbers can be guessed."""

    visits_per_second: float = 20.0
    """Visits of all together."""


class _Place(Struct):
    owner: str
    number: int
    source: str
    until: float


class Places:
    """Numbers, and who waits there. The first visit uses one up.

    Args:
        randbelow: Returns a random number below another one.
        limits: What is borne.

    Example:
        >>> from librats.introduce.places import Places
        >>> places = Places(lambda below: 6)
        >>> places.open("ann", 1, now=0.0)
        7
        >>> places.visit(7, "bob", now=1.0)
        'ann'
        >>> places.visit(7, "eve", now=1.0)
        Traceback (most recent call last):
        ...
        LookupError: nobody waits there
    """

    def __init__(self, randbelow: Callable[[int], int], limits: PlaceLimits | None = None) -> None:
        self._randbelow = randbelow
        self._limits = limits = limits or PlaceLimits()
        self._places: dict[int, _Place] = {}
        self._owners: dict[str, set[int]] = {}
        self._sources: dict[str, int] = {}
        self._opened = PaceTable(limits.opened_per_minute / MINUTE, limits.opened_per_minute / 2)
        self._visits = PaceTable(limits.visits_per_minute / MINUTE, limits.visits_per_minute / 2)
        self._all = Pace(limits.visits_per_second, limits.visits_per_second)

    def __len__(self) -> int:
        """Places that are open."""
        return len(self._places)

    def open(self, owner: str, number: int, *, now: float, source: str = "", wanted: int = 0) -> int | None:
        """Open a place, with a small random number, and return that; None where it is too much.

        Args:
            owner: Peer id of who waits there.
            number: What it calls it.
            now: Monotonic seconds.
            source: What counts as one source of its address.
            wanted: The number that the place is to have, unless it is taken; 0 for any.
        """
        self._expire(now)
        limits = self._limits
        if (
            len(self._places) >= limits.total
            or len(self._owners.get(owner, ())) >= limits.per_owner
            or self._sources.get(source, 0) >= limits.per_source
            or self._opened.wait(source, now=now) is None
        ):
            return None
        place = wanted if wanted and wanted not in self._places else self._free_number()
        self._places[place] = _Place(owner, number, source, now + limits.lifetime)
        self._owners.setdefault(owner, set()).add(place)
        self._sources[source] = self._sources.get(source, 0) + 1
        return place

    def _free_number(self) -> int:
        span = FIRST_SPAN
        while 2 * len(self._places) >= span - 1 and span < LAST_SPAN:  # so that half of them are free
            span *= 10
        place = 1 + self._randbelow(span - 1)
        while place in self._places:
            place = place % (span - 1) + 1
        return place

    def visit(self, place: int, visitor: str, *, now: float, source: str = "") -> str | None:
        """Use a place up, and return the peer id of who waits there.

        Args:
            place: Its number.
            visitor: Peer id of who comes.
            now: Monotonic seconds.
            source: What counts as one source of the visitor's address.

        Returns:
            The peer id; None where it is too much.

        Raises:
            LookupError: Nobody waits there. That counts as well.
        """
        self._expire(now)
        if wait_for_all(self._visits.of(source or visitor, now=now), self._all, now=now) is None:
            return None
        found = self._places.get(place)
        if found is None or found.owner == visitor:
            raise LookupError("nobody waits there")
        self._forget(place)
        return found.owner

    def close(self, owner: str, number: int) -> None:
        """Close a place of an owner's."""
        for place in [one for one in self._owners.get(owner, ()) if self._places[one].number == number]:
            self._forget(place)

    def left(self, owner: str) -> None:
        """Close every place of a peer that has left."""
        for place in list(self._owners.get(owner, ())):
            self._forget(place)

    def _expire(self, now: float) -> None:
        while self._places:
            place, oldest = next(iter(self._places.items()))
            if oldest.until > now:
                break
            self._forget(place)

    def _forget(self, place: int) -> None:
        gone = self._places.pop(place)
        owned = self._owners[gone.owner]
        owned.discard(place)
        if not owned:
            del self._owners[gone.owner]
        self._sources[gone.source] -= 1
        if not self._sources[gone.source]:
            del self._sources[gone.source]
