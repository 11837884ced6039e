"""How an application is told what came of hole punching."""

from __future__ import annotations

from collections.abc import Iterable

from librats.punch.plans import PunchReason, PunchTechnique
from librats.services.punch.attempts import PunchAttempt
from librats.types import AttemptReason, ConnectionAttempt, ConnectionMethod

__all__ = ["REASONS", "failed_attempts"]

REASONS = {
    PunchReason.UDP_BLOCKED: AttemptReason.UDP_BLOCKED,
    PunchReason.UNPREDICTABLE: AttemptReason.NAT_INCOMPATIBLE,
    PunchReason.NO_ADDRESS: AttemptReason.NO_ADDRESS,
    PunchReason.REFUSED: AttemptReason.ADDRESS_REFUSED,
    PunchReason.PEER_SILENT: AttemptReason.NO_ANSWER,
    PunchReason.PEER_GAVE_UP: AttemptReason.PEER_REFUSED,
    PunchReason.NO_ANSWER: AttemptReason.NO_ANSWER,
    PunchReason.OUT_OF_BUDGET: AttemptReason.OUT_OF_BUDGET,
    PunchReason.NOT_NEEDED: AttemptReason.OVERTAKEN,
    PunchReason.LIMITED: AttemptReason.PEER_REFUSED,
}


def failed_attempts(attempts: Iterable[PunchAttempt]) -> list[ConnectionAttempt]:
    """Return the rounds that have failed as attempts to connect, as :class:`~librats.ConnectError` tells them."""
    return [
        ConnectionAttempt(
            address=attempt.address,
            method=ConnectionMethod.TCP if attempt.technique is PunchTechnique.TCP else ConnectionMethod.UDP,
            duration=attempt.duration,
            error=f"{attempt.technique}: {attempt.reason}",
            technique=attempt.technique,
            reason=REASONS[attempt.reason],
        )
        for attempt in attempts
        if attempt.address is not None and attempt.reason is not None
    ]
