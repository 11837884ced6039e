"""Candidates: addresses at which a side may be reached (RFC 8445, 5.1; RFC 6544 for those of TCP)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from librats.stun.client import plain_host
from librats.types import Address

__all__ = [
    "MAX_PRIORITY",
    "TYPE_PREFERENCES",
    "CandidateType",
    "Foundations",
    "IceCandidate",
    "TcpType",
    "candidate_at",
    "candidate_priority",
    "comparable",
    "pair_priority",
    "tcp_local_preference",
    "tcp_priority",
]

MAX_PRIORITY = 2**31 - 1
MAX_LOCAL_PREFERENCE = 65535
MAX_COMPONENT = 256
TCP_OTHER_BITS = 13


class CandidateType(StrEnum):
    """How a candidate was learnt of."""

    HOST = "host"
    """An address of an interface."""

    SERVER_REFLEXIVE = "srflx"
    """Where a STUN server sees that interface."""

    PEER_REFLEXIVE = "prflx"
    """Where the peer sees it."""

    RELAYED = "relay"
    """An address on a TURN server."""


TYPE_PREFERENCES = {
    CandidateType.HOST: 126,
    CandidateType.PEER_REFLEXIVE: 110,
    CandidateType.SERVER_REFLEXIVE: 100,
    CandidateType.RELAYED: 0,
}
"""What RFC 8445, 5.1.2.2 recommends."""


class TcpType(StrEnum):
    """Who opens the connection of a TCP candidate (RFC 6544, 4.5)."""

    ACTIVE = "active"
    """This side does; it has no port to be dialled."""

    PASSIVE = "passive"
    """The other side does."""

    SIMULTANEOUS = "so"
    """Both at once."""

    @property
    def counterpart(self) -> TcpType:
        """What the other side's candidate has to be."""
        return {TcpType.ACTIVE: TcpType.PASSIVE, TcpType.PASSIVE: TcpType.ACTIVE}.get(self, self)


TCP_DIRECTION = {
    "direct": {TcpType.ACTIVE: 6, TcpType.PASSIVE: 4, TcpType.SIMULTANEOUS: 2},
    "mapped": {TcpType.SIMULTANEOUS: 6, TcpType.ACTIVE: 4, TcpType.PASSIVE: 2},
}


def candidate_priority(kind: CandidateType, local_preference: int, component: int = 1) -> int:
    """Return the priority of a candidate (RFC 8445, 5.1.2.1).

    Args:
        kind: Its type.
        local_preference: 0 to 65535, another one for each candidate of that type.
        component: 1 to 256.

    Example:
        >>> candidate_priority(CandidateType.HOST, 65535)
        2130706431
    """
    return (TYPE_PREFERENCES[kind] << 24) + (local_preference << 8) + (MAX_COMPONENT - component)


def tcp_local_preference(kind: CandidateType, tcp_type: TcpType, other: int) -> int:
    """Return the local preference of a TCP candidate (RFC 6544, 4.2).

    Args:
        kind: Its type.
        tcp_type: Who opens the connection.
        other: 0 to 8191, another one for each interface.
    """
    mapped = kind in (CandidateType.SERVER_REFLEXIVE, CandidateType.PEER_REFLEXIVE)
    direction = TCP_DIRECTION["mapped" if mapped else "direct"][tcp_type]
    return (direction << TCP_OTHER_BITS) + min(other, (1 << TCP_OTHER_BITS) - 1)


def tcp_priority(kind: CandidateType, tcp_type: TcpType, other: int) -> int:
    """Return the priority of a TCP candidate: below those of UDP that no relay is needed for (RFC 6544, 4.2).

    Args:
        kind: Its type.
        tcp_type: Who opens the connection.
        other: 0 to 8191, another one for each interface.
    """
    preference = TYPE_PREFERENCES[kind] // 2
    return (preference << 24) + (tcp_local_preference(kind, tcp_type, other) << 8) + MAX_COMPONENT - 1


def pair_priority(controlling: int, controlled: int) -> int:
    """Return the priority of a pair, from those of the two agents' candidates (RFC 8445, 6.1.2.3).

    Example:
        >>> pair_priority(1, 2147483647)
        8589934590
    """
    least, most = min(controlling, controlled), max(controlling, controlled)
    return (least << 32) + 2 * most + int(controlling > controlled)


def comparable(address: Address) -> Address:
    """Return an address in the spelling in which it compares: without a zone, and IPv4 as such."""
    return Address(plain_host(address.host.partition("%")[0]), address.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class IceCandidate:
    """An address at which a side may be reached.

    Example:
        >>> candidate = IceCandidate(
        ...     foundation="1", priority=2130706431, address=Address("192.0.2.7", 8998), type=CandidateType.HOST
        ... )
        >>> candidate.family
        4
    """

    foundation: str
    """Equal for candidates that work, or fail, together."""

    component: int = 1
    """1: there is no other one."""

    transport: str = "udp"
    """``"udp"`` or ``"tcp"``."""

    priority: int
    """1 to 2147483647; higher is better."""

    address: Address
    """IP address and port. The host may be a name that ends in ``.local``, which multicast DNS resolves."""

    type: CandidateType
    """How it was learnt of."""

    related: Address | None = None
    """Where it was learnt from: the base of a reflexive one, the mapped address of a relayed one. For diagnosis."""

    tcp_type: TcpType | None = None
    """Who opens the connection, where it is of TCP."""

    extensions: tuple[tuple[str, str], ...] = field(default=())
    """Names and values of what else the candidate attribute has, ``ufrag`` and ``generation`` for example."""

    @property
    def family(self) -> int:
        """4 or 6; 0 where the host is a name."""
        if not self.address.is_literal:
            return 0
        return 6 if ":" in self.address.host else 4

    @property
    def is_name(self) -> bool:
        """True where the host is a name."""
        return not self.address.is_literal

    @property
    def is_relayed(self) -> bool:
        """True where it lies on a TURN server."""
        return self.type is CandidateType.RELAYED

    def extension(self, name: str) -> str:
        """Return the value of an extension; empty where there is none."""
        return next((value for key, value in self.extensions if key == name), "")

    def at(self, host: str) -> IceCandidate:
        """Return the same candidate with another host, one that its name was resolved to."""
        return replace(self, address=Address(host, self.address.port))

    def __str__(self) -> str:
        """Show type and address."""
        return f"{self.type} {self.address}{'/tcp' if self.transport == 'tcp' else ''}"

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary of texts and numbers; what is not there is left out."""
        found: dict[str, Any] = {
            "foundation": self.foundation,
            "component": self.component,
            "transport": self.transport,
            "priority": self.priority,
            "address": self.address.host,
            "port": self.address.port,
            "type": str(self.type),
        }
        if self.related is not None:
            found |= {"related_address": self.related.host, "related_port": self.related.port}
        if self.tcp_type is not None:
            found["tcptype"] = str(self.tcp_type)
        if self.extensions:
            found["extensions"] = [list(pair) for pair in self.extensions]
        return found


class Foundations:
    """Gives candidates their foundations (RFC 8445, 5.1.1.3).

    Example:
        >>> foundations = Foundations()
        >>> of = foundations.of
        >>> [of(CandidateType.HOST, "udp", base, None) for base in ("10.0.0.1", "10.0.0.2", "10.0.0.1")]
        ['1', '2', '1']
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, str | None], str] = {}

    def of(self, kind: CandidateType, transport: str, base: str, server: str | None) -> str:
        """Return the foundation of a candidate.

        Args:
            kind: Its type.
            transport: ``"udp"`` or ``"tcp"``.
            base: IP address of its base.
            server: IP address of the STUN or TURN server that it came from.
        """
        key = (kind, transport, plain_host(base), server)
        return self._known.setdefault(key, str(len(self._known) + 1))


def candidate_at(address: Address) -> IceCandidate:
    """Return a candidate of a peer's at an address that is known from elsewhere, as one that servers have seen.

    Example:
        >>> str(candidate_at(Address("192.0.2.7", 8998)).type)
        'srflx'
    """
    kind = CandidateType.SERVER_REFLEXIVE
    return IceCandidate(foundation="told", priority=candidate_priority(kind, 0), address=address, type=kind)
