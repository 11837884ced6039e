"""Compact addresses (BEP 5): whether one that a stranger tells of may be sent to, and whom it belongs to."""

from __future__ import annotations

import ipaddress

from librats.errors import UsageError
from librats.types import Address

__all__ = ["IPV4_SIZE", "IPV6_SIZE", "address_of", "block_of", "compact", "host_of", "may_be_told", "network_of"]

IPV4_SIZE = 6
IPV6_SIZE = 18
PORT_SIZE = 2
IPV6_NETWORK = 8
LOOPBACK = 127
IPV4_BLOCK = 2
IPV6_BLOCK = 4

_SIZES = (IPV4_SIZE, IPV6_SIZE)
_MAPPED = bytes(10) + b"\xff\xff"
_LOOPBACK = bytes(15) + b"\1"
NOBODY, ITSELF, INSIDE, EVERYBODY = range(4)
# First bytes of IPv4 with which all addresses are everybody's: most of what is told.
_PLAIN = frozenset(range(1, 224)) - {10, 100, 127, 169, 172, 192}


def compact(host: str, port: int) -> bytes:
    """Return the compact form of an address: 6 bytes for IPv4, 18 for IPv6.

    Args:
        host: An IP address, by number.
        port: 0 to 65535.

    Raises:
        UsageError: The host is no IP address, or the port cannot be.

    Example:
        >>> from librats.dht.addresses import compact
        >>> compact("192.0.2.7", 6881).hex()
        'c00002071ae1'
    """
    try:
        packed = ipaddress.ip_address(host.partition("%")[0]).packed
        return packed.removeprefix(_MAPPED) + port.to_bytes(PORT_SIZE)
    except (ValueError, OverflowError):
        raise UsageError(f"{host!r} and {port!r} are no address") from None


def host_of(address: bytes) -> str:
    """Return the host of a compact address, as text."""
    return str(ipaddress.ip_address(address[:-PORT_SIZE]))


def address_of(address: bytes) -> Address:
    """Return the address that a compact one stands for.

    Example:
        >>> from librats.dht.addresses import address_of
        >>> address_of(bytes([192, 0, 2, 7, 26, 225]))
        Address(host='192.0.2.7', port=6881)
    """
    return Address(host_of(address), int.from_bytes(address[-PORT_SIZE:]))


def network_of(address: bytes) -> bytes:
    """Return what counts as one host: an address of IPv4, the first 64 bits of one of IPv6.

    On the host itself each port counts as one: nobody else can be there, and many nodes may be.
    """
    if len(address) == IPV4_SIZE:
        return address if address[0] == LOOPBACK else address[:-PORT_SIZE]
    return address if address.startswith(_LOOPBACK) else address[:IPV6_NETWORK]


def block_of(address: bytes) -> bytes:
    """Return what whoever has many addresses often has all of them in: the first 16 bits of IPv4, or 32 of IPv6."""
    return address[:IPV4_BLOCK] if len(address) == IPV4_SIZE else address[:IPV6_BLOCK]


def _scope(host: bytes) -> int:
    """Return NOBODY's, that of the host ITSELF, INSIDE a network, or EVERYBODY's."""
    return _scope_of_ipv4(host) if len(host) == IPV4_SIZE - PORT_SIZE else _scope_of_ipv6(host)


def _scope_of_ipv4(host: bytes) -> int:
    first, second = host[0], host[1]
    if first == 0 or first >= 224:  # noqa: PLR2004 - multicast, and what is reserved above it
        return NOBODY
    if first == LOOPBACK:
        return ITSELF
    inside = (
        first == 10  # noqa: PLR2004 - 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, 100.64.0.0/10
        or (first, second) in ((192, 168), (169, 254))
        or (first, second >> 4) == (172, 1)
        or (first, second >> 6) == (100, 1)
    )
    return INSIDE if inside else EVERYBODY


def _scope_of_ipv6(host: bytes) -> int:
    first = host[0]
    if host == _LOOPBACK:
        return ITSELF
    if first == 0xFF or host.startswith(_MAPPED) or not any(host):  # noqa: PLR2004 - multicast
        return NOBODY
    # fe80::/10 and fc00::/7.
    return INSIDE if (first, host[1] >> 6) == (0xFE, 2) or first >> 1 == 0xFC >> 1 else EVERYBODY


def may_be_told(address: bytes, by: bytes) -> bool:
    """Whether an address may be sent to because a node told of it.

    A node on the internet may not make us send into our own network, and one of our network may not make us send to
    ourselves; a port of 0 and hosts that nobody has are refused from everybody.

    Args:
        address: The compact address.
        by: Compact address of the node that told of it.

    Example:
        >>> from librats.dht.addresses import compact, may_be_told
        >>> may_be_told(compact("10.0.0.1", 80), by=compact("192.0.2.7", 6881))
        False
    """
    if len(address) not in _SIZES or len(by) not in _SIZES or address[-PORT_SIZE:] == b"\0\0":
        return False
    if len(address) == IPV4_SIZE and address[0] in _PLAIN:
        return True
    scope = _scope(address[:-PORT_SIZE])
    return scope == EVERYBODY or (scope != NOBODY and _scope(by[:-PORT_SIZE]) <= scope)
