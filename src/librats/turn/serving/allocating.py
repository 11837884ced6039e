"""Allocate and Refresh (RFC 8656, 7; RFC 6062, 5.1; RFC 8016)."""

from __future__ import annotations

import math
from typing import Any

from librats._core.relay import unpack_address
from librats.stun.constants import Attribute, ErrorCode
from librats.turn.serving.allocation import IPV4, IPV6, TCP, UDP, Allocation, Relay
from librats.turn.serving.answers import Full, Refused, number_in, octet_in, refuse_unless
from librats.turn.serving.mobility import Mobility
from librats.turn.serving.request import Request
from librats.turn.serving.tables import Shared, Tables
from librats.types import Entropy

__all__ = ["Allocating"]

_RESERVE = 0x80
_TOKEN_SIZE = 8
_FAMILIES = (IPV4, IPV6)
_Attributes = list[tuple[int, Any]]

_REQUESTED_TRANSPORT = int(Attribute.REQUESTED_TRANSPORT)
_RESERVATION_TOKEN = int(Attribute.RESERVATION_TOKEN)
_EVEN_PORT = int(Attribute.EVEN_PORT)
_REQUESTED_FAMILY = int(Attribute.REQUESTED_ADDRESS_FAMILY)
_ADDITIONAL_FAMILY = int(Attribute.ADDITIONAL_ADDRESS_FAMILY)
_LIFETIME = int(Attribute.LIFETIME)
_MOBILITY_TICKET = int(Attribute.MOBILITY_TICKET)
_XOR_RELAYED_ADDRESS = int(Attribute.XOR_RELAYED_ADDRESS)
_XOR_MAPPED_ADDRESS = int(Attribute.XOR_MAPPED_ADDRESS)
_DONT_FRAGMENT = int(Attribute.DONT_FRAGMENT)
_SELDOM = frozenset(
    [_RESERVATION_TOKEN, _EVEN_PORT, _REQUESTED_FAMILY, _ADDITIONAL_FAMILY, _MOBILITY_TICKET, _DONT_FRAGMENT]
)


class Allocating:
    """Makes, prolongs and ends allocations.

    Args:
        tables: Where they are kept.
        mobility: Makes and reads the tickets of clients that move.
        entropy: Where tokens come from.
    """

    def __init__(self, tables: Tables, mobility: Mobility, *, entropy: Entropy) -> None:
        self._tables = tables
        self._shared: Shared = tables.shared
        self._mobility = mobility
        self._entropy = entropy

    def allocate(self, request: Request) -> _Attributes:
        """Answer an Allocate request.

        Raises:
            Refused: With the code of RFC 8656, 7.2.
        """
        message, client = request.message, request.client
        tables, shared = self._tables, self._shared
        if client in tables:
            raise Refused(ErrorCode.ALLOCATION_MISMATCH)
        transport = octet_in(message, _REQUESTED_TRANSPORT)
        if transport is None:
            raise Refused(ErrorCode.BAD_REQUEST)
        wanted = _Wanted(request) if _SELDOM.intersection(message.types()) else _NOTHING_SPECIAL
        if transport != UDP:
            self._check_tcp(request, transport, wanted)
        if wanted.whole and not tables.plane.can_keep_whole:
            # RFC 8656, 7.2: who cannot set the DF bit for some datagrams and not for others does not know it.
            raise Refused(ErrorCode.UNKNOWN_ATTRIBUTE, (Attribute.UNKNOWN_ATTRIBUTES, (_DONT_FRAGMENT,)))
        if wanted.ticket is not None:
            refuse_unless(shared.settings.mobility, ErrorCode.MOBILITY_FORBIDDEN)
            refuse_unless(not wanted.ticket)
        lifetime = self._lifetime(request)
        if shared.draining or len(tables) >= tables.capacity:
            raise Full
        account = None if request.login is None else request.login.account
        owner = "" if account is None else account.owner
        reserved = None if wanted.token is None else self._take_reserved(wanted.token, now=request.now)
        try:
            self._count(owner)
        except Refused:
            if reserved is not None:
                shared.ports.close(reserved)
            raise
        try:
            relays, extra = ((reserved,), []) if reserved else self._open(request, wanted, transport, owner)
        except BaseException:
            shared.quotas.give_back(owner)
            raise
        allocation = tables.add(client, account, relays, lifetime=lifetime, now=request.now, transport=transport)
        attributes: _Attributes = [(_XOR_RELAYED_ADDRESS, (relay.host, relay.port)) for relay in relays]
        attributes += extra
        attributes.append((_LIFETIME, lifetime))
        attributes.append((_XOR_MAPPED_ADDRESS, unpack_address(client.address)))
        if wanted.ticket is not None:
            attributes.append((_MOBILITY_TICKET, self._new_ticket(allocation)))
        return attributes

    @staticmethod
    def _check_tcp(request: Request, transport: int, wanted: _Wanted) -> None:
        """Refuse a TCP allocation where there cannot be one (RFC 6062, 5.1), and every other transport."""
        refuse_unless(transport == TCP, ErrorCode.UNSUPPORTED_TRANSPORT_PROTOCOL)
        refuse_unless(request.client.is_stream and not (wanted.even or wanted.whole) and wanted.token is None)

    def _count(self, owner: str) -> None:
        """Take a place in an owner's quota.

        Raises:
            Refused: There is none.
        """
        held = self._shared.quotas.take(owner)
        if held <= 0:
            raise Full if held else Refused(ErrorCode.ALLOCATION_QUOTA_REACHED)

    def _open(
        self, request: Request, wanted: _Wanted, transport: int, owner: str
    ) -> tuple[tuple[Relay, ...], _Attributes]:
        """Return the sockets that a request asks for, and what the answer says of them besides."""
        ports, near = self._tables.ports, request.client.local
        family = wanted.family or IPV4
        if not ports.has(family):
            raise Refused(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED)
        if wanted.reserve:
            # A port that waits is as good as one that is used, to whoever wants to have them all.
            self._count(owner)
            pair = ports.open_pair(family, near=near)
            if pair is None:
                self._shared.quotas.give_back(owner)
                raise Full
            return pair[:1], [(_RESERVATION_TOKEN, self._reserve(pair[1], owner, now=request.now))]
        first = ports.open(family, near=near, even=wanted.even, transport=transport)
        if first is None:
            raise Full
        if wanted.additional is None:
            return (first,), []
        can = ports.has(IPV6) and not self._tables.shares_relays
        second = ports.open(wanted.additional, near=near, transport=transport) if can else None
        if second is not None:
            return (first, second), []
        code = ErrorCode.INSUFFICIENT_CAPACITY if can else ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED
        return (first,), [(Attribute.ADDRESS_ERROR_CODE, (wanted.additional, int(code), ""))]

    def refresh(self, request: Request) -> _Attributes:
        """Answer a Refresh request.

        Raises:
            Refused: With the code of RFC 8656, 8.2 or of RFC 8016, 3.2.2.
        """
        message = request.message
        lifetime = self._lifetime(request, may_end=True)
        family = octet_in(message, _REQUESTED_FAMILY)
        allocation = self._tables.find(request.client)
        if allocation is None:
            raise Refused(ErrorCode.ALLOCATION_MISMATCH)
        allocation.check_owner(request.login)
        if family is not None:
            refuse_unless(family in allocation.families, ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        attributes: _Attributes = [(_LIFETIME, lifetime)]
        if lifetime:
            self._tables.refresh(allocation, lifetime, now=request.now)
            if message.raw(_MOBILITY_TICKET) is not None:
                refuse_unless(self._shared.settings.mobility, ErrorCode.MOBILITY_FORBIDDEN)
                attributes.append((_MOBILITY_TICKET, self._new_ticket(allocation)))
        elif family is None or len(allocation.relays) == 1:
            self._tables.release(allocation, "deleted")
        else:
            self._tables.drop_relay(allocation, family, now=request.now)
        return attributes

    def _new_ticket(self, allocation: Allocation) -> bytes:
        number = allocation.number
        return self._mobility.issue(number, self._tables.plane.next_ticket(number))

    def forget_reservations(self, *, now: float) -> None:
        """Close the reserved sockets for which nobody came; while draining nobody comes any more."""
        self._shared.close_reserved(math.inf if self._shared.draining else now)

    def _lifetime(self, request: Request, *, may_end: bool = False) -> int:
        settings = self._shared.settings
        wanted = number_in(request.message, _LIFETIME)
        if wanted == 0 and may_end:
            return 0
        return max(min(wanted or 0, settings.max_lifetime), settings.default_lifetime)

    def _reserve(self, relay: Relay, owner: str, *, now: float) -> bytes:
        token = self._entropy.token_bytes(_TOKEN_SIZE)
        self._shared.reserved[token] = relay, now + self._shared.settings.reservation_lifetime, owner
        return token

    def _take_reserved(self, token: bytes, *, now: float) -> Relay:
        found = self._shared.take_reserved(token)
        if found is None:
            raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)
        relay, expires = found
        if expires <= now:
            self._shared.ports.close(relay)
            raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)
        return relay


class _Wanted:
    """Which relayed addresses an Allocate request asks for.

    Raises:
        Refused: What it asks for does not go together.
    """

    __slots__ = ("additional", "even", "family", "reserve", "ticket", "token", "whole")

    def __init__(self, request: Request | None) -> None:
        self.token: bytes | None = None
        self.family: int | None = None
        self.additional: int | None = None
        self.ticket: bytes | None = None
        self.even = self.reserve = self.whole = False
        if request is None:
            return
        message = request.message
        self.whole = message.raw(_DONT_FRAGMENT) is not None
        self.token = message.raw(_RESERVATION_TOKEN)
        self.family = octet_in(message, _REQUESTED_FAMILY)
        self.additional = octet_in(message, _ADDITIONAL_FAMILY)
        self.ticket = message.raw(_MOBILITY_TICKET)
        even = octet_in(message, _EVEN_PORT, size=1)
        if even is not None:
            self.even, self.reserve = True, bool(even & _RESERVE)
        if self.token is not None:
            refuse_unless(len(self.token) == _TOKEN_SIZE and not self.even)
            refuse_unless(self.family is None and self.additional is None)
        if self.family is not None:
            refuse_unless(self.family in _FAMILIES, ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED)
        if self.additional is not None:
            refuse_unless(self.additional == IPV6 and self.family is None and not self.reserve)


_NOTHING_SPECIAL = _Wanted(None)
