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
_INSIDE = [
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("fe80::/10", "fc00::/7"),
    )
]
NOBODY, ITSELF, INSIDE, EVERYBODY = range(4)


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
    """Return NOBODY's, that of the host ITSELF, INSIDE a network, or EVERYBODY's."""
    address = ipaddress.ip_address(host)
    if host.startswith(_MAPPED):
        return NOBODY
    if address.is_loopback:
        return ITSELF
    if address.is_multicast or address.is_unspecified:
        return NOBODY
    if len(host) == IPV4_SIZE - PORT_SIZE and host[0] in (0, *range(240, 256)):
        return NOBODY
    return INSIDE if any(address in network for network in _INSIDE) else EVERYBODY


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
    return scope == EVERYBODY or (scope != NOBODY and _scope(by[:-PORT_SIZE]) <= scope)
