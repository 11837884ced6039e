"""Consent to be sent to: what only the peer's authenticated answers renew (RFC 7675)."""

from __future__ import annotations

from librats.ice.settings import IceSettings
from librats.types import Entropy

__all__ = ["Consent"]

SPREAD = 0.2
MAX_WAITING = 8


class Consent:
    """The clock of one pair's consent.

    Args:
        settings: Its times.
        entropy: For the times between two requests, so that they do not fall together with others.
        now: When the last authenticated answer has come.
    """

    def __init__(self, settings: IceSettings, entropy: Entropy, *, now: float) -> None:
        self._settings = settings
        self._entropy = entropy
        self._waiting: dict[bytes, float] = {}
        self._is_revoked = False
        self.expires = now + settings.consent_timeout
        """When nothing may be sent any more."""
        self.next_request = now + self._interval()
        """When it is to be asked for again."""

    def _interval(self) -> float:
        return self._settings.consent_interval * self._entropy.uniform(1 - SPREAD, 1 + SPREAD)

    def _due_at(self) -> float:
        """Return when it is asked for again: sooner where the last request seems to be lost, or its answer."""
        if not self._waiting:
            return self.next_request
        return min(self.next_request, max(self._waiting.values()) + self._settings.consent_doubt)

    @property
    def next_timer(self) -> float:
        """When there is something to do."""
        return min(self._due_at(), self.expires)

    def is_lost(self, now: float) -> bool:
        """Whether nothing may be sent any more."""
        return now >= self.expires

    def is_due(self, now: float) -> bool:
        """Whether it is to be asked for now; the caller does so with :meth:`asked`."""
        return now >= self._due_at()

    def asked(self, transaction_id: bytes, *, now: float) -> None:
        """Note a request; each is one of its own and sent once (RFC 7675, 5.1)."""
        while len(self._waiting) >= MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[transaction_id] = now
        self.next_request = now + self._interval()

    def waits_for(self, transaction_id: bytes) -> bool:
        """Whether an answer is one to our requests."""
        return transaction_id in self._waiting

    def answered(self, transaction_id: bytes, *, now: float) -> float:
        """Renew it, and return the seconds that the answer took."""
        asked = self._waiting[transaction_id]
        self._waiting.clear()
        self.expires = now + self._settings.consent_timeout
        return now - asked

    def renew(self, answered_at: float) -> None:
        """Take that another authenticated answer has come, to a check for example."""
        if not self._is_revoked:
            self.expires = max(self.expires, answered_at + self._settings.consent_timeout)

    def revoke(self, now: float) -> None:
        """End it: the peer wants nothing any more (RFC 7675, 5.2)."""
        self._is_revoked = True
        self.expires = now
