"""When an allocation must be refreshed, and when its server must show that it is there."""

from __future__ import annotations

__all__ = ["Vigil"]

MARGIN = 60.0
RETRY_TIME = 5.0


class Vigil:
    """The times of one client's allocation.

    A Refresh is what is asked of a silent server: it shows that the server is there, and that it is still the one that
    made the allocation. Where only this side is silent, an indication keeps the NAT's mapping.

    Args:
        keep_alive: Seconds of silence, either way, after which something is done.
    """

    def __init__(self, keep_alive: float) -> None:
        self._keep_alive = keep_alive
        self.expires = 0.0
        """When the allocation ends."""
        self.began = 0.0
        """When something was first sent over the way to it that is in use."""
        self.heard = 0.0
        """When the server last showed that it is there."""
        self.sent = 0.0
        """When something was last sent to it."""
        self.refreshing = False
        """True while a Refresh waits for its response."""
        self._refresh_at = 0.0

    def connected(self, now: float) -> None:
        """Something is about to be sent over a new way to the server."""
        self.began = self.heard = self.sent = now
        self.refreshing = False

    def granted(self, lifetime: int, now: float) -> None:
        """The server has granted that many seconds."""
        self.refreshing = False
        self.expires = now + lifetime
        self._refresh_at = self.expires - min(MARGIN, lifetime / 2)

    def failed(self, now: float) -> None:
        """A Refresh did not work, and may later."""
        self.refreshing = False
        self.heard = now
        self._refresh_at = now + RETRY_TIME

    def next_timer(self, *, moving: bool) -> float:
        """Return when one of the others is due."""
        if self.refreshing or moving:
            return self.expires
        return min(self.expires, self._refresh_at, self.heard + self._keep_alive, self.sent + self._keep_alive)

    def needs_refresh(self, now: float) -> bool:
        """Tell whether to send a Refresh now."""
        return not self.refreshing and (now >= self._refresh_at or now >= self.heard + self._keep_alive)

    def needs_indication(self, now: float) -> bool:
        """Tell whether to send anything now."""
        return not self.refreshing and now >= self.sent + self._keep_alive
