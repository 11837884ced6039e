"""Checks of the peer's that come before its description, which says what they are worth."""

from __future__ import annotations

from msgspec import Struct

from librats.ice.candidates import comparable
from librats.ice.messages import CheckRequest
from librats.types import Address

__all__ = ["EarlyCheck", "EarlyChecks"]


class EarlyCheck(Struct, frozen=True):
    """One of them, and how it has come."""

    request: CheckRequest
    """The check."""

    base: int
    """Number of the base that it came to."""

    address: Address
    """Where it came from."""


class EarlyChecks:
    """Keeps them: of each way the last nomination, or the last check.

    Args:
        most: Ways of which one is kept; those beyond are dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[EarlyCheck] = []

    def keep(self, early: EarlyCheck) -> None:
        """Keep a check until the description is there."""
        for older in self._kept:
            if older.base == early.base and comparable(older.address) == comparable(early.address):
                if early.request.use_candidate or not older.request.use_candidate:
                    self._kept.remove(older)
                    self._kept.append(early)
                return
        if len(self._kept) < self._most:
            self._kept.append(early)

    def take(self, ufrag: str) -> list[EarlyCheck]:
        """Forget all of them, and return those that whoever has that user name fragment has sent."""
        kept, self._kept = self._kept, []
        return [early for early in kept if early.request.peer_ufrag == ufrag]
