"""Other servers, to which a server sends clients that it has no room for (RFC 8489, 10)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from librats.stun.constants import Attribute
from librats.turn.serving.allocation import IPV4, IPV6
from librats.types import Address

__all__ = ["Alternate", "Alternates"]


class Alternate(NamedTuple):
    """A server to try instead."""

    address: Address
    """Where it listens, by IP address."""

    domain: str = ""
    """The name that its certificate has; empty where it is the same as this server's."""


class Alternates:
    """Names other servers, one after the other.

    Args:
        plain: Servers for clients that come by UDP or TCP.
        encrypted: Servers for clients that come by TLS.

    Example:
        >>> others = Alternates([Alternate(Address("192.0.2.2", 3478)), Alternate(Address("192.0.2.3", 3478))])
        >>> [others.name(IPV4, encrypted=False)[0][1] for _ in range(3)]
        [('192.0.2.2', 3478), ('192.0.2.3', 3478), ('192.0.2.2', 3478)]
    """

    def __init__(self, plain: Sequence[Alternate] = (), encrypted: Sequence[Alternate] = ()) -> None:
        self._servers = {
            (family, is_encrypted): [each for each in servers if _family(each) == family]
            for family in (IPV4, IPV6)
            for is_encrypted, servers in ((False, plain), (True, encrypted))
        }
        self._turns = itertools.count()

    def name(self, family: int, *, encrypted: bool) -> list[tuple[int, Any]]:
        """Return the attributes that name the server whose turn it is; none where there is no other.

        Args:
            family: Of the address that the client has: it may not be able to reach another (RFC 8489, 14.15).
            encrypted: Whether it came by TLS, and is to go on so.
        """
        servers = self._servers[family, encrypted]
        if not servers:
            return []
        address, domain = servers[next(self._turns) % len(servers)]
        attributes: list[tuple[int, Any]] = [(Attribute.ALTERNATE_SERVER, (address.host, address.port))]
        if domain:
            attributes.append((Attribute.ALTERNATE_DOMAIN, domain))
        return attributes


def _family(alternate: Alternate) -> int:
    return IPV6 if ":" in alternate.address.host else IPV4
