"""Payloads of extensions (BEP 10): their handshake, metadata (BEP 9), peers (BEP 11), hole punching (BEP 55)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any, Final

from librats._core import bencode
from librats.errors import BencodeError, RemoteProtocolError, UsageError
from librats.types import Address

__all__ = [
    "METADATA_PIECE",
    "ExtendedHandshake",
    "HolepunchError",
    "HolepunchKind",
    "HolepunchMessage",
    "MetadataKind",
    "MetadataMessage",
    "PeerFlags",
    "PexMessage",
    "compact_peer",
    "compact_peers",
    "read_extended_handshake",
    "read_holepunch",
    "read_metadata_message",
    "read_pex",
]

METADATA_PIECE: Final = 16_384
"""Bytes of a piece of metadata; the last one has what is left."""

MAX_TOKENS = 2000
MAX_DEPTH = 8
MAX_EXTENSIONS = 64
MAX_NAME = 64
MAX_PEERS = 200
IPV4, IPV6, PORT = 4, 16, 2
MAX_PORT = 65_535
MAX_EXTENSION_ID = 255
MAX_NUMBER = (1 << 31) - 1

Buffer = bytes | bytearray | memoryview


def _dictionary(payload: Buffer) -> tuple[dict[bytes, Any], int]:
    try:
        fields, used = bencode.decode_prefix(payload, strict=False, max_depth=MAX_DEPTH, max_tokens=MAX_TOKENS)
    except BencodeError as error:
        raise RemoteProtocolError(f"an extension's message is no bencode: {error}") from None
    if type(fields) is not dict:
        raise RemoteProtocolError("an extension's message is no dictionary")
    return fields, used


def _number(fields: Mapping[bytes, Any], key: bytes, limit: int = MAX_NUMBER) -> int:
    """Return a number that is there, is one and can be; 0 where not."""
    value = fields.get(key)
    return value if type(value) is int and 0 <= value <= limit else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedHandshake:
    """What a side tells of itself, and how it wants extensions numbered (BEP 10).

    Example:
        >>> from librats.bittorrent.extensions import ExtendedHandshake, read_extended_handshake
        >>> raw = ExtendedHandshake(extensions={"ut_metadata": 1}, metadata_size=700).encode()
        >>> raw
        b'd1:md11:ut_metadatai1ee13:metadata_sizei700ee'
        >>> read_extended_handshake(raw).extensions
        {'ut_metadata': 1}
    """

    extensions: dict[str, int] = field(default_factory=dict)
    """Numbers by the names of extensions; 0 switches one off."""

    port: int = 0
    """TCP port that it listens on; 0 where it does not say."""

    version: str = ""
    """Its program; not to be trusted."""

    your_ip: bytes = b""
    """The receiver's address as it sees it, 4 or 16 bytes."""

    requests: int = 0
    """How many requests it keeps at once; 0 where it does not say."""

    metadata_size: int = 0
    """Bytes of the ``info`` dictionary (BEP 9); 0 where it does not say."""

    upload_only: bool = False
    """Whether it wants nothing any more (BEP 21)."""

    wants_encryption: bool = False
    """Whether connections to it should be encrypted."""

    def renewed(self, told: ExtendedHandshake, names: Collection[str]) -> ExtendedHandshake:
        """Return what is known of a side that tells of itself once more.

        Args:
            told: What it tells.
            names: Extensions that matter; others are not kept, for there is no end of names.
        """
        return ExtendedHandshake(
            extensions=self.extensions | {name: told.extensions[name] for name in names if name in told.extensions},
            port=told.port or self.port,
            requests=told.requests or self.requests,
            version=told.version or self.version,
            upload_only=told.upload_only,
            wants_encryption=told.wants_encryption or self.wants_encryption,
        )

    def encode(self) -> bytes:
        """Return the payload."""
        fields: dict[bytes, Any] = {b"m": {name.encode(): number for name, number in self.extensions.items()}}
        for key, number in ((b"p", self.port), (b"reqq", self.requests), (b"metadata_size", self.metadata_size)):
            if number:
                fields[key] = number
        if self.version:
            fields[b"v"] = self.version.encode()
        if self.your_ip:
            fields[b"yourip"] = self.your_ip
        if self.upload_only:
            fields[b"upload_only"] = 1
        if self.wants_encryption:
            fields[b"e"] = 1
        return bencode.encode(fields)


def read_extended_handshake(payload: Buffer) -> ExtendedHandshake:
    """Read the handshake of the extension protocol. Fields of another type than they must have are passed over.

    Raises:
        RemoteProtocolError: It is no dictionary, or beyond a limit.
    """
    fields, _ = _dictionary(payload)
    told = fields.get(b"m")
    extensions: dict[str, int] = {}
    for name, number in list(told.items())[:MAX_EXTENSIONS] if type(told) is dict else []:
        if type(number) is int and 0 <= number <= MAX_EXTENSION_ID and len(name) <= MAX_NAME:
            extensions[name.decode("latin-1")] = number
    version, your_ip = fields.get(b"v"), fields.get(b"yourip")
    return ExtendedHandshake(
        extensions=extensions,
        port=_number(fields, b"p", MAX_PORT),
        version=version[:MAX_NAME].decode("utf-8", "replace") if type(version) is bytes else "",
        your_ip=your_ip if type(your_ip) is bytes and len(your_ip) in {IPV4, IPV6} else b"",
        requests=_number(fields, b"reqq"),
        metadata_size=_number(fields, b"metadata_size"),
        upload_only=bool(_number(fields, b"upload_only")),
        wants_encryption=bool(_number(fields, b"e")),
    )


class MetadataKind(IntEnum):
    """What a message about metadata is (BEP 9)."""

    REQUEST = 0
    DATA = 1
    REJECT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataMessage:
    """A message of ``ut_metadata`` (BEP 9)."""

    kind: MetadataKind
    """Request, data, or reject."""

    piece: int
    """Number of the piece of 16 KiB."""

    total_size: int = 0
    """Bytes of all metadata; with data."""

    data: bytes = b""
    """The piece; with data."""

    def encode(self) -> bytes:
        """Return the payload."""
        fields: dict[bytes, Any] = {b"msg_type": int(self.kind), b"piece": self.piece}
        if self.kind is MetadataKind.DATA:
            fields[b"total_size"] = self.total_size
        return bencode.encode(fields) + self.data


def read_metadata_message(payload: Buffer) -> MetadataMessage | None:
    """Read a message of ``ut_metadata``; None for one of a kind that is to be passed over.

    Raises:
        RemoteProtocolError: It is none.
    """
    fields, used = _dictionary(payload)
    kind, piece = fields.get(b"msg_type"), fields.get(b"piece")
    if type(kind) is not int or type(piece) is not int or not 0 <= piece <= MAX_NUMBER:
        raise RemoteProtocolError("a message about metadata without its kind or piece")
    if kind not in set(MetadataKind):
        return None
    data = bytes(payload[used:]) if kind == MetadataKind.DATA else b""
    if len(data) > METADATA_PIECE:
        raise RemoteProtocolError("a piece of metadata that is too long")
    return MetadataMessage(kind=MetadataKind(kind), piece=piece, total_size=_number(fields, b"total_size"), data=data)


class PeerFlags(IntFlag):
    """What is told of a peer (BEP 11)."""

    ENCRYPTION = 0x01
    SEED = 0x02
    UTP = 0x04
    HOLEPUNCH = 0x08
    REACHABLE = 0x10


def compact_peer(address: Address) -> bytes:
    """Return 6 bytes for an IPv4 address and port, 18 for IPv6.

    Raises:
        UsageError: It is no IP address.
    """
    try:
        return ipaddress.ip_address(address.host.partition("%")[0]).packed + address.port.to_bytes(PORT)
    except (ValueError, OverflowError):
        raise UsageError(f"{address} is no IP address") from None


def compact_peers(raw: Any, size: int, limit: int = MAX_PEERS) -> list[Address]:
    """Return the addresses of a string of compact ones; what is not whole and ports of 0 are left out.

    Args:
        raw: The string; anything else counts as an empty one.
        size: Bytes of an IP address, 4 or 16.
        limit: How many are read at most.
    """
    if type(raw) is not bytes:
        return []
    step = size + PORT
    found = []
    for at in range(0, min(len(raw), limit * step) - step + 1, step):
        port = int.from_bytes(raw[at + size : at + step])
        if port:
            found.append(Address(str(ipaddress.ip_address(raw[at : at + size])), port))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PexMessage:
    """Peers that have come and gone (BEP 11)."""

    added: tuple[tuple[Address, PeerFlags], ...] = ()
    """Peers that are new, and what is told of them."""

    dropped: tuple[Address, ...] = ()
    """Peers that are gone."""

    def encode(self) -> bytes:
        """Return the payload.

        Raises:
            UsageError: One is no IP address.
        """
        fields: dict[bytes, bytes] = {}
        for suffix, size in ((b"", IPV4), (b"6", IPV6)):
            added = [(compact_peer(address), flags) for address, flags in self.added]
            added = [(raw, flags) for raw, flags in added if len(raw) == size + PORT]
            dropped = [raw for raw in map(compact_peer, self.dropped) if len(raw) == size + PORT]
            fields[b"added" + suffix] = b"".join(raw for raw, _ in added)
            fields[b"added" + suffix + b".f"] = bytes(int(flags) for _, flags in added)
            fields[b"dropped" + suffix] = b"".join(dropped)
        return bencode.encode(fields)


def read_pex(payload: Buffer) -> PexMessage:
    """Read a message of ``ut_pex``: at most 200 peers of each kind and family, what is not whole left out.

    Raises:
        RemoteProtocolError: It is no dictionary.
    """
    fields, _ = _dictionary(payload)
    added: list[tuple[Address, PeerFlags]] = []
    dropped: list[Address] = []
    for suffix, size in ((b"", IPV4), (b"6", IPV6)):
        raw, flags = fields.get(b"added" + suffix), fields.get(b"added" + suffix + b".f")
        flags = flags if type(flags) is bytes else b""
        step = size + PORT
        raw = raw if type(raw) is bytes else b""
        for number in range(min(len(raw) // step, MAX_PEERS)):
            for address in compact_peers(raw[number * step : (number + 1) * step], size):
                added.append((address, PeerFlags(flags[number] if number < len(flags) else 0)))
        dropped += compact_peers(fields.get(b"dropped" + suffix), size)
    return PexMessage(added=tuple(added), dropped=tuple(dropped))


class HolepunchKind(IntEnum):
    """What a message of hole punching is (BEP 55)."""

    RENDEZVOUS = 0
    CONNECT = 1
    ERROR = 2


class HolepunchError(IntEnum):
    """Why a rendezvous is refused (BEP 55)."""

    NONE = 0
    NO_SUCH_PEER = 1
    NOT_CONNECTED = 2
    NO_SUPPORT = 3
    NO_SELF = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HolepunchMessage:
    """A message of ``ut_holepunch`` (BEP 55).

    Example:
        >>> from librats.bittorrent.extensions import HolepunchKind, HolepunchMessage
        >>> from librats.types import Address
        >>> HolepunchMessage(kind=HolepunchKind.CONNECT, address=Address("192.0.2.7", 6881)).encode().hex()
        '0100c00002071ae100000000'
    """

    kind: HolepunchKind
    """Rendezvous, connect, or error."""

    address: Address
    """The peer that is meant."""

    error: int = 0
    """A :class:`HolepunchError`, or another number; 0 where there is none."""

    def encode(self) -> bytes:
        """Return the payload."""
        compact = compact_peer(self.address)
        return bytes([self.kind, len(compact) != IPV4 + PORT]) + compact + self.error.to_bytes(4)


def read_holepunch(payload: Buffer) -> HolepunchMessage:
    """Read a message of ``ut_holepunch``. What tells of no error may end before its code, as libtorrent's does.

    Raises:
        RemoteProtocolError: It is none.
    """
    raw = bytes(payload)
    sizes = {0: IPV4, 1: IPV6}
    size = sizes.get(raw[1], -1) if len(raw) > 1 else -1
    if size >= 0 and len(raw) == 2 + size + PORT and raw[0] != HolepunchKind.ERROR:
        raw += bytes(4)
    if size < 0 or raw[0] not in set(HolepunchKind) or len(raw) != 2 + size + PORT + 4:
        raise RemoteProtocolError("no message of hole punching")
    port = int.from_bytes(raw[2 + size : 4 + size])
    address = Address(str(ipaddress.ip_address(raw[2 : 2 + size])), port)
    return HolepunchMessage(kind=HolepunchKind(raw[0]), address=address, error=int.from_bytes(raw[-4:]))
