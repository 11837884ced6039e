"""How many blocks to ask one peer for at once: as many as come in two seconds."""

from __future__ import annotations

from typing import Final

from librats.bittorrent.merkle import BLOCK_SIZE

__all__ = ["DEFAULT_QUEUE", "MAX_DEPTH", "RequestDepth"]

DEFAULT_QUEUE: Final = 250
"""Requests that a peer is taken to keep where it does not say."""

MAX_DEPTH: Final = 1500
"""Requests that any peer is sent ahead at most."""

FIRST_DEPTH = 64
MIN_DEPTH = 16
SECONDS = 2.0


class RequestDepth:
    """The number of requests that one peer is sent ahead."""

    def __init__(self) -> None:
        self._depth = float(FIRST_DEPTH)

    def grow(self) -> None:
        """Take note of a block that has come."""
        self._depth += 1

    def adapt(self, rate: float) -> None:
        """Fit it to what the peer gives, in bytes a second; once a second."""
        wanted = rate * SECONDS / BLOCK_SIZE
        self._depth = max(MIN_DEPTH, wanted, min(self._depth * 0.8, wanted * 2))

    def within(self, kept: int) -> int:
        """Return it, where the peer keeps so many requests; 1 at least."""
        return max(1, min(int(self._depth), kept, MAX_DEPTH))
