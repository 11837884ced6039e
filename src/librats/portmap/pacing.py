"""When requests to a gateway are sent again, and when mappings are renewed."""

from __future__ import annotations

from librats.types import Entropy

__all__ = [
    "LAST_LIFETIME",
    "NATPMP_TRIES",
    "SHORTEST_PAUSE",
    "PcpPace",
    "natpmp_delay",
    "refusal_pause",
    "renewal_delay",
    "usable_lifetime",
]

FIRST_DELAY = 3.0
MAX_DELAY = 1024.0
SPREAD = 0.1
NATPMP_FIRST_DELAY = 0.25
NATPMP_TRIES = 9
SHORTEST_PAUSE = 4.0
"""Seconds that two renewals of a mapping are apart at the least (RFC 6887, 11.2.1)."""

LAST_LIFETIME = 24 * 3600.0
"""Seconds beyond which no lifetime is believed (RFC 6887, 15)."""

SHORTEST_REFUSAL, LONGEST_REFUSAL = 30.0, 1800.0


class PcpPace:
    """The delays between the transmissions of a request (RFC 6887, 8.1.1): doubling, and never quite the same.

    Args:
        entropy: Where the difference comes from.
    """

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._last = 0.0

    def next_delay(self) -> float:
        """Return the seconds until the request is to be sent again."""
        chance = self._entropy.uniform(-SPREAD, SPREAD)
        self._last = (2 + chance) * self._last if self._last else (1 + chance) * FIRST_DELAY
        if self._last > MAX_DELAY:
            self._last = (1 + chance) * MAX_DELAY
        return self._last


def natpmp_delay(tries: int) -> float:
    """Return the seconds that an answer is waited for after so many transmissions (RFC 6886, 3.1)."""
    return float(NATPMP_FIRST_DELAY * 2 ** (tries - 1))


def renewal_delay(lifetime: float, attempts: int, entropy: Entropy) -> float:
    """Return when a mapping is to be renewed, in seconds since it was granted (RFC 6887, 11.2.1).

    The first time that is between a half and five eighths of its lifetime, then from three quarters on, and so on.

    Args:
        lifetime: Seconds that were granted.
        attempts: How often it was tried already.
        entropy: Decides when in that time.
    """
    left = 0.5 ** (attempts + 1)
    return lifetime * (1 - left + entropy.uniform(0.0, left / 4))


def usable_lifetime(seconds: float) -> float:
    """Return what is believed of the lifetime of a mapping."""
    return min(seconds, LAST_LIFETIME)


def refusal_pause(seconds: float) -> float:
    """Return how long nothing is asked after a refusal that is to last for so long."""
    return min(max(seconds, SHORTEST_REFUSAL), LONGEST_REFUSAL)
