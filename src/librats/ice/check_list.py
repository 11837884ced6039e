"""The pairs that are checked, and in which order (RFC 8445, 6.1.2 and 6.1.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from librats.ice.candidates import comparable
from librats.ice.events import IceRole
from librats.ice.pairs import CandidatePair, PairState
from librats.types import Address

__all__ = ["CheckList"]


class CheckList:
    """Pairs of one round, at most a stated number of them.

    Args:
        limit: Pairs; of more, those of the least priority are left out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pairs: dict[tuple[int, Address], CandidatePair] = {}
        self._triggered: deque[CandidatePair] = deque()
        self.left_out = 0
        """Pairs that there was no room for."""

    def __len__(self) -> int:
        """Pairs that there are."""
        return len(self._pairs)

    def __iter__(self) -> Iterator[CandidatePair]:
        """Go through the pairs, best first."""
        return iter(sorted(self._pairs.values(), key=lambda pair: -pair.priority))

    def find(self, base: int, address: Address) -> CandidatePair | None:
        """Return the pair of a base and an address of the peer's."""
        return self._pairs.get((base, comparable(address)))

    def add(self, pair: CandidatePair, *, role: IceRole) -> bool:
        """Add a pair, and decide whether it has to wait for another one (RFC 8445, 6.1.2.6; RFC 8838, 12).

        Returns:
            False where it is there already, or where there is no room for one that good.
        """
        if pair.key in self._pairs:
            return False
        pair.prioritise(role)
        if len(self._pairs) >= self._limit and not self._make_room(pair):
            self.left_out += 1
            return False
        pair.state = PairState.WAITING
        mates = [mate for mate in self._pairs.values() if mate.foundation == pair.foundation]
        if not any(mate.is_valid for mate in mates):
            for mate in mates:
                if mate.state is PairState.IN_PROGRESS:
                    pair.state = PairState.FROZEN
                elif mate.state is PairState.WAITING:
                    worse = mate if mate.priority < pair.priority else pair
                    worse.state = PairState.FROZEN
        self._pairs[pair.key] = pair
        return True

    def _make_room(self, pair: CandidatePair) -> bool:
        spare = [each for each in self._pairs.values() if not each.is_valid and each.transaction is None]
        worst = min(spare, key=lambda each: (each.state is not PairState.FAILED, each.priority), default=None)
        if worst is None or (worst.state is not PairState.FAILED and worst.priority >= pair.priority):
            return False
        self.remove(worst)
        self.left_out += 1
        return True

    def remove(self, pair: CandidatePair) -> None:
        """Forget a pair."""
        self._pairs.pop(pair.key, None)
        self._forget_trigger(pair)

    def _forget_trigger(self, pair: CandidatePair) -> None:
        if pair in self._triggered:
            self._triggered.remove(pair)

    def prioritise(self, role: IceRole) -> None:
        """Compute every priority again, for the role has changed."""
        for pair in self._pairs.values():
            pair.prioritise(role)

    def trigger(self, pair: CandidatePair) -> None:
        """Check a pair before all others, for the peer has."""
        pair.state = PairState.WAITING
        if pair not in self._triggered:
            self._triggered.append(pair)

    def next_triggered(self) -> CandidatePair | None:
        """Take the pair that is to be checked because of the peer."""
        while self._triggered:
            pair = self._triggered.popleft()
            if pair.state is PairState.WAITING:
                return pair
        return None

    def next_ordinary(self, better_than: int = -1) -> CandidatePair | None:
        """Return the best pair that waits; where none does, one that was frozen (RFC 8445, 6.1.4.2).

        Args:
            better_than: Priority that it has to be above.
        """
        waiting = [pair for pair in self._pairs.values() if pair.state is PairState.WAITING]
        if not waiting:
            busy = {pair.foundation for pair in self._pairs.values() if pair.state is PairState.IN_PROGRESS}
            for pair in self:
                if pair.state is PairState.FROZEN and pair.foundation not in busy:
                    busy.add(pair.foundation)
                    pair.state = PairState.WAITING
                    waiting.append(pair)
        better = [pair for pair in waiting if pair.priority > better_than]
        return max(better, key=lambda pair: (not pair.is_unlikely, pair.priority), default=None)

    def thaw(self, foundation: str) -> None:
        """Let the pairs wait no longer that are like one which works (RFC 8445, 7.2.5.3.3)."""
        for pair in self._pairs.values():
            if pair.state is PairState.FROZEN and pair.foundation == foundation:
                pair.state = PairState.WAITING

    @property
    def being_checked(self) -> int:
        """Pairs that wait, or whose check is on its way."""
        return sum(pair.state in (PairState.WAITING, PairState.IN_PROGRESS) for pair in self._pairs.values())

    @property
    def all_failed(self) -> bool:
        """Whether no pair may work any more; True where there is none."""
        return all(pair.state is PairState.FAILED for pair in self._pairs.values())

    def best_valid(self) -> CandidatePair | None:
        """Return the best pair that works."""
        return max((pair for pair in self._pairs.values() if pair.is_valid), key=lambda p: p.priority, default=None)

    def better_open(self, than: CandidatePair) -> list[CandidatePair]:
        """Return the pairs that are better than one, and may yet be found to work."""
        return [pair for pair in self._pairs.values() if pair.priority > than.priority and pair.is_open]
