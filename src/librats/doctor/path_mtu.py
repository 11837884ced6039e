"""The longest packet that the way to a STUN server carries whole: Binding requests of several sizes (RFC 8899)."""

from __future__ import annotations

from collections.abc import Iterable

from librats._core.stun import parse, serialise
from librats.errors import StunError
from librats.stun.constants import MessageClass, Method
from librats.stun.transaction import Retransmission, Transaction
from librats.types import Address, Entropy

__all__ = ["SIZES", "PathMtu"]

SIZES = (1500, 1492, 1480, 1460, 1440, 1420, 1400, 1380, 1360, 1320, 1280, 1200, 1024, 576)
"""Bytes of whole IP packets: Ethernet, PPPoE, one tunnel in another, the least of IPv6, the least of IPv4."""

FILLER = 0xFFF0
"""An attribute that servers need not understand, and do not answer with, as they do with PADDING (RFC 5780, 7.6)."""

HEADERS = {4: 20 + 8, 6: 40 + 8}
STUN_HEADER, ATTRIBUTE_HEADER = 20, 4
TRANSACTION_ID_SIZE = 12
PACE = Retransmission(rto=0.3, rc=3, rm=2)


class PathMtu:
    """Sends a request of every size, which must not be fragmented, and notes which are answered.

    Args:
        server: IP address and port of a server that has answered a short one.
        entropy: Where transaction ids come from.
        now: When it begins, in seconds.
        sizes: Bytes of whole IP packets, each a multiple of 4.
    """

    def __init__(self, server: Address, *, entropy: Entropy, now: float, sizes: Iterable[int] = SIZES) -> None:
        self._server = server
        self._version = 6 if ":" in server.host else 4
        self._open: dict[bytes, tuple[int, bytes, Transaction]] = {}
        self._outgoing: list[tuple[int, bytes, Address]] = []
        self.largest: int | None = None
        """Bytes of the longest IP packet that was answered; None where none was."""
        for size in sorted(sizes):
            identifier = entropy.token_bytes(TRANSACTION_ID_SIZE)
            self._open[identifier] = size, self._request(size, identifier), Transaction(PACE, now=now)
        self.handle_timer(now=now)

    def _request(self, size: int, identifier: bytes) -> bytes:
        filler = bytes(size - HEADERS[self._version] - STUN_HEADER - ATTRIBUTE_HEADER)
        return serialise(Method.BINDING, MessageClass.REQUEST, identifier, [(FILLER, filler)])

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be found out."""
        return not self._open

    def handle_timer(self, *, now: float) -> None:
        """Send what is due, and give up what nobody has answered."""
        for identifier, (_, request, transaction) in list(self._open.items()):
            if transaction.is_over(now):
                del self._open[identifier]
            elif transaction.is_due(now):
                self._outgoing.append((0, request, self._server))

    def next_timer(self) -> float | None:
        """Return when there is something to do."""
        return min((transaction.next_timer for _, _, transaction in self._open.values()), default=None)

    def datagrams_to_send(self) -> list[tuple[int, bytes, Address]]:
        """Take what is to be sent: number of the socket, data, address."""
        sending, self._outgoing = self._outgoing, []
        return sending

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, socket: int = 0) -> None:
        """Take an answer; a size that is answered settles those below it."""
        try:
            identifier = parse(data).transaction_id
        except StunError:
            return
        if addr[:2] != self._server[:2] or identifier not in self._open:
            return
        size = self._open[identifier][0]
        self.largest = max(size, self.largest or 0)
        for other in [each for each, (smaller, _, _) in self._open.items() if smaller <= size]:
            del self._open[other]
