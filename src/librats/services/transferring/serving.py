"""Whose place is given up where all places of those that are given to are taken, and somebody else asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from librats.services.transferring.giving import Giving

__all__ = ["idle_place"]


def idle_place(serving: Sequence[Giving], asker: str, since: float) -> Giving | None:
    """Return which transfer makes room for a peer that has none: of those that hold several, one that lies idle.

    A peer that holds one place keeps it, whatever it does.

    Args:
        serving: What is given.
        asker: Id of who asks for one more.
        since: When something must have been sent for the last time, for it not to be idle.

    Returns:
        None where there is no such transfer.
    """
    held = Counter(giving.peer_id for giving in serving)
    if held[asker]:
        return None
    idle = [giving for giving in serving if giving.was_fetched and held[giving.peer_id] > 1 and giving.sent_at <= since]
    return min(idle, key=lambda giving: (-held[giving.peer_id], giving.sent_at), default=None)
