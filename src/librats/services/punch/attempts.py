"""What came of each round of hole punching."""

from __future__ import annotations

from dataclasses import dataclass

from librats.punch.plans import PunchPart, PunchReason, PunchTechnique
from librats.types import Address

__all__ = ["PunchAttempt"]


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
