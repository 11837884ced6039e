"""Binding requests to any number of servers at once, from any number of sockets: a pure machine (RFC 8489)."""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from msgspec import Struct

from librats._core.stun import StunMessage, parse, serialise
from librats.errors import StunError
from librats.stun.constants import REASONS, Attribute, MessageClass, Method
from librats.stun.transaction import Retransmission, Transaction
from librats.types import Address, Entropy

__all__ = ["Answered", "Refused", "Returned", "StunClient", "StunEvent", "TimedOut", "plain_host"]

TRANSACTION_ID_SIZE = 12
BAD_REQUEST = 400


class Answered(Struct, frozen=True, kw_only=True):
    """A server has answered a Binding request."""

    transaction_id: bytes
    """What the request was asked by."""

    server: Address
    """Whom the request went to."""

    source: Address
    """Where the answer came from; another address than the server's only where that was asked for."""

    socket: int
    """Number of the socket that the answer came to."""

    mapped: Address
    """Where the server has seen the request come from."""

    other: Address | None
    """The server's second address (OTHER-ADDRESS, RFC 5780), where it has one."""

    rtt: float | None
    """Seconds from request to answer; None where it was sent more than once."""


class Refused(Struct, frozen=True, kw_only=True):
    """A server has answered a Binding request with an error, or with an answer that cannot be used."""

    transaction_id: bytes
    """What the request was asked by."""

    server: Address
    """Whom the request went to."""

    code: int
    """Code of the error (RFC 8489, 14.8)."""

    reason: str
    """The server's words; not to be trusted."""


class TimedOut(Struct, frozen=True, kw_only=True):
    """Nobody has answered a Binding request, however often it was sent."""

    transaction_id: bytes
    """What the request was asked by."""

    server: Address
    """Whom the request went to."""


class Returned(Struct, frozen=True, kw_only=True):
    """A request of our own has come back to one of our sockets: the NAT has turned it around (hairpinning)."""

    transaction_id: bytes
    """What the request was asked by."""

    socket: int
    """Number of the socket that it came to."""


StunEvent = Answered | Refused | TimedOut | Returned


@dataclass(slots=True)
class _Pending:
    request: bytes
    server: Address
    sources: tuple[Address, ...]
    sender: int
    receiver: int
    transaction: Transaction = field(repr=False)


class StunClient:
    """Asks servers where they see us.

    An answer counts only where it comes from the right address to the right socket, has the magic cookie and the
    transaction id of a request that waits, and where its FINGERPRINT is right if it has one (RFC 8489, 6.3). Whatever
    else comes is counted in :attr:`ignored`, and changes nothing.

    Args:
        entropy: For transaction ids.
        pace: When requests are sent again, unless :meth:`ask` is told another one.
    """

    def __init__(self, entropy: Entropy, *, pace: Retransmission | None = None) -> None:
        self._entropy = entropy
        self._pace = pace or Retransmission()
        self._pending: dict[bytes, _Pending] = {}
        self._outbox: list[tuple[int, bytes, Address]] = []
        self._events: deque[StunEvent] = deque()
        self.ignored = 0
        """Datagrams that were no answer to anything that was asked."""

    def __len__(self) -> int:
        """Requests that wait for an answer."""
        return len(self._pending)

    def ask(
        self,
        server: Address,
        *,
        now: float,
        socket: int = 0,
        attributes: Sequence[tuple[int, Any]] = (),
        sources: Sequence[Address] = (),
        receiver: int | None = None,
        pace: Retransmission | None = None,
    ) -> bytes:
        """Send a Binding request; its outcome is an event.

        Args:
            server: IP address and port.
            now: Monotonic seconds.
            socket: Number of the socket to send it from.
            attributes: What it holds, CHANGE-REQUEST for example.
            sources: Where the answer may come from; the server where it is left out.
            receiver: Number of the socket that the answer comes to; the one it is sent from where it is None.
            pace: When it is sent again.

        Returns:
            The transaction id.
        """
        transaction_id = self._entropy.token_bytes(TRANSACTION_ID_SIZE)
        self._pending[transaction_id] = _Pending(
            request=serialise(Method.BINDING, MessageClass.REQUEST, transaction_id, attributes),
            server=server,
            sources=tuple(_comparable(source) for source in sources or (server,)),
            sender=socket,
            receiver=socket if receiver is None else receiver,
            transaction=Transaction(pace or self._pace, now=now),
        )
        self._send_what_is_due(now)
        return transaction_id

    def cancel(self, transaction_id: bytes) -> None:
        """Wait for the answer to a request no longer; there is no event."""
        self._pending.pop(transaction_id, None)

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, socket: int = 0) -> None:
        """Take what came to a socket.

        Args:
            data: The datagram.
            addr: Where it came from.
            now: Monotonic seconds.
            socket: Number of the socket.
        """
        try:
            message = parse(data)
        except StunError:
            self.ignored += 1
            return
        event = self._event_of(message, addr, now, socket)
        if event is None:
            self.ignored += 1
            return
        if not isinstance(event, Returned):
            del self._pending[event.transaction_id]
        self._events.append(event)

    def _event_of(self, message: StunMessage, addr: Address, now: float, socket: int) -> StunEvent | None:
        """Return what a message means, or None where it is not for us."""
        pending = self._pending.get(message.transaction_id)
        if pending is None or message.method != Method.BINDING:
            return None
        if message.message_class == MessageClass.REQUEST:
            return Returned(transaction_id=message.transaction_id, socket=socket)
        fingerprint_is_wrong = message.has_fingerprint and not message.check_fingerprint()
        if socket != pending.receiver or _comparable(addr) not in pending.sources or fingerprint_is_wrong:
            return None
        if message.message_class == MessageClass.SUCCESS_RESPONSE:
            return _answer(message, pending, addr, socket, now)
        if message.message_class == MessageClass.ERROR_RESPONSE:
            return _refusal(message, pending)
        return None

    def handle_timer(self, *, now: float) -> None:
        """Send again what is due, and give up what is overdue."""
        for transaction_id, pending in list(self._pending.items()):
            if pending.transaction.is_over(now):
                del self._pending[transaction_id]
                self._events.append(TimedOut(transaction_id=transaction_id, server=pending.server))
        self._send_what_is_due(now)

    def _send_what_is_due(self, now: float) -> None:
        for pending in self._pending.values():
            if pending.transaction.is_due(now):
                self._outbox.append((pending.sender, pending.request, pending.server))

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is to be called; None where nothing waits."""
        return min((pending.transaction.next_timer for pending in self._pending.values()), default=None)

    def datagrams_to_send(self) -> list[tuple[int, bytes, Address]]:
        """Take what is to be sent, in order: number of the socket, datagram, address."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_event(self) -> StunEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None


def _answer(
    message: StunMessage, pending: _Pending, addr: Address, socket: int, now: float
) -> Answered | Refused | None:
    unknown = message.unknown_required()
    # RFC 8489, 6.3.3: such an answer is discarded and the transaction has failed.
    if unknown:
        names = ", ".join(f"0x{kind:04x}" for kind in unknown)
        return _refused(message, pending, BAD_REQUEST, f"the answer asks us to understand {names}")
    try:
        # A server of RFC 3489 that echoes our cookie without knowing it sends MAPPED-ADDRESS only.
        mapped = message.get(Attribute.XOR_MAPPED_ADDRESS) or message.get(Attribute.MAPPED_ADDRESS)
        other = message.get(Attribute.OTHER_ADDRESS)
    except StunError as error:
        return _refused(message, pending, error.code, error.reason)
    if mapped is None:
        return _refused(message, pending, BAD_REQUEST, "the answer has no mapped address")
    if not _is_somebodys(Address(*mapped), pending.server):
        return _refused(message, pending, BAD_REQUEST, "the answer sees us at an address that is nobody's")
    return Answered(
        transaction_id=message.transaction_id,
        server=pending.server,
        source=Address(*addr),
        socket=socket,
        mapped=Address(*mapped),
        other=None if other is None else Address(*other),
        rtt=pending.transaction.rtt(now),
    )


def _refusal(message: StunMessage, pending: _Pending) -> Refused:
    try:
        code, reason = message.get(Attribute.ERROR_CODE) or (BAD_REQUEST, "an error without a code")
    except StunError as error:
        return _refused(message, pending, error.code, error.reason)
    return _refused(message, pending, code, reason or REASONS.get(code, ""))


def _refused(message: StunMessage, pending: _Pending, code: int, reason: str) -> Refused:
    return Refused(transaction_id=message.transaction_id, server=pending.server, code=code, reason=reason)


def _is_somebodys(seen: Address, server: Address) -> bool:
    """Tell whether a server can have seen a request come from an address.

    It is told to peers, and sent to where hairpinning is tried. The loopback is what a server on this machine sees.
    """
    ip = ipaddress.ip_address(plain_host(seen.host))
    if not seen.port or ip.is_unspecified or ip.is_multicast or str(ip) == "255.255.255.255":
        return False
    there = plain_host(server.host.partition("%")[0])
    return not ip.is_loopback or ipaddress.ip_address(there).is_loopback


@lru_cache(maxsize=256)
def plain_host(host: str) -> str:
    """Return an IP address in its one usual spelling, an IPv4 address in IPv6 as what it is."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = getattr(ip, "ipv4_mapped", None)
    return str(ip if mapped is None else mapped)


def _comparable(address: Address) -> Address:
    return Address(plain_host(address.host), address.port)
