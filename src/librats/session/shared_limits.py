"""What all sessions of a client share: memory, places for streams, room to queue, and a count of refusals."""

from __future__ import annotations

from collections import Counter

from librats.config import MIN_MESSAGE_WINDOW, RatsConfig
from librats.session.memory import MemoryBudget, MemoryShare

__all__ = ["SharedLimits", "limit_words"]

QUEUES = 4
"""What waits to be sent may take one part in that many of the memory, and what peers send the others."""

LEAST_QUEUE = 64 * 1024
"""Bytes that may wait for each peer, however many peers there are."""


def limit_words(what: str, config: object, name: str) -> str:
    """Return a refusal in words: what there is, and which field of which configuration says that this is too much."""
    value = getattr(config, name)
    return f"{what}, the limit is {name}={value if isinstance(value, int) else f'{value:g}'} ({type(config).__name__})"


class SharedLimits:
    """The limits that a client's sessions keep together.

    Args:
        config: The limits.
    """

    def __init__(self, config: RatsConfig) -> None:
        self.config = config
        """The limits."""
        self.memory = MemoryBudget(config.max_memory - config.max_memory // QUEUES)
        """Memory for what peers send."""
        self.refusals: Counter[str] = Counter()
        """How often each limit, list or hook has said no."""
        self.streams = {True: 0, False: 0}
        """Streams that are open in all: those that peers have opened under True, ours under False."""
        self._sessions = 0
        self.send_high_water = 0
        """From this many bytes on that wait for a peer, nothing more is taken for it."""
        self.send_low_water = 0
        """Who waits for room goes on from this many bytes down."""
        self._share_queues()

    @property
    def first_window(self) -> int:
        """The message window that a peer has at first; it grows with use."""
        return min(self.config.session.message_window, MIN_MESSAGE_WINDOW)

    def begin_session(self, least: int) -> MemoryShare:
        """Return the memory share of one more session.

        Args:
            least: Bytes that its peer has been promised already.
        """
        self._sessions += 1
        self._share_queues()
        return MemoryShare(self.memory, least)

    def end_session(self, share: MemoryShare) -> None:
        """Take the share of a session back."""
        share.close()
        self._sessions -= 1
        self._share_queues()

    def _share_queues(self) -> None:
        config = self.config.session
        fair = max(LEAST_QUEUE, self.config.max_memory // QUEUES // max(1, self._sessions))
        self.send_high_water = min(config.send_high_water, fair)
        self.send_low_water = min(config.send_low_water, fair // 2)

    def memory_words(self) -> str:
        """Return the refusal of somebody for whom there is no memory."""
        return limit_words(f"{self.memory.taken} bytes are set aside for peers", self.config, "max_memory")

    def refuse(self, name: str) -> None:
        """Count a refusal."""
        self.refusals[name] += 1
