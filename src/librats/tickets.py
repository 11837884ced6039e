"""Tickets: all that it takes to reach a peer, in one word that can be sent, selected with a double click, and read from
a QR code.

The text is ``rats1``, of which the digit is the version, and the fields in base32 (RFC 4648, lower case, without
padding); all upper case is the same, for QR codes. Behind the fields stand the first 4 bytes of the SHA-256 of the
ASCII text ``rats1`` and the fields. Each field is ``tag:u8 | length:u8 | value``, and unknown ones are skipped:

===  ========================================================================================================
1    the peer's X25519 key, 32 bytes, whose SHA-256 is the peer id
2    the peer's Ed25519 key, 32 bytes
3    an address: that of IPv4, 4 bytes, or of IPv6, 16 bytes, and a port of 2 bytes
4    an address by name: ``HOST:PORT`` in UTF-8
5    an introducer: the 32 bytes of its peer id, and ``HOST:PORT`` or the URI of its WebSocket in UTF-8
6    the hash of some content that the peer has, 32 bytes
===  ========================================================================================================
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from librats.errors import ConfigError, UsageError
from librats.servers import introducer_place
from librats.types import Address
from librats.web_uris import WebUri

__all__ = ["Ticket"]

PREFIX = "rats1"
KEY_SIZE = 32
HASH_SIZE = 32
PORT_SIZE = 2
IPV4_SIZE, IPV6_SIZE = 4, 16
CHECKSUM_SIZE = 4
HEAD = 2
MAX_TEXT = 8192
MAX_VALUE = 255
MAX_FIELDS = 64
MAX_ADDRESSES, MAX_INTRODUCERS = 16, 8

PUBLIC_KEY, VERIFY_KEY, ADDRESS, NAMED_ADDRESS, INTRODUCER, CONTENT = range(1, 7)

_VERSION = re.compile(r"rats[0-9]")
# No host name that stands without a port would do for a target.
_TICKET = re.compile(r"rats[0-9][a-z0-9]{32,}", re.IGNORECASE)
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """All that it takes to reach a peer: ``str()`` of it is what is handed on, :meth:`parse` reads that.

    Whoever has it can dial the peer and knows its addresses; it is no secret that lets anybody in.

    Raises:
        UsageError: A field has a value that cannot be handed on.

    Example:
        >>> ticket = Ticket(public_key=bytes(32), verify_key=bytes(32), addresses=(Address("192.0.2.7", 8080),))
        >>> str(ticket)[:24], len(str(ticket))
        ('rats1aeqaaaaaaaaaaaaaaaa', 133)
        >>> Ticket.parse(str(ticket)) == ticket
        True
    """

    public_key: bytes
    """The peer's X25519 key, 32 bytes."""

    verify_key: bytes
    """The peer's Ed25519 key, 32 bytes, under which its record is found in the DHT."""

    addresses: tuple[Address, ...] = ()
    """Where it may be dialled, the best first; at most 16."""

    introducers: tuple[str, ...] = ()
    """Nodes that it stays connected to: ``"PEERID@HOST:PORT"`` or ``"wss://PEERID@HOST:PORT/PATH"``; at most 8."""

    content: bytes = b""
    """The hash of what the peer has to offer, 32 bytes; empty where the ticket is for the peer alone."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("public_key", "verify_key"):
            _require(_is_of_size(getattr(self, name), KEY_SIZE), f"a {name} has {KEY_SIZE} bytes")
        _require(len(self.addresses) <= MAX_ADDRESSES, f"a ticket has at most {MAX_ADDRESSES} addresses")
        _require(len(self.introducers) <= MAX_INTRODUCERS, f"a ticket has at most {MAX_INTRODUCERS} introducers")
        _require(self.content == b"" or _is_of_size(self.content, HASH_SIZE), f"a hash has {HASH_SIZE} bytes")
        # As parse() writes them, so that a ticket equals what is read of it.
        object.__setattr__(self, "addresses", tuple(_read_address(*_write_address(one)) for one in self.addresses))
        object.__setattr__(
            self, "introducers", tuple(_read_introducer(_write_introducer(one)) for one in self.introducers)
        )

    @property
    def peer_id(self) -> str:
        """The peer's id: 64 lower-case hex digits."""
        return hashlib.sha256(self.public_key).hexdigest()

    def __str__(self) -> str:
        """Return it as text: letters and digits only, all in lower case."""
        fields = [(PUBLIC_KEY, self.public_key), (VERIFY_KEY, self.verify_key)]
        fields += [_write_address(address) for address in self.addresses]
        fields += [(INTRODUCER, _write_introducer(introducer)) for introducer in self.introducers]
        if self.content:
            fields.append((CONTENT, self.content))
        written = b"".join(bytes([tag, len(value)]) + value for tag, value in fields)
        return PREFIX + base64.b32encode(written + _checksum(written)).decode().rstrip("=").lower()

    @staticmethod
    def is_one(text: str) -> bool:
        """Tell whether a text looks like a ticket, also like one of a later version, or one that is damaged.

        Args:
            text: What a person wrote.
        """
        return _TICKET.fullmatch(text.strip()) is not None

    @classmethod
    def parse(cls, text: str) -> Ticket:
        """Read a ticket.

        Args:
            text: What ``str()`` of one has returned; blanks around it do not matter.

        Raises:
            UsageError: It is none, or of a later version, or was damaged on its way.
        """
        bare = text.strip()
        _require(len(bare) <= MAX_TEXT, f"not a ticket: it has {len(bare)} characters")
        _require(bare in (bare.lower(), bare.upper()), "not a ticket: it has capitals among small letters")
        bare = bare.lower()
        _require(_VERSION.match(bare) is not None, f"not a ticket: {bare[:16]!r}; tickets begin with {PREFIX}")
        _require(bare.startswith(PREFIX), f"a ticket of a later version, {bare[:5]!r}; this one reads {PREFIX}")
        values: dict[int, bytes] = {}
        addresses: list[Address] = []
        introducers: list[str] = []
        for tag, value in _fields(_unpacked(bare.removeprefix(PREFIX))):
            if tag in (ADDRESS, NAMED_ADDRESS):
                addresses.append(_read_address(tag, value))
            elif tag == INTRODUCER:
                introducers.append(_read_introducer(value))
            elif tag in (PUBLIC_KEY, VERIFY_KEY, CONTENT):
                _require(tag not in values, f"not a ticket: field {tag} is there twice")
                values[tag] = value
        _require(values.get(CONTENT) != b"", "not a ticket: a hash without a byte")
        return cls(
            public_key=values.get(PUBLIC_KEY, b""),
            verify_key=values.get(VERIFY_KEY, b""),
            addresses=tuple(addresses),
            introducers=tuple(introducers),
            content=values.get(CONTENT, b""),
        )


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise UsageError(problem)


def _is_of_size(value: object, size: int) -> bool:
    return isinstance(value, bytes) and len(value) == size


def _checksum(written: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + written).digest()[:CHECKSUM_SIZE]


def _unpacked(body: str) -> bytes:
    """Return the fields of what stands behind the prefix, once it is clear that all of it has arrived."""
    strange = next((letter for letter in body if letter not in _ALPHABET), "")
    _require(not strange, f"not a ticket: it has {strange!r} in it")
    try:
        data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except binascii.Error:
        raise UsageError("not a whole ticket: something of it is missing") from None
    is_canonical = base64.b32encode(data).decode().rstrip("=").lower() == body
    written, checksum = data[:-CHECKSUM_SIZE], data[-CHECKSUM_SIZE:]
    _require(is_canonical and _checksum(written) == checksum, "not a whole ticket: something is missing, or mistyped")
    return written


def _fields(written: bytes) -> Iterator[tuple[int, bytes]]:
    at = count = 0
    while at < len(written):
        count += 1
        _require(count <= MAX_FIELDS, f"not a ticket: it has more than {MAX_FIELDS} fields")
        end = at + HEAD + written[at + 1] if at + HEAD <= len(written) else len(written) + 1
        _require(end <= len(written), "not a ticket: its last field breaks off")
        yield written[at], written[at + HEAD : end]
        at = end


def _write_address(address: Address) -> tuple[int, bytes]:
    """Return tag and value of an address."""
    _require(isinstance(address, Address) and 0 < address.port < 1 << 16, f"no address to dial: {address!r}")
    if address.is_literal:
        _require("%" not in address.host, f"{address} has a zone, which only this host knows")
        return ADDRESS, ipaddress.ip_address(address.host).packed + address.port.to_bytes(PORT_SIZE)
    host = address.host
    named = host != "" and host.isprintable() and not any(letter in " @/[]%:" for letter in host)
    value = str(address).encode()
    _require(named and len(value) <= MAX_VALUE, f"no host name: {host[:80]!r}")
    return NAMED_ADDRESS, value


def _read_address(tag: int, value: bytes) -> Address:
    if tag == NAMED_ADDRESS:
        return Address.parse(_text(value))
    _require(len(value) in (IPV4_SIZE + PORT_SIZE, IPV6_SIZE + PORT_SIZE), "not a ticket: an address of another size")
    return Address(str(ipaddress.ip_address(value[:-PORT_SIZE])), int.from_bytes(value[-PORT_SIZE:]))


def _write_introducer(text: str) -> bytes:
    try:
        peer_id, place = introducer_place(text)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    value = bytes.fromhex(peer_id) + str(place).encode()
    _require(len(value) <= MAX_VALUE, f"an introducer whose address is too long: {text[:80]!r}")
    return value


def _read_introducer(value: bytes) -> str:
    peer_id, place = value[:KEY_SIZE].hex(), _text(value[KEY_SIZE:])
    scheme, slashes, rest = place.partition("://")
    written = f"{scheme}://{peer_id}@{rest}" if slashes else f"{peer_id}@{place}"
    try:
        _, parsed = introducer_place(written)
    except ConfigError:
        raise UsageError(f"not a ticket: an introducer at {place[:80]!r}") from None
    scheme, _, rest = str(parsed).partition("://")
    return f"{scheme}://{peer_id}@{rest}" if isinstance(parsed, WebUri) else f"{peer_id}@{parsed}"


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UsageError("not a ticket: a text that is none") from None
