"""PCP messages as bytes (RFC 6887, sections 7, 11 and 14), version 2."""

from __future__ import annotations

import ipaddress
import struct
from enum import IntEnum

from msgspec import Struct

from librats.errors import DecodeError
from librats.types import Address, MappedTransport

__all__ = [
    "NONCE_SIZE",
    "PCP_PORT",
    "PCP_VERSION",
    "MapData",
    "MapRequest",
    "Opcode",
    "PcpResponse",
    "PcpResult",
    "announce_request",
    "decode_pcp_request",
    "decode_pcp_response",
    "encode_announcement",
    "encode_map_request",
    "encode_pcp_response",
    "packed_ip",
]

PCP_PORT = 5351
PCP_VERSION = 2
NONCE_SIZE = 12
MAX_SIZE = 1100
HEADER_SIZE = 24
MAP_SIZE = 36
RESPONSE_BIT = 0x80
PREFER_FAILURE = 2

_REQUEST = struct.Struct("!BBHI16s")
_RESPONSE = struct.Struct("!BBBBII12x")
_MAP = struct.Struct("!12sB3xHH16s")
_OPTION = struct.Struct("!BxH")

PROTOCOL_NUMBERS = {MappedTransport.TCP: 6, MappedTransport.UDP: 17}
_TRANSPORTS = {number: transport for transport, number in PROTOCOL_NUMBERS.items()}


class Opcode(IntEnum):
    """What a message is about."""

    ANNOUNCE = 0
    MAP = 1


class PcpResult(IntEnum):
    """What a server says of a request (RFC 6887, 7.4)."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


class MapData(Struct, frozen=True, kw_only=True):
    """What a MAP message carries beside the header."""

    nonce: bytes
    """Twelve bytes that only the owner of the mapping knows."""

    transport: MappedTransport
    """``"tcp"`` or ``"udp"``."""

    internal_port: int
    """The port of the host that asks."""

    external: Address
    """In a request what is suggested, an unspecified address and port 0 for nothing; in a response what it is."""


class MapRequest(Struct, frozen=True, kw_only=True):
    """A request as a server reads it."""

    version: int
    """The version of the message; the other fields mean something for :data:`PCP_VERSION` alone."""

    opcode: int = 0
    """What it is about."""

    lifetime: int = 0
    """Seconds that are wanted; 0 removes a mapping."""

    client: str = ""
    """The IP address that the client takes for its own."""

    data: MapData | None = None
    """What is wanted, of a MAP request."""

    prefer_failure: bool = False
    """Whether nothing is wanted rather than another external address or port than the suggested one."""


class PcpResponse(Struct, frozen=True, kw_only=True):
    """What a server says."""

    version: int
    """The version of the message: another one than :data:`PCP_VERSION` where the server does not know that."""

    opcode: int = 0
    """What it answers."""

    result: int = 0
    """A :class:`PcpResult`, or a number that is not known."""

    lifetime: int = 0
    """Seconds that the mapping lives; of an error, for which the same answer is to be expected."""

    epoch: int = 0
    """Seconds since the server has lost its state last."""

    data: MapData | None = None
    """The mapping, in answers to MAP requests."""


def packed_ip(host: str) -> bytes:
    """Return an IP address as PCP has it: 16 bytes, IPv4 mapped into IPv6. A zone is left out.

    Example:
        >>> packed_ip("192.0.2.7").hex()
        '00000000000000000000ffffc0000207'
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    return address.packed if isinstance(address, ipaddress.IPv6Address) else bytes(10) + b"\xff\xff" + address.packed


def _unpacked_ip(packed: bytes) -> str:
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


# What a client sends


def encode_map_request(
    data: MapData, *, client: str, lifetime: int, prefer_failure: bool = False, version: int = PCP_VERSION
) -> bytes:
    """Return a MAP request (RFC 6887, 11.1).

    Args:
        data: What is wanted.
        client: The IP address that it is sent from.
        lifetime: Seconds that are asked for; 0 removes the mapping.
        prefer_failure: Whether no mapping is better than one of another external address or port.
        version: Of the message.
    """
    option = _OPTION.pack(PREFER_FAILURE, 0) if prefer_failure else b""
    return _REQUEST.pack(version, Opcode.MAP, 0, lifetime, packed_ip(client)) + _packed_map(data) + option


def announce_request(client: str) -> bytes:
    """Return an ANNOUNCE request (RFC 6887, 14.1.1), which asks for the server's epoch.

    Args:
        client: The IP address that it is sent from.
    """
    return _REQUEST.pack(PCP_VERSION, Opcode.ANNOUNCE, 0, 0, packed_ip(client))


def _packed_map(data: MapData) -> bytes:
    number = PROTOCOL_NUMBERS[data.transport]
    return _MAP.pack(data.nonce, number, data.internal_port, data.external.port, packed_ip(data.external.host))


def _unpacked_map(data: bytes) -> MapData:
    if len(data) < HEADER_SIZE + MAP_SIZE:
        raise DecodeError(f"a MAP message has {HEADER_SIZE + MAP_SIZE} bytes, not {len(data)}", len(data))
    nonce, number, internal_port, external_port, packed = _MAP.unpack_from(data, HEADER_SIZE)
    transport = _TRANSPORTS.get(number)
    if transport is None:
        raise DecodeError(f"neither TCP nor UDP: protocol {number}", HEADER_SIZE + NONCE_SIZE)
    return MapData(
        nonce=nonce,
        transport=transport,
        internal_port=internal_port,
        external=Address(_unpacked_ip(packed), external_port),
    )


def decode_pcp_response(data: bytes) -> PcpResponse:
    """Read what a server sent (RFC 6887, 8.3). Options are skipped.

    Raises:
        DecodeError: It is no response, or malformed.
    """
    size = len(data)
    if size < HEADER_SIZE or size > MAX_SIZE or size % 4:
        raise DecodeError(f"a PCP response of {size} bytes", size)
    version, code, _, result, lifetime, epoch = _RESPONSE.unpack_from(data)
    if not code & RESPONSE_BIT:
        raise DecodeError("not a response", 1)
    opcode = code & ~RESPONSE_BIT
    told = PcpResponse(version=version, opcode=opcode, result=result, lifetime=lifetime, epoch=epoch)
    if version != PCP_VERSION or opcode != Opcode.MAP:
        return told
    return PcpResponse(
        version=version, opcode=opcode, result=result, lifetime=lifetime, epoch=epoch, data=_unpacked_map(data)
    )


# What a server sends


def decode_pcp_request(data: bytes) -> MapRequest:
    """Read a request, as a server does (RFC 6887, 8.2).

    Raises:
        DecodeError: It is no request, malformed, or about another transport.
    """
    size = len(data)
    if size < HEADER_SIZE or size > MAX_SIZE or size % 4:
        raise DecodeError(f"a PCP request of {size} bytes", size)
    version, code, _, lifetime, client = _REQUEST.unpack_from(data)
    if code & RESPONSE_BIT:
        raise DecodeError("not a request", 1)
    if version != PCP_VERSION:
        return MapRequest(version=version, opcode=code)
    wanted = _unpacked_map(data) if code == Opcode.MAP else None
    options = _options(data, HEADER_SIZE + MAP_SIZE) if wanted is not None else ()
    return MapRequest(
        version=version,
        opcode=code,
        lifetime=lifetime,
        client=_unpacked_ip(client),
        data=wanted,
        prefer_failure=PREFER_FAILURE in options,
    )


def _options(data: bytes, offset: int) -> list[int]:
    found = []
    while offset < len(data):
        code, length = _OPTION.unpack_from(data, offset)
        offset += _OPTION.size + (length + 3) // 4 * 4
        if offset > len(data):
            raise DecodeError(f"option {code} is cut short", len(data))
        found.append(code)
    return found


def encode_pcp_response(response: PcpResponse) -> bytes:
    """Return a response, as a server does."""
    code = RESPONSE_BIT | response.opcode
    header = _RESPONSE.pack(response.version, code, 0, response.result, response.lifetime, response.epoch)
    return header + (_packed_map(response.data) if response.data is not None else b"")


def encode_announcement(epoch: int) -> bytes:
    """Return what a server sends to everybody when it has lost its state (RFC 6887, 14.1.2).

    Args:
        epoch: Seconds since then.
    """
    return encode_pcp_response(PcpResponse(version=PCP_VERSION, opcode=Opcode.ANNOUNCE, epoch=epoch))
