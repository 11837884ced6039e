"""What a simulated router says to those who ask it to map ports: by PCP (RFC 6887), NAT-PMP (RFC 6886), or both."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from librats.errors import DecodeError
from librats.portmap.natpmp_wire import (
    NATPMP_VERSION,
    NatPmpMapping,
    NatPmpPublicAddress,
    NatPmpRefusal,
    NatPmpRequest,
    NatPmpResponse,
    NatPmpResult,
    decode_natpmp_request,
    encode_natpmp_response,
)
from librats.portmap.pcp_wire import (
    PCP_VERSION,
    MapData,
    MapRequest,
    Opcode,
    PcpResponse,
    PcpResult,
    decode_pcp_request,
    encode_pcp_response,
)
from librats.types import Address, MappedTransport, PortMappingProtocol

__all__ = ["Lease", "PortMappingServer"]

PCP, NAT_PMP = PortMappingProtocol.PCP, PortMappingProtocol.NAT_PMP
ERROR_LIFETIME = 1800
UNSPECIFIED = "0.0.0.0"  # noqa: S104 - stands for any address


@dataclass(frozen=True, slots=True)
class Lease:
    """A mapping that a host has asked for."""

    outer: Address
    """The public address."""

    expires: float
    """When it is over."""

    nonce: bytes
    """Of its owner; empty of one that came by NAT-PMP."""


Grant = Callable[[MappedTransport, Address, int, bool, float], Address | None]
"""Maps a transport and an inner address to an outer port, or, unless it has to be that one, to another; until when."""

Revoke = Callable[[MappedTransport, Address], None]


class PortMappingServer:
    """Answers requests for mappings.

    Args:
        protocols: What it speaks.
        grant: Makes mappings.
        revoke: Ends them.
    """

    def __init__(self, protocols: frozenset[PortMappingProtocol], grant: Grant, revoke: Revoke) -> None:
        self.protocols = protocols
        """What it speaks."""
        self.refuses: PcpResult | None = None
        """What it says to every request for a mapping; None where it grants them."""
        self.max_lifetime = 86400
        """Seconds of the longest lease."""
        self.leases: dict[tuple[MappedTransport, Address], Lease] = {}
        """What was asked for, by transport and inner address; some of them may be over."""
        self._grant = grant
        self._revoke = revoke
        self._began = 0.0

    def restart(self, now: float) -> None:
        """Forget every lease, as when the power is gone."""
        self.leases.clear()
        self._began = now

    def answer(self, data: bytes, source: Address, outside: str, now: float) -> bytes | None:
        """Return what is to be sent back; None for nothing.

        Args:
            data: The request.
            source: Who sent it.
            outside: The router's public IPv4 address.
            now: Current time.
        """
        self._epoch = int(now - self._began)
        try:
            if data[:1] == bytes([NATPMP_VERSION]):
                return self._answer_natpmp(decode_natpmp_request(data), source, outside, now)
            return self._answer_pcp(decode_pcp_request(data), source, now)
        except DecodeError:
            return None

    # PCP

    def _answer_pcp(self, request: MapRequest, source: Address, now: float) -> bytes | None:
        if PCP not in self.protocols:
            refusal = NatPmpRefusal(epoch=self._epoch, transport=None, result=NatPmpResult.UNSUPPORTED_VERSION)
            return encode_natpmp_response(refusal) if NAT_PMP in self.protocols else None
        result, lifetime, data = PcpResult.SUCCESS, 0, request.data
        if request.version != PCP_VERSION:
            result, data = PcpResult.UNSUPP_VERSION, None
        elif request.client != source.host:
            result = PcpResult.ADDRESS_MISMATCH
        elif data is not None:
            result, lifetime, data = self._map(request, data, source, now)
        return encode_pcp_response(
            PcpResponse(
                version=PCP_VERSION,
                opcode=request.opcode,
                result=result,
                lifetime=ERROR_LIFETIME if result else lifetime,
                epoch=self._epoch,
                data=data,
            )
        )

    def _map(self, request: MapRequest, data: MapData, source: Address, now: float) -> tuple[PcpResult, int, MapData]:
        if self.refuses is not None:
            return self.refuses, 0, data
        inner = Address(source.host, data.internal_port)
        there = self._live(data.transport, inner, now)
        if there is not None and there.nonce != data.nonce:
            return PcpResult.NOT_AUTHORIZED, 0, data
        lifetime = min(request.lifetime, self.max_lifetime)
        if not lifetime:
            self._end(data.transport, inner)
            return PcpResult.SUCCESS, 0, data
        wanted = data.external.port if there is None else there.outer.port
        host = data.external.host
        exact = request.prefer_failure and not ipaddress.ip_address(host).is_unspecified
        outer = self._grant(data.transport, inner, wanted, request.prefer_failure, now + lifetime)
        if outer is None or (exact and outer.host != host):
            return PcpResult.CANNOT_PROVIDE_EXTERNAL, 0, data
        self.leases[data.transport, inner] = Lease(outer, now + lifetime, data.nonce)
        granted = MapData(nonce=data.nonce, transport=data.transport, internal_port=data.internal_port, external=outer)
        return PcpResult.SUCCESS, lifetime, granted

    # NAT-PMP

    def _answer_natpmp(self, request: NatPmpRequest, source: Address, outside: str, now: float) -> bytes | None:
        if NAT_PMP not in self.protocols or ":" in source.host:
            # A server of PCP alone says which version it knows.
            refusal = PcpResponse(version=PCP_VERSION, opcode=Opcode.ANNOUNCE, result=PcpResult.UNSUPP_VERSION)
            return encode_pcp_response(refusal)
        return encode_natpmp_response(self._natpmp(request, source, outside, now))

    def _natpmp(self, request: NatPmpRequest, source: Address, outside: str, now: float) -> NatPmpResponse:
        transport = request.transport
        if transport is None:
            return NatPmpPublicAddress(epoch=self._epoch, host=outside or UNSPECIFIED)
        if self.refuses is not None:
            return NatPmpRefusal(epoch=self._epoch, transport=transport, result=NatPmpResult.NOT_AUTHORIZED)
        inner = Address(source.host, request.internal_port)
        lifetime = min(request.lifetime, self.max_lifetime)
        port = 0
        if not lifetime:
            self._end(transport, inner)
        else:
            outer = self._grant(transport, inner, request.external_port, False, now + lifetime)
            if outer is None:
                return NatPmpRefusal(epoch=self._epoch, transport=transport, result=NatPmpResult.OUT_OF_RESOURCES)
            self.leases[transport, inner] = Lease(outer, now + lifetime, b"")
            port = outer.port
        return NatPmpMapping(
            epoch=self._epoch,
            transport=transport,
            internal_port=request.internal_port,
            external_port=port,
            lifetime=lifetime,
        )

    # Leases

    def _live(self, transport: MappedTransport, inner: Address, now: float) -> Lease | None:
        lease = self.leases.get((transport, inner))
        return lease if lease is not None and lease.expires > now else None

    def _end(self, transport: MappedTransport, inner: Address) -> None:
        if self.leases.pop((transport, inner), None) is not None:
            self._revoke(transport, inner)
