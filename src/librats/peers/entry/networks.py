"""Addresses as limits and lists see them: without zones, IPv4 in IPv6 as IPv4, and the network that is one source."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TypeAlias

__all__ = ["IPAddress", "IPNetwork", "ip_of", "network_of", "source_of"]

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
IPV4_BITS_IN_MAPPED = 96
SOURCE_BITS = 64


def ip_of(host: str) -> IPAddress | None:
    """Return the IP address that a host is, without its zone; None for a name.

    Example:
        >>> ip_of("::ffff:192.0.2.7")
        IPv4Address('192.0.2.7')
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def network_of(text: str) -> IPNetwork:
    """Read an address or a network in CIDR notation.

    Example:
        >>> network_of("::ffff:192.0.2.0/120")
        IPv4Network('192.0.2.0/24')

    Raises:
        ValueError: It is neither, or the address has bits beyond the prefix.
    """
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((int(mapped or 0), network.prefixlen - IPV4_BITS_IN_MAPPED))
    return network


@lru_cache(maxsize=4096)
def source_of(host: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 of an IPv6 address, of which one host has plenty.

    Example:
        >>> source_of("2001:db8::7")
        '2001:db8::/64'
    """
    address = ip_of(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address), SOURCE_BITS), strict=False))
    return host if address is None else str(address)
