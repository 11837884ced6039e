"""How far an address reaches, and so from whom it may be learnt and to whom it may be told."""

from __future__ import annotations

import ipaddress
from enum import IntEnum

from librats.types import Address

__all__ = ["Scope", "plain_address", "scope_of"]

PRIVATE = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]
TRANSLATED = [ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48")]


class Scope(IntEnum):
    """How far an address reaches; a greater one reaches further."""

    NOWHERE = 0
    """To nobody who could be dialled: unspecified, multicast, link-local, reserved, documentation."""

    HOST = 1
    """This machine: loopback."""

    SITE = 2
    """A private network: RFC 1918, carrier-grade NAT, unique local."""

    GLOBAL = 3
    """Everybody."""


def plain_address(address: Address) -> Address:
    """Return the address with an IPv4 address mapped into IPv6 as what it is."""
    try:
        mapped = getattr(ipaddress.ip_address(address.host), "ipv4_mapped", None)
    except ValueError:
        return address
    return address if mapped is None else Address(str(mapped), address.port)


def scope_of(host: str) -> Scope:
    """Tell how far an IP address reaches; a host name reaches nobody."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return Scope.NOWHERE
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if any(ip in network for network in TRANSLATED):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            # What leads to an IPv4 address by way of a tunnel or translator reaches no further than that one.
            return scope_of(str(inner))
    if ip.is_loopback:
        return Scope.HOST
    if any(ip.version == network.version and ip in network for network in PRIVATE):
        return Scope.SITE
    return Scope.GLOBAL if ip.is_global and not ip.is_multicast else Scope.NOWHERE
