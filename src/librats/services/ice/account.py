"""What an ICE agent has tried, as attempts that everybody else tells of, too."""

from __future__ import annotations

from librats.ice.candidates import IceCandidate
from librats.ice.pairs import PairState, PairStatistics
from librats.ice.statistics import IceStatistics
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod

__all__ = ["attempts_of"]

MAX_TOLD = 32
"""Pairs that are told of."""

REASONS = {
    "no answer": AttemptReason.NO_ANSWER,
    "the peer answers no more": AttemptReason.NO_ANSWER,
    "the interface is gone": AttemptReason.UNREACHABLE,
}


def attempts_of(found: IceStatistics, seconds: float) -> list[ConnectionAttempt]:
    """Return an attempt for each pair, and for each address of the peer's that is not checked.

    Args:
        found: What the agent has seen.
        seconds: For how long it has looked.
    """
    selected = found.selected is not None
    attempts = [_attempt(pair, seconds, has_way=selected) for pair in found.pairs[:MAX_TOLD]]
    return attempts + [
        ConnectionAttempt(
            address=Address.parse(address),
            method=ConnectionMethod.UDP,
            duration=0.0,
            error=f"not tried: {reason}",
            reason=AttemptReason.ADDRESS_REFUSED,
        )
        for address, reason in found.refused.items()
    ]


def _attempt(pair: PairStatistics, seconds: float, *, has_way: bool) -> ConnectionAttempt:
    error, reason = _outcome(pair, has_way=has_way)
    direct = ConnectionMethod.TCP if pair.remote.transport == "tcp" else ConnectionMethod.UDP
    return ConnectionAttempt(
        address=pair.remote.address,
        method=ConnectionMethod.RELAY if pair.local.is_relayed else direct,
        duration=seconds,
        error=error,
        reason=reason,
        pair=(_told(pair.local), _told(pair.remote)),
    )


def _outcome(pair: PairStatistics, *, has_way: bool) -> tuple[str, AttemptReason | None]:
    if pair.selected:
        return "", None
    if pair.state is PairState.FAILED:
        return pair.problem or "it has failed", REASONS.get(pair.problem, AttemptReason.NO_PATH)
    if pair.state is PairState.SUCCEEDED:
        return "it works, and another one is better", AttemptReason.OVERTAKEN
    if has_way:
        return f"another way was quicker; it was {pair.state}", AttemptReason.OVERTAKEN
    return f"it was {pair.state}", AttemptReason.TIMEOUT


def _told(candidate: IceCandidate) -> str:
    return f"{candidate.type} {candidate.address}"
