"""What came of each round of hole punching, and how an application is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from librats.punch.plans import PunchPart, PunchReason, PunchTechnique
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod

__all__ = ["REASONS", "PunchAttempt", "failed_attempts"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchAttempt:
    """One round, as :attr:`HolePuncher.attempts` tells it."""

    round: int
    """Which one, from 1 on."""

    technique: PunchTechnique
    """How a way was to be made."""

    part: PunchPart
    """What this side has done."""

    duration: float
    """Seconds from the agreed start."""

    sent: int
    """Datagrams that this side has sent."""

    address: Address | None
    """The peer's end; None where it named none that may be sent to."""

    reason: PunchReason | None
    """Why it has failed; None where it worked."""


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
