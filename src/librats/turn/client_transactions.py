"""Transactions: requests that wait for their response, sent again over UDP (RFC 8489, section 6.2)."""

from __future__ import annotations

from typing import Generic, TypeVar

from librats.types import Entropy

__all__ = ["Transactions"]

INITIAL_TIMEOUT = 0.5  # RTO
TRANSMISSIONS = 7  # Rc
LAST_WAIT = 16  # Rm, in units of the initial timeout
RELIABLE_TIMEOUT = 39.5  # Ti: as long as all of that takes over UDP
ID_SIZE = 12

Request = TypeVar("Request")


class _Transaction(Generic[Request]):
    __slots__ = ("at", "data", "deadline", "left", "request", "wait")

    def __init__(self, request: Request, data: bytes, now: float, deadline: float, left: int) -> None:
        self.request = request
        self.data = data
        self.wait = INITIAL_TIMEOUT
        self.left = left
        self.deadline = deadline
        self.at = min(now + self.wait, deadline) if left else deadline


class Transactions(Generic[Request]):
    """Requests on their way over one path.

    Args:
        entropy: Makes the transaction ids, which nobody off the path can guess.
        reliable: True over TCP and TLS, where nothing is sent twice.
    """

    def __init__(self, entropy: Entropy, *, reliable: bool) -> None:
        self._entropy = entropy
        self._reliable = reliable
        self._open: dict[bytes, _Transaction[Request]] = {}

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
        whole = RELIABLE_TIMEOUT
        deadline = now + (whole if patience is None else min(patience, whole))
        left = 0 if self._reliable else TRANSMISSIONS - 1
        self._open[transaction_id] = _Transaction(request, data, now, deadline, left)

    def find(self, transaction_id: bytes) -> Request | None:
        """Return the request that a response belongs to; None where there is none."""
        found = self._open.get(transaction_id)
        return None if found is None else found.request

    def end(self, transaction_id: bytes) -> None:
        """The response was taken."""
        self._open.pop(transaction_id, None)

    def abandon(self) -> list[Request]:
        """Wait for none of them any more, and return them."""
        left = [transaction.request for transaction in self._open.values()]
        self._open.clear()
        return left

    def next_time(self) -> float | None:
        """Return when :meth:`due` has something."""
        return min((transaction.at for transaction in self._open.values()), default=None)

    def due(self, now: float) -> tuple[list[bytes], list[Request]]:
        """Return the bytes that are to be sent again, and the requests whose time is over."""
        again: list[bytes] = []
        over: list[Request] = []
        for transaction_id, transaction in list(self._open.items()):
            if transaction.at > now:
                continue
            if now >= transaction.deadline:
                del self._open[transaction_id]
                over.append(transaction.request)
                continue
            again.append(transaction.data)
            transaction.left -= 1
            transaction.wait *= 2
            # After the last transmission there is a last wait; until then each is twice as long as the one before.
            wait = transaction.wait if transaction.left else LAST_WAIT * INITIAL_TIMEOUT
            transaction.at = min(now + wait, transaction.deadline)
            if not transaction.left:
                transaction.deadline = transaction.at
        return again, over
