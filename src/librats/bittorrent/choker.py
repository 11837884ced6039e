"""Whose requests are served (BEP 3): those who give most, and by turns one more, so that new ones are found out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from librats.types import Entropy

__all__ = ["CHOKE_INTERVAL", "NEW_ROUNDS", "OPTIMISTIC_ROUNDS", "Choker", "Claimant"]

CHOKE_INTERVAL: Final = 10.0
"""Seconds between two decisions."""

OPTIMISTIC_ROUNDS: Final = 3
"""Decisions for which the one stays whose turn it is."""


NEW_ROUNDS: Final = 6
"""Decisions for which a peer counts as new."""

NEW_WEIGHT = 3


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
    """Decides every ten seconds. New peers, who have nothing to give yet, are three times as likely to have their turn.

    Args:
        entropy: For whose turn it is.
        slots: Peers that are served for what they give; one more is served by turns.
    """

    def __init__(self, entropy: Entropy, slots: int = 4) -> None:
        self._entropy = entropy
        self._slots = slots
        self._round = 0
        self._optimistic: Any = None
        self._seen: dict[Any, int] = {}

    def decide(self, peers: Iterable[T], *, is_seed: bool) -> list[T]:
        """Return the peers whose requests are served from now on.

        Args:
            peers: All that are connected.
            is_seed: Whether nothing is wanted of them: then they are measured by what they take.
        """
        peers = list(peers)
        self._seen = {peer: self._seen.get(peer, self._round) for peer in peers}
        interested = [peer for peer in peers if peer.is_interested]
        if is_seed:
            ranked = sorted(interested, key=lambda peer: -peer.takes)
        else:
            ranked = sorted(interested, key=lambda peer: (peer.is_snubbing, -peer.gives))
        served, others = ranked[: self._slots], ranked[self._slots :]
        if self._round % OPTIMISTIC_ROUNDS == 0 or self._optimistic not in others:
            self._optimistic = self._draw(others)
        self._round += 1
        if self._optimistic is not None:
            served.append(self._optimistic)
        return served

    def _draw(self, peers: Sequence[Any]) -> Any:
        """Return whose turn it is; None where there is nobody."""
        newest = self._round - NEW_ROUNDS
        lots = [peer for peer in peers for _ in range(NEW_WEIGHT if self._seen[peer] > newest else 1)]
        return lots[self._entropy.randbelow(len(lots))] if lots else None

    def has_room(self, served: int) -> bool:
        """Whether one more may be served before the next decision."""
        return served <= self._slots
