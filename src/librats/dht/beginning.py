"""When a node of the DHT asks for itself: at once, and again and again, after longer pauses."""

from __future__ import annotations

__all__ = ["Beginning"]

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0


class Beginning:
    """Tells when a node is to ask for itself again. A pause is twice as long as the one before it.

    Args:
        now: Seconds.

    Example:
        >>> from librats.dht.beginning import Beginning
        >>> beginning = Beginning(now=0.0)
        >>> beginning.begun(now=0.0, most=300.0)
        >>> [now for now in range(20) if beginning.is_due(0, now=float(now))][0]
        10
    """

    def __init__(self, *, now: float) -> None:
        self._due = now
        self._pause = FIRST_PAUSE
        self._had_nodes = False

    def begun(self, *, now: float, most: float = LONGEST_PAUSE) -> None:
        """Take note that the node asks for itself now.

        Args:
            now: Seconds.
            most: Seconds of the longest pause.
        """
        self._pause = min(2 * self._pause, most)
        self._due = now + self._pause

    def anew(self, *, now: float) -> None:
        """Begin anew, without waiting long.

        Args:
            now: Seconds.
        """
        self._pause = FIRST_PAUSE
        self._due = now

    def is_due(self, nodes: int, *, now: float) -> bool:
        """Whether the node is to ask for itself: also where it has lost everybody.

        Args:
            nodes: How many nodes it knows.
            now: Seconds.
        """
        if self._had_nodes and not nodes:
            self.anew(now=now)
        self._had_nodes = nodes > 0
        return now >= self._due
