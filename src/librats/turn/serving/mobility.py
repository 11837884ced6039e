"""Tickets with which a client takes its allocation along to another address (RFC 8016)."""

from __future__ import annotations

import hmac
import struct
from typing import NamedTuple

__all__ = ["Mobility", "Ticket"]

_LAYOUT = struct.Struct(">HQI")
_TAG_SIZE = 8


class Ticket(NamedTuple):
    """What a ticket says."""

    worker: int
    number: int
    moves: int
    """How many tickets had been issued for the allocation; all but the last are void."""


class Mobility:
    """Makes and reads the tickets of one worker's allocations.

    Args:
        key: The secret under which all workers of a server seal them.
        worker: The number of this one.
    """

    def __init__(self, key: bytes, worker: int) -> None:
        self._key = key
        self.worker = worker

    def issue(self, number: int, count: int) -> bytes:
        """Return the ticket of an allocation that is the last so far.

        Args:
            number: The allocation's.
            count: How many were issued for it with this one; those before are void.
        """
        body = _LAYOUT.pack(self.worker, number, count)
        return body + self._tag(body)

    def read(self, ticket: bytes) -> Ticket | None:
        """Return what a ticket says; None where it was not made here."""
        body, tag = ticket[: _LAYOUT.size], ticket[_LAYOUT.size :]
        if len(body) != _LAYOUT.size or not hmac.compare_digest(tag, self._tag(body)):
            return None
        return Ticket(*_LAYOUT.unpack(body))

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_TAG_SIZE]
