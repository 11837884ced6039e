"""How often a client tells one local network of its torrents, and how much it takes from others there (BEP 14)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Final

from librats.bittorrent.local_discovery import MAX_ANNOUNCED, LocalAnnouncement

__all__ = ["LocalPacing"]

INTERVAL: Final = 300.0
"""Seconds between two announcements of one torrent."""

PACKET_INTERVAL: Final = 60.0
"""Seconds between two announcements of any torrents."""

MAX_TAKEN: Final = 64
"""Torrents and ports that one host may tell of in a minute."""

MAX_HOSTS: Final = 256
"""Hosts that are listened to in a minute."""

WINDOW = 60.0


class LocalPacing:
    """What goes to one network, and what is taken from there.

    Args:
        cookie: What is in our own announcements: those that come back are passed over.

    Example:
        >>> from librats.bittorrent.local_pacing import LocalPacing
        >>> pacing = LocalPacing("7a")
        >>> pacing.take_due({bytes(20)}, now=0.0) == (bytes(20),)
        True
        >>> pacing.take_due({bytes(20)}, now=299.0)
        ()
    """

    def __init__(self, cookie: str) -> None:
        self._cookie = cookie
        self._told: dict[bytes, float] = {}
        self._last = -math.inf
        self._taken: dict[str, int] = {}
        self._taken_since = -math.inf

    def take_due(self, active: Collection[bytes], now: float) -> tuple[bytes, ...]:
        """Return the torrents to announce now, in one datagram; empty for none. They count as announced.

        Args:
            active: Info-hashes of all torrents that may be told of now.
            now: The time.
        """
        if now - self._last < PACKET_INTERVAL:
            return ()
        # What is not active any more is remembered for a while: who pauses and goes on tells no sooner.
        self._told = {one: at for one, at in self._told.items() if one in active or now - at < INTERVAL}
        due = [one for one in active if now - self._told.get(one, -math.inf) >= INTERVAL]
        due.sort(key=lambda one: self._told.get(one, -math.inf))  # where all have no room, by turns
        due = due[:MAX_ANNOUNCED]
        if due:
            self._last = now
            self._told.update(dict.fromkeys(due, now))
        return tuple(due)

    def put_back(self, info_hashes: Iterable[bytes]) -> None:
        """Take note that an announcement did not go: its torrents are due with the next one."""
        for info_hash in info_hashes:
            self._told.pop(info_hash, None)

    def take(self, message: LocalAnnouncement, host: str, active: Collection[bytes], now: float) -> tuple[bytes, ...]:
        """Return those of our torrents in which the sender of an announcement is to be dialled.

        Args:
            message: What was announced.
            host: Whose IP address it came from.
            active: Info-hashes of all torrents that peers are wanted for. Others cost the sender nothing.
            now: The time.
        """
        if message.cookie == self._cookie:
            return ()
        found = [one for one in message.info_hashes if one in active]
        if now - self._taken_since >= WINDOW:
            self._taken.clear()
            self._taken_since = now
        before = self._taken.get(host, 0)
        if not found or (not before and len(self._taken) >= MAX_HOSTS):
            return ()
        found = found[: MAX_TAKEN - before]
        self._taken[host] = before + len(found)
        return tuple(found)
