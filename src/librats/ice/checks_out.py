"""The checks of one round that are on their way: when each is sent again, and when it is given up."""

from __future__ import annotations

from msgspec import Struct

from librats.ice.messages import CheckRequest
from librats.ice.pairs import CandidatePair
from librats.ice.settings import IceSettings
from librats.stun.transaction import Retransmission, Transaction

__all__ = ["Check", "ChecksOut"]

JUST_SENT = 0.02
"""A check that was sent less than this many seconds ago is not sent again because the peer's has come."""


class Check(Struct):
    """A check on its way."""

    pair: CandidatePair
    """What it checks."""

    request: CheckRequest
    """What it says."""

    datagram: bytes
    """The same, as it is sent."""

    clock: Transaction
    """When it is sent."""

    last_sent: float
    """When it was sent last."""


class ChecksOut:
    """Checks on their way, at most one for each pair.

    Args:
        settings: Their times.
    """

    def __init__(self, settings: IceSettings) -> None:
        self._settings = settings
        self._checks: dict[bytes, Check] = {}

    def __contains__(self, transaction_id: object) -> bool:
        """Tell whether a check waits for an answer of that id."""
        return transaction_id in self._checks

    def add(self, pair: CandidatePair, request: CheckRequest, datagram: bytes, *, load: int, now: float) -> Check:
        """Take a check that is sent now.

        Args:
            pair: What it checks.
            request: What it says.
            datagram: The same, as it is sent.
            load: How many pairs are being checked or wait for that.
            now: Monotonic seconds.
        """
        self.cancel(pair)
        check = Check(pair, request, datagram, self._clock(pair, load, now), now)
        check.clock.is_due(now)
        pair.transaction = request.transaction_id
        self._checks[request.transaction_id] = check
        return check

    def _clock(self, pair: CandidatePair, load: int, now: float) -> Transaction:
        pace = self._settings.retransmission(load)
        if pair.base.candidate.tcp_type is not None:
            pace = Retransmission(rto=pace.duration, rc=1, rm=1)  # a connection loses nothing
        return Transaction(pace, now=now)

    def again(self, pair: CandidatePair, *, load: int, now: float) -> None:
        """Send the check of a pair again: the peer's has opened the way for it."""
        check = self._checks.get(pair.transaction or b"")
        if check is not None and now - check.last_sent > JUST_SENT:
            check.clock = self._clock(pair, load, now)

    def answered(self, transaction_id: bytes) -> Check:
        """Take a check whose answer has come."""
        check = self._checks.pop(transaction_id)
        check.pair.transaction = None
        return check

    def cancel(self, pair: CandidatePair) -> None:
        """Wait for the answer to a pair's check no longer."""
        if pair.transaction is not None:
            self._checks.pop(pair.transaction, None)
            pair.transaction = None

    def due(self, now: float) -> tuple[list[Check], list[Check]]:
        """Return the checks that are to be sent now, and those that are given up."""
        over = [check for check in self._checks.values() if check.clock.is_over(now)]
        due = [check for check in self._checks.values() if check.clock.is_due(now)]
        for check in due:
            check.last_sent = now
        return due, over

    @property
    def times(self) -> list[float]:
        """When there is something to do."""
        return [check.clock.next_timer for check in self._checks.values()]
