"""What one peer may have us do in vain before it is taken for one that means no good."""

from __future__ import annotations

from typing import Final, TypeVar

from librats.errors import RemoteProtocolError

__all__ = ["MAX_SUMMARIES", "MAX_UNSENT", "Patience"]

MAX_SUMMARIES: Final = 4
"""Messages at most that sum up what a peer has: each costs as much time as the torrent has pieces."""

MAX_UNSENT: Final = 4 << 20
"""Bytes of messages at most that wait for a peer to read them, blocks not counted."""

MAX_EARLY = 10_000
MAX_UNASKED = 1000
POINTS = 5000
"""What messages may cost in a second that are rare among those who mean well."""

T = TypeVar("T")


class Patience:
    """What is left of it with one peer.

    Example:
        >>> from librats.bittorrent.patience import MAX_SUMMARIES, Patience
        >>> patience = Patience()
        >>> for _ in range(MAX_SUMMARIES):
        ...     patience.take_summary()
        >>> patience.take_summary()
        Traceback (most recent call last):
            ...
        librats.errors.RemoteProtocolError: what it has, summed up too often
    """

    def __init__(self) -> None:
        self._summaries = 0
        self._unasked = 0
        self._late = 0
        self._points = POINTS

    def take_summary(self) -> None:
        """Take note that it sums up what it has.

        Raises:
            RemoteProtocolError: It has done so too often.
        """
        self._summaries += 1
        if self._summaries > MAX_SUMMARIES:
            raise RemoteProtocolError("what it has, summed up too often")

    def keep(self, kept: list[T], message: T) -> None:
        """Keep a message about pieces, as the torrent is not known yet.

        Args:
            kept: Those that are kept.
            message: One more.

        Raises:
            RemoteProtocolError: They are too many.
        """
        if len(kept) >= MAX_EARLY:
            raise RemoteProtocolError("too many messages before the torrent is known")
        kept.append(message)

    def take_back(self, blocks: int) -> None:
        """Take note of blocks that it is not asked for any more, and may have sent already."""
        self._late += blocks

    def take_unasked(self) -> None:
        """Take note of a block that it is not asked for.

        Raises:
            RemoteProtocolError: There were too many that it had never been asked for.
        """
        if self._late:
            self._late -= 1
            return
        self._unasked += 1
        if self._unasked > MAX_UNASKED:
            raise RemoteProtocolError("blocks that nobody has asked for")

    def spend(self, points: int) -> None:
        """Take note of a message that costs something, and that nobody sends often.

        Args:
            points: What it costs.

        Raises:
            RemoteProtocolError: There were too many since :meth:`recover`.
        """
        self._points -= points
        if self._points < 0:
            raise RemoteProtocolError("too many messages that are of no use")

    def recover(self) -> None:
        """Have as much of it again; once a second."""
        self._points = POINTS
