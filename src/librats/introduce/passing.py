"""What an introducer does: it tells keys, passes letters on, and learns nothing but who talks to whom."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from librats.introduce.notices import MAX_NUMBER, Notice, Op, Refusal
from librats.introduce.places import Places
from librats.session.pace import Pace, PaceTable, wait_for_all

__all__ = ["Passing", "PassingLimits"]

MINUTE = 60.0

To = tuple[str, Notice]
"""Whom to tell, by peer id, and what."""

KeyOf = Callable[[str], bytes | None]
"""Returns the X25519 key of a peer that is connected and may be introduced; None for anybody else."""


class PassingLimits(Struct, frozen=True, kw_only=True):
    """What an introducer bears."""

    asks_per_minute: float = 60.0
    """Keys that one caller may ask for."""

    offers_per_minute: float = 30.0
    """Offers that one caller may send."""

    offers_per_source: float = 300.0
    """Asks and offers a minute from one IPv4 address, or one IPv6 network of /64: identities cost nothing."""

    offers_per_target: float = 60.0
    """Offers a minute that are passed to one peer, of all callers together."""

    asks_per_second: float = 500.0
    """Asks and offers of all callers together."""

    further: int = 64
    """Further letters of each side in one introduction."""

    under_way: int = 16
    """Introductions of one caller that may be under way."""

    total_under_way: int = 4096
    """The same, of all callers together."""

    lifetime: float = 60.0
    """Seconds after which an introduction is over."""


class _Introduction(Struct):
    caller: str
    number: int
    """The caller's."""

    target: str
    passed: int
    """The number under which the target knows it."""

    until: float
    is_answered: bool = False
    is_carried: bool = False
    from_caller: int = 0
    from_target: int = 0


class Passing:
    """One introducer, without any input or output of its own.

    Args:
        key_of: The key of a peer that can be introduced.
        limits: What it bears.
        first: The number of the first offer that is passed on.
        places: Where peers meet who know a number; None where there are none.

    Example:
        >>> passing = Passing(lambda peer_id: bytes(32))
        >>> [(to, notice)] = passing.take("ann", Notice(Op.ASK, 1, peer=b"b" * 32), now=0.0)
        >>> to, notice.op.name
        ('ann', 'KEY')
    """

    def __init__(
        self, key_of: KeyOf, limits: PassingLimits | None = None, *, first: int = 1, places: Places | None = None
    ) -> None:
        self._key_of = key_of
        self._places = places
        self._limits = limits = limits or PassingLimits()
        self._asks = PaceTable(limits.asks_per_minute / MINUTE, limits.asks_per_minute / 2)
        self._offers = PaceTable(limits.offers_per_minute / MINUTE, limits.offers_per_minute / 2)
        self._sources = PaceTable(limits.offers_per_source / MINUTE, limits.offers_per_source / 2)
        self._targets = PaceTable(limits.offers_per_target / MINUTE, limits.offers_per_target / 2)
        self._all = Pace(limits.asks_per_second, limits.asks_per_second)
        self._by_caller: dict[tuple[str, int], _Introduction] = {}
        self._by_target: dict[tuple[str, int], _Introduction] = {}
        self._under_way: dict[str, int] = {}
        self._next = first
        self.counters = dict.fromkeys(
            (
                "keys_told",
                "offers_passed",
                "answers_passed",
                "further_passed",
                "places_opened",
                "visits_passed",
                "unknown_peers",
                "limited",
                "unexpected",
            ),
            0,
        )
        """What has happened so far."""

    def __len__(self) -> int:
        """Introductions under way."""
        return len(self._by_caller)

    def carriage(self, caller: str, number: int) -> tuple[str, int] | None:
        """Return to whom an offer was passed, and under which number there, so that a session is carried for it: once.

        None where it was not passed, or is over, or was asked for before.
        """
        made = self._by_caller.get((caller, number))
        if made is None or made.is_carried:
            return None
        made.is_carried = True
        return made.target, made.passed

    def take(self, sender: str, notice: Notice, *, now: float, source: str = "") -> list[To]:
        """Take what a peer says.

        Args:
            sender: The peer's id.
            notice: What it says.
            now: Monotonic seconds.
            source: What counts as one source of its address.

        Returns:
            What is to be told to whom.
        """
        self._expire(now)
        match notice.op:
            case Op.ASK:
                return self._ask(sender, notice, now, source)
            case Op.OFFER:
                return self._offer(sender, notice, now, source)
            case Op.ADD:
                return self._add(sender, notice)
            case Op.OPEN_PLACE | Op.CLOSE_PLACE | Op.VISIT:
                return self._at_places(sender, notice, now, source)
            case Op.ANSWER | Op.MORE | Op.DECLINE:
                return self._from_target(sender, notice)
        self.counters["unexpected"] += 1
        return []

    def _within(self, source: str, now: float, *paces: Pace) -> bool:
        """Tell whether one more is within some limits, and those of its source and of all."""
        of_source = (self._sources.of(source, now=now),) if source else ()
        within = wait_for_all(*paces, *of_source, self._all, now=now) is not None
        self.counters["limited"] += not within
        return within

    def _ask(self, sender: str, notice: Notice, now: float, source: str) -> list[To]:
        if not self._within(source, now, self._asks.of(sender, now=now)):
            return [_refused(sender, notice.number, Refusal.LIMIT, "too many keys were asked for")]
        key = self._key_of(notice.peer.hex())
        if key is None:
            return [self._unknown(sender, notice.number)]
        self.counters["keys_told"] += 1
        return [(sender, Notice(Op.KEY, notice.number, peer=key))]

    def _unknown(self, sender: str, number: int) -> To:
        self.counters["unknown_peers"] += 1
        return _refused(sender, number, Refusal.UNKNOWN_PEER, "no peer of that id is here to be introduced")

    def _offer(self, sender: str, notice: Notice, now: float, source: str) -> list[To]:
        target = notice.peer.hex()
        limits = self._limits
        if (sender, notice.number) in self._by_caller:
            self.counters["unexpected"] += 1
            return []
        if target == sender or self._key_of(target) is None:
            return [self._unknown(sender, notice.number)]
        crowded = self._under_way.get(sender, 0) >= limits.under_way or len(self) >= limits.total_under_way
        to_target = self._targets.of(target, now=now)
        if crowded or not self._within(source, now, self._offers.of(sender, now=now), to_target):
            self.counters["limited"] += crowded
            whose = "of the caller's" if crowded or not to_target.delay(now=now) else "to that peer"
            return [_refused(sender, notice.number, Refusal.LIMIT, f"too many introductions {whose}")]
        made = self._begin(sender, notice.number, target, now)
        self.counters["offers_passed"] += 1
        return [(target, Notice(Op.PASSED, made.passed, peer=bytes.fromhex(sender), letter=notice.letter))]

    def _begin(self, sender: str, number: int, target: str, now: float) -> _Introduction:
        made = _Introduction(sender, number, target, self._next, now + self._limits.lifetime)
        self._next = self._next % MAX_NUMBER + 1
        self._by_caller[sender, made.number] = made
        self._by_target[target, made.passed] = made
        self._under_way[sender] = self._under_way.get(sender, 0) + 1
        return made

    def _at_places(self, sender: str, notice: Notice, now: float, source: str) -> list[To]:
        """Take what is said of places where two meet who know a number."""
        if self._places is None:
            return [_refused(sender, notice.number, Refusal.NOT_ALLOWED, "that node has no places to meet")]
        if notice.op is Op.CLOSE_PLACE:
            self._places.close(sender, notice.number)
            return []
        if notice.op is Op.OPEN_PLACE:
            # Only what this side says to itself has a number in it.
            place = self._places.open(sender, notice.number, now=now, source=source, wanted=notice.place)
            if place is None:
                self.counters["limited"] += 1
                return [_refused(sender, notice.number, Refusal.LIMIT, "too many places to meet")]
            self.counters["places_opened"] += 1
            return [(sender, Notice(Op.PLACE, notice.number, place=place))]
        return self._visit(self._places, sender, notice, now, source)

    def _visit(self, places: Places, sender: str, notice: Notice, now: float, source: str) -> list[To]:
        if (sender, notice.number) in self._by_caller:
            self.counters["unexpected"] += 1
            return []
        crowded = self._under_way.get(sender, 0) >= self._limits.under_way or len(self) >= self._limits.total_under_way
        try:
            owner = None if crowded else places.visit(notice.place, sender, now=now, source=source)
        except LookupError:
            return [_refused(sender, notice.number, Refusal.UNKNOWN_PLACE, "nobody waits under that number")]
        if owner is None:
            self.counters["limited"] += 1
            return [_refused(sender, notice.number, Refusal.LIMIT, "too many visits")]
        made = self._begin(sender, notice.number, owner, now)
        self.counters["visits_passed"] += 1
        return [(owner, Notice(Op.VISITED, made.passed, place=notice.place, letter=notice.letter))]

    def _add(self, sender: str, notice: Notice) -> list[To]:
        made = self._by_caller.get((sender, notice.number))
        if made is None or made.from_caller >= self._limits.further:
            self.counters["unexpected"] += 1
            return []
        made.from_caller += 1
        self.counters["further_passed"] += 1
        return [(made.target, Notice(Op.PASSED_ADD, made.passed, letter=notice.letter))]

    def _from_target(self, sender: str, notice: Notice) -> list[To]:
        made = self._by_target.get((sender, notice.number))
        if made is None or made.is_answered != (notice.op is Op.MORE) or made.from_target >= self._limits.further:
            self.counters["unexpected"] += 1
            return []
        if notice.op is Op.DECLINE:
            self._forget(made)
            return [(made.caller, Notice(Op.REFUSED, made.number, code=notice.code, words=notice.words))]
        if notice.op is Op.ANSWER:
            made.is_answered = True
            self.counters["answers_passed"] += 1
            return [(made.caller, Notice(Op.ANSWERED, made.number, letter=notice.letter))]
        made.from_target += 1
        self.counters["further_passed"] += 1
        return [(made.caller, Notice(Op.ADDED, made.number, letter=notice.letter))]

    def left(self, peer_id: str) -> list[To]:
        """Take that the session with a peer has ended.

        Returns:
            What is to be told to those who wait for its answers.
        """
        if self._places is not None:
            self._places.left(peer_id)
        told = []
        for made in list(self._by_caller.values()):
            if peer_id in (made.caller, made.target):
                self._forget(made)
                if made.target == peer_id and not made.is_answered:
                    told.append(_refused(made.caller, made.number, Refusal.GONE, "the peer has left"))
        return told

    def _expire(self, now: float) -> None:
        while self._by_caller:
            oldest = next(iter(self._by_caller.values()))
            if oldest.until > now:
                break
            self._forget(oldest)

    def _forget(self, made: _Introduction) -> None:
        del self._by_caller[made.caller, made.number]
        del self._by_target[made.target, made.passed]
        self._under_way[made.caller] -= 1
        if not self._under_way[made.caller]:
            del self._under_way[made.caller]


def _refused(caller: str, number: int, code: Refusal, words: str) -> To:
    return caller, Notice(Op.REFUSED, number, code=code, words=words)
