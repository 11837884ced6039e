"""Following a server that names another one: 300 Try Alternate (RFC 8489, section 10), without being led astray."""

from __future__ import annotations

import ipaddress

from librats._core.stun import StunMessage
from librats.stun.constants import Attribute
from librats.turn.client_events import turn_error
from librats.types import Address

__all__ = ["Redirects"]

MAX_REDIRECTS = 4

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Redirects:
    """The servers that were asked one after the other for one allocation."""

    def __init__(self) -> None:
        self._visited: set[Address] = set()

    def arrived(self) -> None:
        """The chain has ended, in an allocation or in failure."""
        self._visited.clear()

    def follow(self, server: Address, message: StunMessage) -> tuple[Address, str]:
        """Return the server that another one names, and the name that its certificate must have.

        The scheme stays the same: who was spoken to over TLS leads to nobody without.

        Args:
            server: Who names it.
            message: Its error response.

        Raises:
            TurnError: There is none, it is of another address family, it was asked before, there were too many, or a
                public server leads into a private network.
            StunError: A value does not parse.
        """
        alternate = message.get(Attribute.ALTERNATE_SERVER)
        domain = message.get(Attribute.ALTERNATE_DOMAIN) or ""
        if alternate is None:
            raise turn_error(300, "but it does not say which")
        other = Address(*alternate)
        self._visited.add(server)
        if other in self._visited:
            raise turn_error(300, f"{other} was asked before")
        if len(self._visited) > MAX_REDIRECTS:
            raise turn_error(300, f"{MAX_REDIRECTS} servers in a row")
        there = ipaddress.ip_address(other.host)
        # One of which a proxy alone knows the address counts as public.
        here = ipaddress.ip_address(server.host.partition("%")[0]) if server.is_literal else None
        if not other.port or (here is not None and here.version != there.version):
            raise turn_error(300, f"{other} cannot be asked")
        if _reach(there) < (EVERYWHERE if here is None else _reach(here)):
            raise turn_error(300, f"{other} is in a network that {server} has no business in")
        return other, domain


EVERYWHERE = 3


def _reach(ip: IPAddress) -> int:
    """Rank where an address may be reached from: 3 everywhere, 2 a private network, 1 this host, 0 nowhere."""
    inner = getattr(ip, "ipv4_mapped", None)
    if inner is not None:
        return _reach(inner)
    if ip.is_unspecified or ip.is_multicast or ip.is_link_local:
        return 0
    if ip.is_loopback:
        return 1
    return EVERYWHERE if ip.is_global else 2
