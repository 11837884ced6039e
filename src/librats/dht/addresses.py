"""Compact addresses (BEP 5): whether one that a stranger tells of may be sent to, and whom it belongs to."""

from __future__ import annotations

import ipaddress

from librats.errors import UsageError

__all__ = ["IPV4_SIZE", "IPV6_SIZE", "compact", "host_of", "may_be_told", "network_of"]

IPV4_SIZE = 6
IPV6_SIZE = 18
PORT_SIZE = 2
IPV6_NETWORK = 8

_SIZES = (IPV4_SIZE, IPV6_SIZE)
_MAPPED = bytes(10) + b"\xff\xff"
_SHARED = ipaddress.ip_network("100.64.0.0/10")


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


def network_of(address: bytes) -> bytes:
    """Return what counts as one host: an address of IPv4, the first 64 bits of one of IPv6."""
    return address[:-PORT_SIZE] if len(address) == IPV4_SIZE else address[:IPV6_NETWORK]


def _scope(host: bytes) -> int:
    """Return 2 where everybody may reach it, 1 where its network may, 0 where only itself may, -1 where nobody may."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and host.startswith(_MAPPED):
        return -1
    if address.is_loopback:
        return 0
    if address.is_multicast or address.is_unspecified or host == b"\xff" * 4 or host[:1] == b"\0" * (5 - len(host)):
        return -1
    if isinstance(address, ipaddress.IPv4Address):
        inner = address.is_link_local or address in _SHARED or host[0] == 10  # noqa: PLR2004 - 10.0.0.0/8
        inner = inner or host[:2] == b"\xc0\xa8" or (host[0] == 172 and host[1] & 0xF0 == 16)  # noqa: PLR2004
        return -1 if host[0] >= 0xF0 else 1 if inner else 2
    return 1 if address.is_link_local or host[0] & 0xFE == 0xFC else 2  # noqa: PLR2004 - fc00::/7


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
    scope = _scope(address[:-PORT_SIZE])
    return scope == 2 or (scope >= 0 and _scope(by[:-PORT_SIZE]) <= scope)  # noqa: PLR2004 - everybody's
