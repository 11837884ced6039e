"""What lies between two hosts: how long a packet takes, and whether it arrives."""

from __future__ import annotations

from dataclasses import dataclass

from librats.errors import ConfigError
from librats.testing.entropy import SeededEntropy

__all__ = ["LinkConditions", "Path"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConditions:
    """How a link treats the packets of one direction.

    Raises:
        ConfigError: A value makes no sense.

    Example:
        >>> LinkConditions(delay=0.04, jitter=0.01, loss=0.02, bandwidth=1_250_000)
        LinkConditions(delay=0.04, jitter=0.01, loss=0.02, bandwidth=1250000)
    """

    delay: float = 0.01
    """Seconds that a packet takes, one way."""

    jitter: float = 0.0
    """Up to that many seconds more, different for each packet: they overtake each other."""

    loss: float = 0.0
    """Which part of the packets is lost, 0 to 1."""

    bandwidth: float | None = None
    """Bytes a second; None where a packet's size makes no difference."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("delay", "jitter"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(name, "must be a number of seconds, 0 or more")
        if not 0 <= self.loss <= 1:
            raise ConfigError("loss", "must be a part from 0 to 1")
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise ConfigError("bandwidth", "must be more than 0 bytes a second, or None")


class Path:
    """One direction between two hosts.

    Args:
        conditions: How it treats packets.
        entropy: Decides which packets are lost, and when they arrive.
    """

    def __init__(self, conditions: LinkConditions, entropy: SeededEntropy) -> None:
        self.conditions = conditions
        """How it treats packets, from now on."""
        self.is_cut = False
        """True where nothing gets through."""
        self._entropy = entropy
        self._free_at = 0.0

    def carry(self, size: int, now: float) -> float | None:
        """Return when a packet arrives that is sent now; None where it is lost."""
        conditions = self.conditions
        when = now
        if conditions.bandwidth is not None:
            # What is lost has taken its time on the wire, too.
            when = self._free_at = max(now, self._free_at) + size / conditions.bandwidth
        if self.is_cut or (conditions.loss and self._entropy.uniform(0, 1) < conditions.loss):
            return None
        when += conditions.delay
        if conditions.jitter:
            when += self._entropy.uniform(0, conditions.jitter)
        return when
