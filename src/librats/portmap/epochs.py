"""Whether a gateway has lost its mappings, told by the seconds that it counts since it has lost them last."""

from __future__ import annotations

__all__ = ["GatewayClock"]

TOLERANCE = 2.0
BACKWARDS = 1.0


class GatewayClock:
    """What the gateway's count of seconds was, and when."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def forget(self) -> None:
        """Begin anew, as with another gateway."""
        self._last = None

    def is_steady_pcp(self, epoch: int, now: float) -> bool:
        """Take the count of a PCP answer; return False where the gateway has lost its state (RFC 6887, 8.5)."""
        last, self._last = self._last, (epoch, now)
        if last is None:
            return True
        there, here = epoch - last[0], now - last[1]
        if there < -BACKWARDS:
            return False
        return here + TOLERANCE >= there - there / 16 and there + TOLERANCE >= here - here / 16

    def is_steady_natpmp(self, epoch: int, now: float) -> bool:
        """Take the count of a NAT-PMP answer; return False where the gateway has lost its state (RFC 6886, 3.6)."""
        last, self._last = self._last, (epoch, now)
        if last is None:
            return True
        return epoch >= last[0] + (now - last[1]) * 7 / 8 - TOLERANCE
