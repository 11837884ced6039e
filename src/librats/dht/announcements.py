"""When to announce which hashes in the DHT: each soon, again from time to time, and not too many at once."""

from __future__ import annotations

from msgspec import Struct

from librats.errors import UsageError

__all__ = ["Announcements"]

INTERVAL = 900.0
"""Seconds after which a hash is announced again: nodes keep an announcement for half an hour or more."""

RETRY = 5.0
"""Seconds after which one is announced again that nobody has taken; doubled each time, up to the interval."""

MOST = 512
AT_ONCE = 4
PER_SECOND = 2.0


class _Wanted(Struct):
    due: float
    failures: int = 0
    is_under_way: bool = False


class Announcements:
    """The hashes that one node announces for others, as a machine: it touches no network and no clock.

    Args:
        interval: Seconds after which a hash is announced again.
        most: Hashes at a time; further ones are not taken.
        at_once: Announcements that may be under way.
        per_second: Announcements that may begin in a second.

    Raises:
        UsageError: A number is not above 0.

    Example:
        >>> announcements = Announcements()
        >>> announcements.want(b"a" * 20, now=0.0)
        True
        >>> announcements.due(now=0.0), announcements.due(now=1.0)
        ([b'aaaaaaaaaaaaaaaaaaaa'], [])
        >>> announcements.done(b"a" * 20, now=1.0, worked=True)
        >>> announcements.next_timer()
        901.0
    """

    def __init__(
        self,
        *,
        interval: float = INTERVAL,
        most: int = MOST,
        at_once: int = AT_ONCE,
        per_second: float = PER_SECOND,
    ) -> None:
        if min(interval, most, at_once, per_second) <= 0:
            raise UsageError("numbers of announcements are above 0")
        self._interval = interval
        self._most = most
        self._at_once = at_once
        self._pause = 1 / per_second
        self._next = float("-inf")
        self._wanted: dict[bytes, _Wanted] = {}
        self._under_way = 0
        self.counters = dict.fromkeys(("announced", "failed", "refused"), 0)
        """What has happened so far; ``refused`` are hashes for which there was no place."""

    def __len__(self) -> int:
        """Return how many hashes are announced."""
        return len(self._wanted)

    def want(self, key: bytes, *, now: float) -> bool:
        """Announce a hash from now on; False where there is no place for it.

        Args:
            key: The hash.
            now: Seconds.
        """
        if key in self._wanted:
            return True
        if len(self._wanted) >= self._most:
            self.counters["refused"] += 1
            return False
        self._wanted[key] = _Wanted(now)
        return True

    def forget(self, key: bytes) -> None:
        """Announce a hash no more; of one that is not announced, nothing happens.

        Args:
            key: The hash.
        """
        one = self._wanted.pop(key, None)
        if one is not None and one.is_under_way:
            self._under_way -= 1

    def due(self, *, now: float) -> list[bytes]:
        """Return the hashes to announce now, those first that have waited longest; :meth:`done` ends each.

        Args:
            now: Seconds.
        """
        found: list[bytes] = []
        while self._under_way < self._at_once and self._next <= now:
            key = self._first()
            if key is None or self._wanted[key].due > now:
                break
            self._wanted[key].is_under_way = True
            self._under_way += 1
            self._next = max(self._next, now) + self._pause
            found.append(key)
        return found

    def _first(self) -> bytes | None:
        waiting = [key for key, one in self._wanted.items() if not one.is_under_way]
        return min(waiting, key=lambda key: self._wanted[key].due, default=None)

    def done(self, key: bytes, *, now: float, worked: bool) -> None:
        """Take what has come of an announcement; of a hash that was forgotten meanwhile, nothing happens.

        Args:
            key: The hash.
            now: Seconds.
            worked: Whether somebody has taken it.
        """
        one = self._wanted.get(key)
        if one is None or not one.is_under_way:
            return
        self._under_way -= 1
        one.is_under_way = False
        one.failures = 0 if worked else one.failures + 1
        self.counters["announced" if worked else "failed"] += 1
        pause = self._interval if worked else min(self._interval, RETRY * 2.0 ** min(one.failures - 1, 16))
        one.due = now + pause

    def next_timer(self) -> float | None:
        """Return when :meth:`due` has something, in seconds; None where that is not known yet."""
        key = self._first()
        if key is None or self._under_way >= self._at_once:
            return None
        return max(self._wanted[key].due, self._next)
