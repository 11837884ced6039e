"""Which pair is used: regular nomination (RFC 8445, 8), and again for a better one where both sides know that."""

from __future__ import annotations

from librats.ice.check_list import CheckList
from librats.ice.pairs import CandidatePair
from librats.ice.settings import IceSettings

__all__ = ["Nomination"]


class Nomination:
    """What was nominated in a round, and what is to be.

    The best pair that works is nominated at once where no better one can be found to work any more, and after a short
    wait otherwise. Peers that know renomination move to better pairs later, so nothing is waited for.

    Args:
        settings: The waits.
    """

    def __init__(self, settings: IceSettings) -> None:
        self._settings = settings
        self.selected: CandidatePair | None = None
        """The pair that both sides have agreed on."""
        self.since: float | None = None
        """When they first did."""
        self.may_repeat = False
        """Whether the peer knows renomination."""
        self.number = 0
        """Of the last nomination, ours or the peer's."""
        self.pending: CandidatePair | None = None
        """The pair whose nomination is on its way."""

    def next_number(self) -> int | None:
        """Return the number of a nomination of ours; None where the peer does not know that."""
        self.number += 1
        return self.number if self.may_repeat else None

    def candidate(self, pairs: CheckList) -> CandidatePair | None:
        """Return the pair that this side, which controls, is to nominate next."""
        best = pairs.best_valid()
        if best is None or self.pending is not None or best is self.selected:
            return None
        if self.selected is None:
            return best
        return best if self.may_repeat and best.priority > self.selected.priority else None

    def due_at(self, pair: CandidatePair, pairs: CheckList) -> float:
        """Return when a pair is to be nominated."""
        assert pair.valid_since is not None  # noqa: S101 - it works
        if self.may_repeat or self.selected is not None or not pairs.better_open(pair):
            return pair.valid_since
        wait = self._settings.relay_wait if pair.is_relayed else self._settings.direct_wait
        return pair.valid_since + wait

    def accepts(self, pair: CandidatePair, number: int | None) -> bool:
        """Tell whether a nomination of the peer's, which controls, counts.

        Args:
            pair: What it nominates; it works.
            number: The nomination's, from a peer that knows renomination.
        """
        if number is not None and self.may_repeat:
            return number > self.number
        return self.selected is None or pair.priority > self.selected.priority

    def follows(self, pair: CandidatePair, *, now: float) -> bool:
        """Tell whether to use a pair that the peer, which controls, nominated once and goes on checking.

        It is used where no other is. And where the answers to a nomination are lost, the peer nominates another pair,
        which may count for less here than the first; then it checks the first no more.

        Args:
            pair: It works.
            now: Monotonic seconds.
        """
        if not pair.was_nominated or self.selected is pair:
            return False
        if self.selected is None:
            return True
        return not self.may_repeat and now - self.selected.checked_at >= self._settings.consent_timeout

    def select(self, pair: CandidatePair, number: int | None, *, now: float) -> None:
        """Use a pair from now on."""
        pair.nominated = True
        if number is not None:
            self.number = number
        self.selected = pair
        if self.since is None:
            self.since = now

    def drop(self, pair: CandidatePair) -> None:
        """Forget a pair that does not work any more."""
        if self.selected is pair:
            self.selected = None
        if self.pending is pair:
            self.pending = None

    def still_looks(self, now: float) -> bool:
        """Whether pairs are checked that may be better than the one in use."""
        if self.selected is None or self.since is None:
            return True
        return self.may_repeat and now < self.since + self._settings.upgrade_time
