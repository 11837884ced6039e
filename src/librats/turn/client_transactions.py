"""Transactions: requests that wait for their response, sent again over UDP (RFC 8489, section 6.2)."""

from __future__ import annotations

from typing import Generic, TypeVar

from librats.stun.transaction import Retransmission, Transaction
from librats.types import Entropy

__all__ = ["Transactions"]

PACE = Retransmission()
RELIABLE_TIMEOUT = PACE.duration  # Ti, RFC 8489, section 6.2.2: as long as all of that takes over UDP
ID_SIZE = 12

Request = TypeVar("Request")


class _Waiting(Generic[Request]):
    """A request, its bytes, and when it is sent again (over UDP) and given up."""

    __slots__ = ("clock", "data", "deadline", "request")

    def __init__(self, request: Request, data: bytes, clock: Transaction | None, deadline: float) -> None:
        self.request = request
        self.data = data
        self.clock = clock
        self.deadline = deadline

    @property
    def at(self) -> float:
        return self.deadline if self.clock is None else min(self.clock.next_timer, self.deadline)

    def is_over(self, now: float) -> bool:
        return now >= self.deadline or (self.clock is not None and self.clock.is_over(now))


class Transactions(Generic[Request]):
    """Requests on their way over one path.

    Args:
        entropy: Makes the transaction ids, which nobody off the path can guess.
        reliable: True over TCP and TLS, where nothing is sent twice.
    """

    def __init__(self, entropy: Entropy, *, reliable: bool) -> None:
        self._entropy = entropy
        self._reliable = reliable
        self._open: dict[bytes, _Waiting[Request]] = {}

    def __len__(self) -> int:
        """Requests on their way."""
        return len(self._open)

    def new_id(self) -> bytes:
        """Return a transaction id."""
        return self._entropy.token_bytes(ID_SIZE)

    def begin(self, transaction_id: bytes, request: Request, data: bytes, now: float, patience: float | None) -> None:
        """Keep a request whose bytes are being sent now.

        Args:
            transaction_id: From :meth:`new_id`.
            request: What a response belongs to.
            data: The bytes, to be sent again.
            now: The time.
            patience: Seconds to wait at the most; None for as long as the RFC says.
        """
        deadline = now + (RELIABLE_TIMEOUT if patience is None else min(patience, RELIABLE_TIMEOUT))
        clock = None
        if not self._reliable:
            clock = Transaction(PACE, now=now)
            clock.is_due(now)
        self._open[transaction_id] = _Waiting(request, data, clock, deadline)

    def find(self, transaction_id: bytes) -> Request | None:
        """Return the request that a response belongs to; None where there is none."""
        found = self._open.get(transaction_id)
        return None if found is None else found.request

    def end(self, transaction_id: bytes) -> None:
        """The response was taken."""
        self._open.pop(transaction_id, None)

    def abandon(self) -> list[Request]:
        """Wait for none of them any more, and return them."""
        left = [waiting.request for waiting in self._open.values()]
        self._open.clear()
        return left

    def next_time(self) -> float | None:
        """Return when :meth:`due` has something."""
        return min((waiting.at for waiting in self._open.values()), default=None)

    def due(self, now: float) -> tuple[list[bytes], list[Request]]:
        """Return the bytes that are to be sent again, and the requests whose time is over."""
        again: list[bytes] = []
        over: list[Request] = []
        for transaction_id, waiting in list(self._open.items()):
            if waiting.is_over(now):
                del self._open[transaction_id]
                over.append(waiting.request)
            elif waiting.clock is not None and waiting.clock.is_due(now):
                again.append(waiting.data)
        return again, over
