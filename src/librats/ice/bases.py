"""This side's candidates, and the bases that they are sent from (RFC 8445, 5.1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import Struct
from msgspec import field as struct_field

from librats.errors import LocalProtocolError
from librats.ice.candidates import (
    MAX_LOCAL_PREFERENCE,
    CandidateType,
    Foundations,
    IceCandidate,
    TcpType,
    candidate_priority,
    comparable,
    tcp_priority,
)
from librats.ice.descriptions import MAX_CANDIDATES
from librats.types import Address

__all__ = ["Base", "LocalCandidates"]

STEP = 256
"""Between the local preferences of two bases: room for the candidates that are learnt of from one base."""


class Base(Struct):
    """What checks and data are sent from: a socket, or an allocation on a TURN server."""

    number: int
    """What the driver knows it by."""

    candidate: IceCandidate
    """Its own candidate: a host or relayed one."""

    preference: int
    """Its local preference."""

    others: list[IceCandidate] = struct_field(default_factory=list)
    """Further candidates that are sent from it: other addresses of a socket that has several, and reflexive ones."""

    @property
    def is_relayed(self) -> bool:
        """Whether it lies on a TURN server."""
        return self.candidate.is_relayed

    @property
    def learnt_priority(self) -> int:
        """Priority that a candidate has which the peer learns of from this base (RFC 8445, 7.1.1)."""
        return self.priority_of(CandidateType.PEER_REFLEXIVE, self.preference)

    def priority_of(self, kind: CandidateType, preference: int) -> int:
        """Return the priority of a candidate of this base."""
        tcp_type = self.candidate.tcp_type
        if tcp_type is not None:
            return tcp_priority(kind, tcp_type, preference >> 3)
        return candidate_priority(kind, preference)


class LocalCandidates:
    """Bases and candidates of this side, in the order in which they were found."""

    def __init__(self) -> None:
        self._foundations = Foundations()
        self._numbers = 0
        self._ranks = {CandidateType.HOST: 0, CandidateType.RELAYED: 0}
        self.bases: dict[int, Base] = {}
        """Every base, by number."""

    @property
    def candidates(self) -> list[IceCandidate]:
        """What the peer is told of."""
        return [
            candidate
            for base in self.bases.values()
            for candidate in (base.candidate, *base.others)
            if candidate.type is not CandidateType.PEER_REFLEXIVE
        ]

    def add_hosts(
        self, addresses: Sequence[Address], *, transport: str = "udp", tcp_type: TcpType | None = None
    ) -> Base:
        """Add a base with an address of an interface, or one with several of them.

        Raises:
            LocalProtocolError: There are too many candidates.
        """
        base = self._add(CandidateType.HOST, addresses[0], transport, tcp_type, None, None)
        for address in addresses[1:]:
            self._add_other(base, CandidateType.HOST, address, None, base_host=address.host)
        return base

    def add_relayed(self, address: Address, *, server: str, mapped: Address | None) -> Base:
        """Add an allocation on a TURN server.

        Args:
            address: The relayed address.
            server: IP address of the server.
            mapped: Where the server sees us.

        Raises:
            LocalProtocolError: There are too many candidates.
        """
        return self._add(CandidateType.RELAYED, address, "udp", None, server, mapped or address)

    def add_mapped(self, number: int, address: Address, *, server: str) -> IceCandidate | None:
        """Add where a STUN server sees a base; None where that is nothing new (RFC 8445, 5.1.3)."""
        base = self.bases.get(number)
        if base is None or self.find(number, address) is not None:
            return None
        return self._add_other(base, CandidateType.SERVER_REFLEXIVE, address, server, base_host=None)

    def add_learnt(self, number: int, address: Address) -> IceCandidate | None:
        """Add where the peer sees a base (RFC 8445, 7.2.5.3.1); None where there are too many."""
        base = self.bases[number]
        return self._add_other(base, CandidateType.PEER_REFLEXIVE, address, None, base_host=None)

    def find(self, number: int, address: Address) -> IceCandidate | None:
        """Return the candidate of a base that has an address."""
        base = self.bases[number]
        wanted = comparable(address)
        return next((each for each in (base.candidate, *base.others) if comparable(each.address) == wanted), None)

    def is_own(self, candidate: IceCandidate) -> bool:
        """Tell whether a candidate of the peer's has the address of a socket of ours, in another network than this."""
        wanted = comparable(candidate.address)
        return any(
            each.type is CandidateType.HOST
            and each.transport == candidate.transport
            and comparable(each.address) == wanted
            for base in self.bases.values()
            for each in (base.candidate, *base.others)
            if each.tcp_type is not TcpType.ACTIVE
        )

    def replace_mapped(self, number: int, old: Address, new: Address, *, server: str) -> IceCandidate | None:
        """Put another reflexive address in the place of one that has gone."""
        base = self.bases.get(number)
        if base is None:
            return None
        gone = comparable(old)
        base.others = [
            each
            for each in base.others
            if each.type is not CandidateType.SERVER_REFLEXIVE or comparable(each.address) != gone
        ]
        return self.add_mapped(number, new, server=server)

    def remove(self, number: int) -> None:
        """Forget a base, and what was learnt of from it."""
        self.bases.pop(number, None)

    def _add(
        self,
        kind: CandidateType,
        address: Address,
        transport: str,
        tcp_type: TcpType | None,
        server: str | None,
        related: Address | None,
    ) -> Base:
        if sum(1 + len(base.others) for base in self.bases.values()) >= MAX_CANDIDATES:
            raise LocalProtocolError(f"there are {MAX_CANDIDATES} candidates already")
        preference = max(MAX_LOCAL_PREFERENCE - STEP * self._ranks[kind], 0)
        self._ranks[kind] += 1
        candidate = IceCandidate(
            foundation=self._foundations.of(kind, transport, address.host, server),
            transport=transport,
            priority=1,
            address=Address(*address),
            type=kind,
            related=related,
            tcp_type=tcp_type,
        )
        base = Base(self._numbers, candidate, preference)
        base.candidate = replace(candidate, priority=base.priority_of(kind, preference))
        self.bases[base.number] = base
        self._numbers += 1
        return base

    def _add_other(
        self, base: Base, kind: CandidateType, address: Address, server: str | None, *, base_host: str | None
    ) -> IceCandidate | None:
        if sum(1 + len(each.others) for each in self.bases.values()) >= MAX_CANDIDATES:
            return None
        main = base.candidate
        used = sum(each.type is kind for each in (main, *base.others))
        host = base_host or main.address.host
        candidate = IceCandidate(
            foundation=self._foundations.of(kind, main.transport, host, server),
            transport=main.transport,
            priority=base.priority_of(kind, max(base.preference - used, 0)),
            address=Address(*address),
            type=kind,
            related=None if kind is CandidateType.HOST else main.address,
            tcp_type=main.tcp_type,
        )
        base.others.append(candidate)
        return candidate
