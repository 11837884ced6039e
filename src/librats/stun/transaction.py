"""One request over UDP, sent again until it is answered or given up (RFC 8489, 6.2.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

from librats.errors import UsageError

__all__ = ["Retransmission", "Transaction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retransmission:
    """When a request that is not answered is sent again: at intervals that double.

    Example:
        >>> Retransmission().duration
        39.5
        >>> Retransmission(rto=0.1, rc=3, rm=4).sending_times
        (0.0, 0.1, 0.30000000000000004)
    """

    rto: float = 0.5
    """Seconds between the first time and the second one."""

    rc: int = 7
    """How many times it is sent at the most."""

    rm: float = 16
    """How many times ``rto`` an answer to the last of them is waited for."""

    longest: float = math.inf
    """Seconds that intervals double up to."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: One of them makes no sense.
        """
        if not (self.rto > 0 and self.rc >= 1 and self.rm > 0 and self.longest >= self.rto):
            raise UsageError(f"retransmission needs values above 0, the longest not below the first, not {self!r}")

    @property
    def sending_times(self) -> tuple[float, ...]:
        """Seconds after the beginning at which the request is sent."""
        intervals = (min(self.rto * 2**n, self.longest) for n in range(self.rc - 1))
        return tuple(accumulate(intervals, initial=0.0))

    @property
    def duration(self) -> float:
        """Seconds after which the request is given up."""
        return self.sending_times[-1] + self.rm * self.rto


class Transaction:
    """The clock of one request: tells when to send it, and when to give it up.

    Args:
        pace: When to send it again.
        now: When it begins.
    """

    def __init__(self, pace: Retransmission, *, now: float) -> None:
        self._rc = pace.rc
        self._interval = pace.rto
        self._longest = pace.longest
        self._patience = pace.rm * pace.rto
        self._next = now
        self.sent = 0
        """How many times it was sent."""
        self.first_sent = now
        """When it was sent first."""

    @property
    def next_timer(self) -> float:
        """When there is something to do: to send, or to give up."""
        return self._next

    def is_over(self, now: float) -> bool:
        """Whether the last answer that counts is overdue."""
        return self.sent >= self._rc and now >= self._next

    def is_due(self, now: float) -> bool:
        """Whether the request is to be sent now; the caller does so, and this counts it."""
        if self.sent >= self._rc or now < self._next:
            return False
        if self.sent == 0:
            self.first_sent = now
        self.sent += 1
        # From now on, not from when it was due: a loop that was held up must not send twice in a row.
        if self.sent == self._rc:
            self._next = now + self._patience
        else:
            self._next = now + self._interval
            self._interval = min(2 * self._interval, self._longest)
        return True

    def rtt(self, now: float) -> float | None:
        """Seconds until the answer that comes now; None where it may answer any of several requests."""
        return now - self.first_sent if self.sent == 1 else None
