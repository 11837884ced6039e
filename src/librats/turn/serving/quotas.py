"""How much a user, and all of them together, may take of a relay."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

__all__ = ["INTRODUCED", "QuotaLimits", "Quotas"]

INTRODUCED = "@"
"""What the owners begin with that are networks of nodes to which the relay has granted credentials by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimits:
    """The limits; 0 means none. A port that is reserved for a while (EVEN-PORT) counts as an allocation."""

    total_allocations: int = 0
    """Allocations of everybody together."""

    user_allocations: int = 0
    """Allocations of one user, at all relays of a fleet."""

    total_bandwidth: int = 0
    """Bytes a second that are relayed, both directions and everybody together."""

    introduced_allocations: int = 8
    """Allocations of one network, an IPv4 /24 or an IPv6 /48, of nodes that the relay has granted credentials."""

    introduced_total: int = 1024
    """Allocations of all such nodes together."""

    user_bandwidth: int = 0
    """Bytes a second that are relayed for one user, both directions together, at all relays of a fleet."""


class Quotas:
    """Counts allocations by owner.

    Args:
        limits: What is allowed; may be replaced at any time, and holds for what is allocated from then on.
        lock: Guards the counts where several threads allocate.
    """

    def __init__(self, limits: QuotaLimits, lock: AbstractContextManager[object]) -> None:
        self.limits = limits
        self.total = 0
        """Allocations there are."""
        self.elsewhere: Mapping[str, int] = {}
        """What owners have at other relays with which the quotas by user are shared; replaced as a whole."""
        self._lock = lock
        self._held: dict[str, int] = {}
        self._introduced = 0

    def take(self, owner: str) -> int:
        """Count one more allocation.

        Returns:
            How many the owner has here with it; 0 where that is one too many for the owner; -1 where there are too many
            of all.
        """
        limits = self.limits
        is_introduced = owner.startswith(INTRODUCED)
        most = limits.introduced_allocations if is_introduced else limits.user_allocations
        with self._lock:
            held = self._held.get(owner, 0) + 1
            if most and held + self.elsewhere.get(owner, 0) > most:
                return 0
            if is_introduced and limits.introduced_total and self._introduced >= limits.introduced_total:
                return -1
            if limits.total_allocations and self.total >= limits.total_allocations:
                return -1
            self._held[owner] = held
            self.total += 1
            self._introduced += is_introduced
            return held

    def give_back(self, owner: str) -> None:
        """Count one allocation less."""
        with self._lock:
            self.total -= 1
            self._introduced -= owner.startswith(INTRODUCED)
            held = self._held[owner] - 1
            if held:
                self._held[owner] = held
            else:
                del self._held[owner]

    def held_by(self, owner: str) -> int:
        """Return how many allocations an owner has, here and elsewhere."""
        return self._held.get(owner, 0) + self.elsewhere.get(owner, 0)

    def by_owner(self) -> dict[str, int]:
        """Return how many allocations each owner has here."""
        with self._lock:
            return dict(self._held)
