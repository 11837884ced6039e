"""From whom an address may be learnt and to whom it may be told, by how far it reaches.

How far it reaches is found by :func:`~librats.ice.addresses.reach_of`, the one place for that. Here is another
question, with an order, and two answers that differ:

- link-local addresses are told to nobody: without their link they mean another host to everybody;
- networks for documentation and benchmarks reach nobody: whoever dials what strangers have told finds no peer there. An
  ICE agent or a hole puncher takes them as what they look like, for a session is never begun there without an answer
  of the peer's, and laboratories are built of them.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from functools import lru_cache

from librats.ice.addresses import Reach, carried_by, reach_of
from librats.types import Address

__all__ = ["Scope", "plain_address", "scope_of"]

UNTOLD = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15"),
        *("2001:db8::/32", "2001:2::/48", "3fff::/20"),
    )
)
"""Networks for documentation and benchmarks (RFC 6890, RFC 9637)."""


class Scope(IntEnum):
    """How far an address reaches; a greater one reaches further."""

    NOWHERE = 0
    """To nobody who could be dialled: unspecified, multicast, link-local, reserved, documentation."""

    HOST = 1
    """This machine: loopback."""

    SITE = 2
    """A private network: RFC 1918, carrier-grade NAT, unique local, site-local."""

    GLOBAL = 3
    """Everybody."""


def plain_address(address: Address) -> Address:
    """Return the address with an IPv4 address mapped into IPv6 as what it is."""
    try:
        mapped = getattr(ipaddress.ip_address(address.host), "ipv4_mapped", None)
    except ValueError:
        return address
    return address if mapped is None else Address(str(mapped), address.port)


SCOPES = {
    Reach.NEVER: Scope.NOWHERE,
    Reach.LOOPBACK: Scope.HOST,
    Reach.LINK: Scope.NOWHERE,
    Reach.PRIVATE: Scope.SITE,
    Reach.GLOBAL: Scope.GLOBAL,
}


@lru_cache(maxsize=1024)
def scope_of(host: str) -> Scope:
    """Tell how far an IP address reaches; a host name reaches nobody.

    Example:
        >>> [scope_of(host).name for host in ("10.0.0.1", "203.0.113.9", "fe80::1%eth0", "64:ff9b::808:808")]
        ['SITE', 'NOWHERE', 'NOWHERE', 'GLOBAL']
    """
    scope = SCOPES[reach_of(host)]
    return Scope.NOWHERE if scope >= Scope.SITE and _is_untold(host) else scope


def _is_untold(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    return any(
        one.version == network.version and one in network
        for one in (address, *carried_by(address))
        for network in UNTOLD
    )
