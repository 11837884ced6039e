"""Inner messages of librats 2: their types, the numbers of channels, and identify (LIBRATS2 wire, sections 4 and 5)."""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from functools import lru_cache

from msgspec import Struct

from librats._core.inner import channel_number
from librats.errors import DecodeError
from librats.types import Address

__all__ = [
    "MAX_BLOCK",
    "Cursor",
    "Identify",
    "InnerType",
    "channel_id",
    "pack_address",
]

MAX_BLOCK = 64 * 1024 * 1024
MAX_ADDRESSES = 32
IDENTIFY_VERSION = 1
IP_SIZES = (4, 16)


class InnerType(IntEnum):
    """First byte of an inner message."""

    APP = 1
    CONTROL = 2
    GOSSIP = 3
    FILE_CHUNK = 4
    PING = 5
    STORAGE = 6
    TYPED = 7
    PEX = 8
    PUNCH = 9


@lru_cache(maxsize=1024)
def channel_id(name: str) -> int:
    """The 16-bit number of an App channel: FNV-1a of its name, folded; 0 becomes 1.

    Example:
        >>> channel_id("chat")
        23520
    """
    return channel_number(name.encode())


def pack_address(address: Address) -> bytes:
    """Write an address, an IPv4-mapped one as IPv4."""
    ip = ipaddress.ip_address(address.host.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    packed = (mapped or ip).packed
    return bytes([len(packed)]) + packed + address.port.to_bytes(2)


class Cursor:
    """Reads from the front; whatever is missing is a :class:`~librats.DecodeError`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        if self.left < size:
            raise DecodeError("a message that breaks off", self._at)
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def number(self, size: int) -> int:
        """Read a number of so many bytes."""
        return int.from_bytes(self.take(size))

    def address(self, ip_size: int | None = None) -> Address:
        """Read an address, and before it the size of its IP where that was not read yet."""
        size = self.number(1) if ip_size is None else ip_size
        if size not in IP_SIZES:
            raise DecodeError(f"an address of {size} bytes", self._at)
        host = str(ipaddress.ip_address(self.take(size)))
        return Address(host, self.number(2))


class Identify(Struct, frozen=True, kw_only=True):
    """What a librats 2 node tells about itself, once, after the handshake."""

    listen_port: int = 0
    """Port on which it takes connections; 0 for none."""

    addresses: tuple[Address, ...] = ()
    """Its interfaces' addresses with that port, at most 32; one without a port is left out."""

    observed: Address | None = None
    """Where it sees the receiver; over TCP with port 0."""

    transports: int = 0
    """Bit 0: TCP, bit 1: UDP; 0 where it does not say."""

    def encode(self) -> bytes:
        """Return the payload of the Control message."""
        listed = [address for address in self.addresses if address.port][:MAX_ADDRESSES]
        parts = [bytes([IDENTIFY_VERSION]), self.listen_port.to_bytes(2), bytes([len(listed)])]
        parts += [pack_address(address) for address in listed]
        parts.append(b"\0" if self.observed is None else pack_address(self.observed))
        parts.append(bytes([self.transports]))
        return b"".join(parts)

    @classmethod
    def decode(cls, payload: bytes) -> Identify:
        """Read the payload of a Control message. Bytes behind it are for later versions.

        Raises:
            DecodeError: Another version, or it breaks off; a librats 2 node ignores it then.
        """
        cursor = Cursor(payload)
        if cursor.number(1) != IDENTIFY_VERSION:
            raise DecodeError("an identify of another version")
        port = cursor.number(2)
        count = cursor.number(1)
        if count > MAX_ADDRESSES:
            raise DecodeError(f"an identify with {count} addresses", 3)
        addresses = tuple(cursor.address() for _ in range(count))
        observed_size = cursor.number(1)
        observed = cursor.address(observed_size) if observed_size else None
        transports = cursor.number(1) if cursor.left else 0
        return cls(listen_port=port, addresses=addresses, observed=observed, transports=transports)
