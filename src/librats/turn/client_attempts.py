"""When to try again for an allocation, and how often."""

from __future__ import annotations

from librats.types import Entropy

__all__ = ["Attempts"]

MAX_FRESH_PORTS = 3
FIRST_DELAY = 0.5
MAX_DELAY = 30.0
STABLE_TIME = 5.0


class Attempts:
    """The attempts at an allocation since the last one that lasted.

    Args:
        entropy: Spreads the delays of many clients of one server.
    """

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._failed = 0
        self._fresh_ports = 0
        self._allocated_at = 0.0
        self.retry_at = 0.0
        """When to try again."""

    def takes_fresh_port(self) -> bool:
        """Count that the server wants another port; False where that was so too often."""
        self._fresh_ports += 1
        return self._fresh_ports <= MAX_FRESH_PORTS

    def succeeded(self, now: float) -> None:
        """There is an allocation."""
        self._fresh_ports = 0
        self._allocated_at = now

    def lost(self, now: float) -> bool:
        """The allocation is gone; tell whether to try again at once, else at :attr:`retry_at`."""
        if now - self._allocated_at >= STABLE_TIME:
            self._failed = 0
        self.failed(now)
        return self._failed == 1

    def failed(self, now: float) -> None:
        """There is none; set :attr:`retry_at`."""
        self._failed += 1
        self._fresh_ports = 0
        delay = min(MAX_DELAY, FIRST_DELAY * 2 ** min(self._failed, 10))
        self.retry_at = now + self._entropy.uniform(delay / 2, delay)
