"""What an introducer does that carries sessions: it passes their bytes between the two, within limits, and holds none.

A side sends only what it was told that it may, and it is the introducer that tells: what one side lets the other send
goes through it, and it passes that on no sooner than its rates allow. So whoever reads slowly, or sends fast, fills the
buffers of the two ends alone.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec import field as struct_field

from librats.config import CarryLimits
from librats.errors import DecodeError
from librats.introduce.notices import Notice, Op
from librats.introduce.parcels import FIRST_CREDIT, WINDOW, CarryEnd, Parcel, ParcelKind

__all__ = ["CARRIER_OPS", "Carrying"]

CARRIER_OPS = frozenset({Op.CARRY, Op.CARRY_BACK})
"""What is said to one who carries."""

PORTION = 4096
"""Bytes that a side is at the least allowed at once, unless the other one lets it send fewer."""

TICK = 0.05
"""Seconds between looks at what the rates allow by now."""

MOST_OWED = 4 * WINDOW
"""Bytes that one side can let the other send, beyond which that is not heard."""

To = tuple[str, Notice]


class _Allowance:
    """How many bytes a rate allows: what was not used is kept up to a bound."""

    __slots__ = ("_at", "_most", "_rate", "level")

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate, self._most, self._at = rate, most, now
        self.level = most

    def look(self, now: float) -> None:
        """Take that time has passed."""
        self.level = min(self._most, self.level + (now - self._at) * self._rate)
        self._at = now


class _Path(Struct, eq=False):
    """One session that is carried; of each pair the first belongs to what the caller sends."""

    caller: str
    number: int
    target: str
    passed: int
    until: float
    allowance: _Allowance
    carried: int = 0
    allowed: list[int] = struct_field(default_factory=lambda: [FIRST_CREDIT, FIRST_CREDIT])
    owed: list[int] = struct_field(default_factory=lambda: [0, 0])

    def to(self, is_caller: bool, parcel: Parcel) -> To:
        """Return what tells one of the two sides something."""
        if is_caller:
            return self.caller, Notice(Op.CARRIED_BACK, self.number, letter=parcel.encode())
        return self.target, Notice(Op.CARRIED, self.passed, letter=parcel.encode())


class Carrying:
    """One introducer's carrying, without any input or output of its own.

    Args:
        introduced: Tells to whom, and under which number there, an offer was passed: of a caller, by its number; None
            where there was none, or it was asked for before.
        takes: Tells whether the peer with an id takes carried sessions.
        limits: What it carries.
    """

    def __init__(
        self,
        introduced: Callable[[str, int], tuple[str, int] | None],
        takes: Callable[[str], bool],
        limits: CarryLimits | None = None,
    ) -> None:
        self._introduced = introduced
        self._takes = takes
        self.limits = limits or CarryLimits()
        """What it carries."""
        self._by_caller: dict[tuple[str, int], _Path] = {}
        self._by_target: dict[tuple[str, int], _Path] = {}
        self._callers: dict[str, int] = {}
        self._owing: dict[_Path, None] = {}
        self._total: _Allowance | None = None
        self._looks_at = 0.0
        self.counters = dict.fromkeys(
            (
                *("carried", "carried_bytes", "closed", "not_carried", "held_back", "strays"),
                *(end.value for end in (CarryEnd.BYTES, CarryEnd.TIME, CarryEnd.CROWDED)),
                *(end.value for end in (CarryEnd.SLOW, CarryEnd.OVERRUN)),
            ),
            0,
        )
        """What has happened so far: of the limits, how often each has ended a session, or kept one from beginning;
        ``held_back`` tells how often a rate has made a side wait."""

    def __len__(self) -> int:
        """Sessions that are carried now."""
        return len(self._by_caller)

    def take(self, sender: str, notice: Notice, *, now: float) -> list[To]:
        """Take what a peer says.

        Args:
            sender: The peer's id.
            notice: What it says, of the operations :data:`CARRIER_OPS`.
            now: Monotonic seconds.

        Returns:
            What is to be told to whom.
        """
        is_caller = notice.op is Op.CARRY
        path = (self._by_caller if is_caller else self._by_target).get((sender, notice.number))
        try:
            parcel = Parcel.decode(notice.letter)
        except DecodeError:
            self.counters["strays"] += 1
            return []
        if path is None:
            if not is_caller or parcel.kind is not ParcelKind.DATA:
                self.counters["strays"] += 1
                return []
            begun = self._begin(sender, notice.number, now)
            if not isinstance(begun, _Path):
                return begun
            path = begun
        match parcel.kind:
            case ParcelKind.DATA:
                return self._pass(path, is_caller, parcel, now)
            case ParcelKind.CREDIT:
                return self._let(path, is_caller, parcel.credit, now)
        self._forget(path)
        self.counters["closed"] += 1
        return [path.to(not is_caller, Parcel(ParcelKind.END, code=CarryEnd.CLOSED))]

    def _begin(self, caller: str, number: int, now: float) -> _Path | list[To]:
        limits, found = self.limits, self._introduced(caller, number)
        if found is None:  # what was on its way when a session had ended, for example
            self.counters["strays"] += 1
            return []
        if not self._takes(found[0]):
            self.counters["not_carried"] += 1
            return _end(caller, number, CarryEnd.NOT_CARRIED, "the peer takes no sessions that are carried")
        if len(self) >= limits.at_once or self._callers.get(caller, 0) >= limits.at_once_per_caller:
            self.counters[CarryEnd.CROWDED] += 1
            return _end(caller, number, CarryEnd.CROWDED, self._words(CarryEnd.CROWDED))
        if self._total is None:
            self._total = _Allowance(limits.total_rate, max(limits.total_rate, WINDOW), now)
        path = _Path(caller, number, *found, now + limits.seconds, _Allowance(limits.rate, WINDOW, now))
        self._by_caller[caller, number] = path
        self._by_target[path.target, path.passed] = path
        self._callers[caller] = self._callers.get(caller, 0) + 1
        self.counters["carried"] += 1
        return path

    def _pass(self, path: _Path, is_caller: bool, parcel: Parcel, now: float) -> list[To]:
        size, side = len(parcel.data), 0 if is_caller else 1
        if now >= path.until:
            return self._end_both(path, CarryEnd.TIME)
        path.allowed[side] -= size
        if path.allowed[side] < 0:
            return self._end_both(path, CarryEnd.OVERRUN)
        if path.carried + size > self.limits.bytes:
            return self._end_both(path, CarryEnd.BYTES)
        path.carried += size
        self.counters["carried_bytes"] += size
        return [path.to(not is_caller, parcel)]

    def _let(self, path: _Path, is_caller: bool, credit: int, now: float) -> list[To]:
        """Take that one side lets the other send."""
        side = 1 if is_caller else 0
        path.owed[side] = min(MOST_OWED, path.owed[side] + credit)
        if path not in self._owing:
            self._looks_at = now + TICK if not self._owing else self._looks_at
            self._owing[path] = None
        told = self._allow(path, now)
        self.counters["held_back"] += path in self._owing
        return told

    def _allow(self, path: _Path, now: float) -> list[To]:
        """Tell the sides of a path that they may send, as far as the rates have it."""
        total, own, told = self._total, path.allowance, []
        if total is None:
            return []
        total.look(now)
        own.look(now)
        for side in (0, 1):
            wanted = path.owed[side]
            size = int(min(wanted, own.level, total.level))
            if wanted and size >= min(wanted, PORTION):
                own.level -= size
                total.level -= size
                path.owed[side] -= size
                path.allowed[side] += size
                told.append(path.to(side == 0, Parcel(ParcelKind.CREDIT, credit=size)))
        if not any(path.owed):
            self._owing.pop(path, None)
        return told

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is to be called, in monotonic seconds; None for never."""
        if not self._by_caller:
            return None
        until = next(iter(self._by_caller.values())).until
        return min(until, self._looks_at) if self._owing else until

    def handle_timer(self, *, now: float) -> list[To]:
        """Take that time has passed.

        Returns:
            What is to be told to whom.
        """
        told: list[To] = []
        while self._by_caller and (first := next(iter(self._by_caller.values()))).until <= now:
            told += self._end_both(first, CarryEnd.TIME)
        if self._owing and self._looks_at <= now:
            self._looks_at = now + TICK
            for path in list(self._owing):
                allowed = self._allow(path, now)
                if allowed and path in self._owing:  # the others are first the next time
                    self._owing[path] = self._owing.pop(path)
                told += allowed
        return told

    def stuck(self, peer_id: str, notice: Notice) -> list[To]:
        """Take that something could not be told to a peer, who does not read, or is gone.

        Args:
            peer_id: The peer's id.
            notice: What it was to be told.
        """
        by = self._by_caller if notice.op is Op.CARRIED_BACK else self._by_target
        path = by.get((peer_id, notice.number))
        return [] if path is None else self._end_both(path, CarryEnd.SLOW)

    def left(self, peer_id: str) -> list[To]:
        """Take that the session with a peer has ended.

        Returns:
            What is to be told to the other sides of those that were carried for it.
        """
        told = []
        for path in [each for each in self._by_caller.values() if peer_id in (each.caller, each.target)]:
            self._forget(path)
            words = "the session between the introducer and the peer has ended"
            told.append(path.to(path.target == peer_id, Parcel(ParcelKind.END, code=CarryEnd.GONE, words=words)))
        return told

    def _end_both(self, path: _Path, end: CarryEnd) -> list[To]:
        self.counters[end] += 1
        self._forget(path)
        parcel = Parcel(ParcelKind.END, code=end, words=self._words(end))
        return [path.to(is_caller, parcel) for is_caller in (True, False)]

    def _words(self, end: CarryEnd) -> str:
        limits = self.limits
        match end:
            case CarryEnd.BYTES:
                return f"the introducer carries {limits.bytes} bytes of a session"
            case CarryEnd.TIME:
                return f"the introducer carries a session for {limits.seconds:g} s"
            case CarryEnd.CROWDED:
                return (
                    f"the introducer carries {limits.at_once_per_caller} sessions of a caller, {limits.at_once} in all"
                )
            case CarryEnd.SLOW:
                return "a side does not take what the introducer has for it"
        return "a side has sent more through the introducer than it was let"

    def _forget(self, path: _Path) -> None:
        del self._by_caller[path.caller, path.number]
        del self._by_target[path.target, path.passed]
        self._owing.pop(path, None)
        self._callers[path.caller] -= 1
        if not self._callers[path.caller]:
            del self._callers[path.caller]


def _end(caller: str, number: int, end: CarryEnd, words: str) -> list[To]:
    return [(caller, Notice(Op.CARRIED_BACK, number, letter=Parcel(ParcelKind.END, code=end, words=words).encode()))]
