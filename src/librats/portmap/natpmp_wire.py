"""NAT-PMP messages as bytes (RFC 6886, sections 3.2 to 3.5)."""

from __future__ import annotations

import ipaddress
import struct
from enum import IntEnum

from msgspec import Struct

from librats.errors import DecodeError
from librats.types import MappedTransport

__all__ = [
    "NATPMP_VERSION",
    "PUBLIC_ADDRESS_REQUEST",
    "NatPmpMapping",
    "NatPmpPublicAddress",
    "NatPmpRefusal",
    "NatPmpRequest",
    "NatPmpResponse",
    "NatPmpResult",
    "decode_natpmp_request",
    "decode_natpmp_response",
    "encode_natpmp_request",
    "encode_natpmp_response",
]

NATPMP_VERSION = 0
PUBLIC_ADDRESS_REQUEST = b"\0\0"
PUBLIC_ADDRESS = 0
RESPONSE_BIT = 0x80
REFUSAL_SIZE, ADDRESS_SIZE, MAPPING_SIZE = 8, 12, 16
SHORTEST_REQUEST = 2
MAX_SIZE = 1100

_HEAD = struct.Struct("!BBHI")
_MAPPING = struct.Struct("!HHI")
_REQUEST = struct.Struct("!BBHHHI")

_OPCODES = {MappedTransport.UDP: 1, MappedTransport.TCP: 2}
_TRANSPORTS = {opcode: transport for transport, opcode in _OPCODES.items()}


class NatPmpResult(IntEnum):
    """What a gateway says of a request (RFC 6886, 3.5)."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


class NatPmpRequest(Struct, frozen=True, kw_only=True):
    """A request; one without a transport asks for the public address."""

    version: int = NATPMP_VERSION
    """Of the message."""

    transport: MappedTransport | None = None
    """What is to be mapped."""

    internal_port: int = 0
    """The port of the host that asks."""

    external_port: int = 0
    """The one that is suggested; 0 for any."""

    lifetime: int = 0
    """Seconds that are wanted; 0 removes a mapping."""


class NatPmpPublicAddress(Struct, frozen=True, kw_only=True):
    """The gateway's public address."""

    epoch: int
    """Seconds since the gateway has lost its state last."""

    host: str
    """An IPv4 address, ``0.0.0.0`` where it has none."""


class NatPmpMapping(Struct, frozen=True, kw_only=True):
    """A mapping that was made or, with a lifetime of 0, removed."""

    epoch: int
    """Seconds since the gateway has lost its state last."""

    transport: MappedTransport
    """What is mapped."""

    internal_port: int
    """The port of the host that asked."""

    external_port: int
    """The public one."""

    lifetime: int
    """Seconds that it lives."""


class NatPmpRefusal(Struct, frozen=True, kw_only=True):
    """A request that was not granted."""

    epoch: int
    """Seconds since the gateway has lost its state last."""

    transport: MappedTransport | None
    """What was to be mapped; None where the public address was asked for, or what it was is not told."""

    result: int
    """A :class:`NatPmpResult`, or a number that is not known."""

    internal_port: int | None = None
    """The port of the host that asked; None where it is not told, which makes it every one."""


NatPmpResponse = NatPmpPublicAddress | NatPmpMapping | NatPmpRefusal


def encode_natpmp_request(request: NatPmpRequest) -> bytes:
    """Return a request.

    Example:
        >>> wanted = NatPmpRequest(transport=MappedTransport.UDP, internal_port=8080, lifetime=7200)
        >>> encode_natpmp_request(wanted).hex(" ", 4)
        '00010000 1f900000 00001c20'
    """
    if request.transport is None:
        return PUBLIC_ADDRESS_REQUEST
    return _REQUEST.pack(
        request.version,
        _OPCODES[request.transport],
        0,
        request.internal_port,
        request.external_port,
        request.lifetime,
    )


def decode_natpmp_response(data: bytes) -> NatPmpResponse:
    """Read what a gateway sent. What stands behind a message is skipped.

    Raises:
        DecodeError: It is no response, or malformed.
    """
    size = len(data)
    if size < REFUSAL_SIZE or size > MAX_SIZE:
        raise DecodeError(f"a NAT-PMP response of {size} bytes", size)
    version, code, result, epoch = _HEAD.unpack_from(data)
    if version != NATPMP_VERSION:
        raise DecodeError(f"version {version} is not that of NAT-PMP", 0)
    opcode = code & ~RESPONSE_BIT
    if result == NatPmpResult.UNSUPPORTED_VERSION:
        return NatPmpRefusal(epoch=epoch, transport=None, result=result)
    if not code & RESPONSE_BIT:
        raise DecodeError("not a response", 1)
    transport = _TRANSPORTS.get(opcode)
    if transport is None and opcode != PUBLIC_ADDRESS:
        raise DecodeError(f"answers opcode {opcode}, which nobody uses", 1)
    if result != NatPmpResult.SUCCESS:
        internal = int.from_bytes(data[8:10], "big") if transport is not None and size >= MAPPING_SIZE else None
        return NatPmpRefusal(epoch=epoch, transport=transport, result=result, internal_port=internal)
    wanted = ADDRESS_SIZE if transport is None else MAPPING_SIZE
    if size < wanted:
        raise DecodeError(f"the answer has {wanted} bytes, not {size}", size)
    if transport is None:
        return NatPmpPublicAddress(epoch=epoch, host=str(ipaddress.IPv4Address(data[8:12])))
    internal_port, external_port, lifetime = _MAPPING.unpack_from(data, _HEAD.size)
    return NatPmpMapping(
        epoch=epoch,
        transport=transport,
        internal_port=internal_port,
        external_port=external_port,
        lifetime=lifetime,
    )


def decode_natpmp_request(data: bytes) -> NatPmpRequest:
    """Read a request, as a gateway does.

    Raises:
        DecodeError: It is no request, or malformed.
    """
    if len(data) < SHORTEST_REQUEST or data[1] & RESPONSE_BIT:
        raise DecodeError("not a request", 0)
    if data[0] != NATPMP_VERSION or data[1] == PUBLIC_ADDRESS:
        return NatPmpRequest(version=data[0])
    transport = _TRANSPORTS.get(data[1])
    if transport is None or len(data) < _REQUEST.size:
        raise DecodeError(f"opcode {data[1]} in {len(data)} bytes", 1)
    _, _, _, internal_port, external_port, lifetime = _REQUEST.unpack_from(data)
    return NatPmpRequest(
        transport=transport, internal_port=internal_port, external_port=external_port, lifetime=lifetime
    )


def encode_natpmp_response(response: NatPmpResponse) -> bytes:
    """Return a response, as a gateway does."""
    transport = None if isinstance(response, NatPmpPublicAddress) else response.transport
    code = RESPONSE_BIT | (PUBLIC_ADDRESS if transport is None else _OPCODES[transport])
    result = response.result if isinstance(response, NatPmpRefusal) else NatPmpResult.SUCCESS
    head = _HEAD.pack(NATPMP_VERSION, code, result, response.epoch)
    if isinstance(response, NatPmpPublicAddress):
        return head + ipaddress.IPv4Address(response.host).packed
    if isinstance(response, NatPmpMapping):
        return head + _MAPPING.pack(response.internal_port, response.external_port, response.lifetime)
    return head
