"""When an allocation must be refreshed, and when its server must show that it is there."""

from __future__ import annotations

from librats.stun.mapping_habits import MappingHabits

__all__ = ["Vigil"]

MARGIN = 60.0
RETRY_TIME = 5.0

LONGER, LONGER_BY = 1.25, 1.0
"""A silence is blamed for the end of a mapping where it is so many times, and seconds, longer than one it outlived."""


class Vigil:
    """The times of one client's allocation.

    A Refresh is what is asked of a silent server: it shows that the server is there, and that it is still the one that
    made the allocation. Where only this side is silent, an indication keeps the NAT's mapping.

    Args:
        keep_alive: Seconds of silence, either way, after which something is done; less where a NAT forgets sooner.
        habits: What is known of NATs on the way.
    """

    def __init__(self, keep_alive: float, habits: MappingHabits) -> None:
        self._usual = keep_alive
        self._habits = habits
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
        self._spoke = 0.0
        self._silence = self._outlived = 0.0

    @property
    def _keep_alive(self) -> float:
        return self._habits.interval(self._usual, most=self._usual)

    def connected(self, now: float) -> None:
        """Something is about to be sent over a new way to the server."""
        self.began = self.heard = self.sent = self._spoke = now
        self._silence = self._outlived = 0.0
        self.refreshing = False

    def said(self, now: float) -> None:
        """Something is sent that is not answered."""
        self.sent = now
        self._end_silence(now)

    def asked(self, now: float) -> None:
        """A Refresh is sent."""
        self.refreshing = True
        self._end_silence(now)

    def _end_silence(self, now: float) -> None:
        self._silence = max(self._silence, now - self._spoke)
        self._spoke = now

    def granted(self, lifetime: int, now: float) -> None:
        """The server has granted that many seconds."""
        self.refreshing = False
        self.expires = now + lifetime
        self._refresh_at = self.expires - min(MARGIN, lifetime / 2)

    def received(self, now: float) -> None:
        """The server has shown that it is there, and that the mapping is: it has outlived every silence before."""
        self.heard = now
        self._outlived = max(self._outlived, self._silence, now - self._spoke)
        self._silence = 0.0

    def failed(self, now: float) -> None:
        """A Refresh did not work, and may later."""
        self.refreshing = False
        self.heard = now
        self._refresh_at = now + RETRY_TIME

    @property
    def deadly_silence(self) -> float | None:
        """The longest silence since the server was heard, in seconds; None where the mapping outlived such a one."""
        return self._silence if self._silence > self._outlived * LONGER + LONGER_BY else None

    def next_timer(self, *, moving: bool) -> float:
        """Return when one of the others is due."""
        if self.refreshing or moving:
            return self.expires
        keep_alive = self._keep_alive
        return min(self.expires, self._refresh_at, self.heard + keep_alive, self.sent + keep_alive)

    def needs_refresh(self, now: float) -> bool:
        """Tell whether to send a Refresh now."""
        return not self.refreshing and (now >= self._refresh_at or now >= self.heard + self._keep_alive)

    def needs_indication(self, now: float) -> bool:
        """Tell whether to send anything now."""
        return not self.refreshing and now >= self.sent + self._keep_alive
