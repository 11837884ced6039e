"""Times and limits of an ICE agent, with the values that the standards recommend."""

from __future__ import annotations

from msgspec import Struct

from librats.stun.transaction import Retransmission

__all__ = ["IceSettings"]


class IceSettings(Struct, frozen=True, kw_only=True):
    """Times in seconds, and limits, of a machine."""

    pace: float = 0.05
    """Between two checks that no packet of the peer's has called for (RFC 8445, 14.2: Ta). The first goes at once."""

    rto: float = 0.02
    """From a check to when it is sent again, where few pairs are checked: mostly the NAT at the other end has dropped
    it, because the peer has not sent anything yet, which it is about to do."""

    share: float = 5.0
    """How many checks a pace may be sent again, of all pairs together; where that is exceeded ``rto`` is longer
    (RFC 8445, 14.3)."""

    longest_rto: float = 0.15
    """The longest time between two, which double up to that, unless many pairs are checked."""

    persistence: float = 6.0
    """Seconds that a check is sent again for before its pair has failed."""

    tries: int = 18
    """How often it is sent at least, where many pairs are checked."""

    last_wait: float = 1.0
    """How long an answer to the last of them is waited for."""

    timeout: float = 30.0
    """From the first check until the agent has failed where no pair works."""

    patience: float = 10.0
    """From the first check until it may fail earlier, because every pair has failed and no other can come: the peer may
    yet send a check from an address that it did not know of (RFC 8863)."""

    direct_wait: float = 0.05
    """From the first direct pair that works until it is nominated, where a better one may work yet."""

    relay_wait: float = 0.5
    """The same, for a pair that goes through a relay. Both are 0 where the peer knows renomination."""

    upgrade_time: float = 30.0
    """How long better pairs are tried after a pair was nominated, where the peer knows renomination."""

    consent_interval: float = 5.0
    """Between two requests that renew consent, a fifth more or less (RFC 7675, 5.1)."""

    consent_doubt: float = 1.0
    """Until a request for consent that is not answered is followed by the next one, so that lost packets do not end a
    path that works."""

    consent_timeout: float = 30.0
    """From the last authenticated answer until nothing is sent to the peer any more (RFC 7675, 5.1)."""

    overlap: float = 10.0
    """How long the path from before a restart is answered on after there is a new one."""

    max_pairs: int = 100
    """Pairs that are checked; of more, the best (RFC 8445, 6.1.2.5)."""

    max_early: int = 16
    """Checks of a peer that are remembered while its candidates have not come yet."""

    max_learnt: int = 16
    """Addresses of the peer that are learnt from its checks."""

    max_names: int = 8
    """Names of the peer's that are being resolved at once."""

    def retransmission(self, checks: int) -> Retransmission:
        """Return when a check is sent again.

        Args:
            checks: How many pairs are being checked or wait for that.
        """
        rto = max(self.rto, self.pace * checks / self.share)
        longest = max(self.longest_rto, rto)
        tries = max(self.tries, int(self.persistence / longest))
        return Retransmission(rto=rto, rc=tries, rm=max(1.0, self.last_wait / rto), longest=longest)
