"""Whose requests are served (BEP 3): those who give most, and by turns one more, so that new ones are found out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

from librats.types import Entropy

__all__ = ["CHOKE_INTERVAL", "OPTIMISTIC_ROUNDS", "Choker", "Claimant"]

CHOKE_INTERVAL: Final = 10.0
"""Seconds between two decisions."""

OPTIMISTIC_ROUNDS: Final = 3
"""Decisions for which the one stays whose turn it is."""


class Claimant(Protocol):
    """A peer, as the choker sees it."""

    @property
    def is_interested(self) -> bool:
        """Whether it wants something."""

    @property
    def is_snubbing(self) -> bool:
        """Whether it gives nothing though it was asked."""

    @property
    def gives(self) -> float:
        """Bytes a second that it gives us."""

    @property
    def takes(self) -> float:
        """Bytes a second that it takes of us."""


T = TypeVar("T", bound=Claimant)


class Choker:
    """Decides every ten seconds.

    Args:
        entropy: For whose turn it is.
        slots: Peers that are served for what they give; one more is served by turns.
    """

    def __init__(self, entropy: Entropy, slots: int = 4) -> None:
        self._entropy = entropy
        self._slots = slots
        self._round = 0
        self._optimistic: Any = None

    def decide(self, peers: Iterable[T], *, is_seed: bool) -> list[T]:
        """Return the peers whose requests are served from now on.

        Args:
            peers: All that are connected.
            is_seed: Whether nothing is wanted of them: then they are measured by what they take.
        """
        interested = [peer for peer in peers if peer.is_interested]
        if is_seed:
            ranked = sorted(interested, key=lambda peer: -peer.takes)
        else:
            ranked = sorted(interested, key=lambda peer: (peer.is_snubbing, -peer.gives))
        served, others = ranked[: self._slots], ranked[self._slots :]
        if self._round % OPTIMISTIC_ROUNDS == 0 or self._optimistic not in others:
            self._optimistic = others[self._entropy.randbelow(len(others))] if others else None
        self._round += 1
        if self._optimistic is not None:
            served.append(self._optimistic)
        return served

    def has_room(self, served: int) -> bool:
        """Whether one more may be served before the next decision."""
        return served <= self._slots
