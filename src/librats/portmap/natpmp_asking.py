"""What is asked by NAT-PMP: one thing after the other (RFC 6886), each again until it is answered."""

from __future__ import annotations

import math
from collections import deque

from librats.portmap.mapping import REMOVAL_TRIES, Phase, WantedMapping
from librats.portmap.natpmp_wire import PUBLIC_ADDRESS_REQUEST, NatPmpRequest, encode_natpmp_request
from librats.portmap.pacing import NATPMP_TRIES, natpmp_delay
from librats.types import MappedTransport

__all__ = ["NatPmpAsking"]


class NatPmpAsking:
    """The queue of what is asked; the first of them is under way. None stands for the public address."""

    def __init__(self) -> None:
        self._queue: deque[WantedMapping | None] = deque()
        self._tries = 0
        self.due = math.inf
        """When there is something to send, or to give up."""

    def clear(self) -> None:
        """Forget everything."""
        self._queue.clear()
        self._tries, self.due = 0, math.inf

    def ask_address(self, when: float) -> None:
        """Ask for the public address, unless that is under way."""
        if None not in self._queue:
            self._add(None, when)

    def ask(self, mapping: WantedMapping, when: float) -> None:
        """Ask for a mapping, or for its removal."""
        if mapping not in self._queue:
            self._add(mapping, when)

    def _add(self, what: WantedMapping | None, when: float) -> None:
        self._queue.append(what)
        if len(self._queue) == 1:
            self._tries, self.due = 0, when

    def hurry(self, now: float) -> None:
        """Ask for what is next at once, where that was not done yet."""
        if self._queue and not self._tries:
            self.due = min(self.due, now)

    @property
    def is_exhausted(self) -> bool:
        """True where the first of them was asked for as often as it may be."""
        first = self._queue[0] if self._queue else None
        limit = REMOVAL_TRIES if first is not None and first.phase is Phase.REMOVING else NATPMP_TRIES
        return self._tries >= limit

    def next_request(self, lifetime: int, now: float) -> bytes:
        """Return the request that is due."""
        self._tries += 1
        self.due = now + natpmp_delay(self._tries)
        mapping = self._queue[0]
        if mapping is None:
            return PUBLIC_ADDRESS_REQUEST
        mapping.was_sent = True
        removing = mapping.phase is Phase.REMOVING
        return encode_natpmp_request(
            NatPmpRequest(
                transport=mapping.transport,
                internal_port=mapping.internal_port,
                external_port=0 if removing else mapping.suggestion.port,
                lifetime=0 if removing else lifetime,
            )
        )

    def give_up(self, now: float) -> WantedMapping | None:
        """Let go of the first of them, and return it where it is a mapping."""
        mapping = self._queue[0]
        self._next(now)
        return mapping

    def _next(self, now: float) -> None:
        self._queue.popleft()
        self._tries, self.due = 0, now if self._queue else math.inf

    def answered_address(self, now: float) -> bool:
        """Take note that the public address was told; False where that was not asked."""
        if self._queue and self._queue[0] is None and self._tries:
            self._next(now)
            return True
        return False

    def answered(self, transport: MappedTransport, port: int | None, now: float) -> WantedMapping | None:
        """Take note of an answer, and return the mapping that it is about; None where that was not asked."""
        mapping = self._queue[0] if self._queue and self._tries else None
        if mapping is None or mapping.transport is not transport or port not in (None, mapping.internal_port):
            return None
        self._next(now)
        return mapping

    def drop(self, mapping: WantedMapping, now: float) -> None:
        """Ask for a mapping no more."""
        if self._queue and self._queue[0] is mapping:
            self._next(now)
        elif mapping in self._queue:
            self._queue.remove(mapping)
