"""Random values from the operating system."""

from __future__ import annotations

import secrets

__all__ = ["SystemEntropy"]

_random = secrets.SystemRandom()


class SystemEntropy:
    """The system's entropy source, as a :class:`~librats.types.Entropy`; safe for keys and in every thread.

    Example:
        >>> entropy = SystemEntropy()
        >>> len(entropy.token_bytes(16)), entropy.randbelow(1)
        (16, 0)
    """

    __slots__ = ()

    def token_bytes(self, size: int) -> bytes:
        """Return that many random bytes."""
        return secrets.token_bytes(size)

    def randbelow(self, limit: int) -> int:
        """Return a random integer from 0 up to, not including, the limit."""
        return secrets.randbelow(limit)

    def uniform(self, low: float, high: float) -> float:
        """Return a random float between the two."""
        return _random.uniform(low, high)
