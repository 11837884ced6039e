"""Where peers see this client over UDP, and what that tells of the NAT in between."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from librats.types import Address

__all__ = ["Sightings"]


class Sightings:
    """What the connected peers say, at one moment.

    Args:
        seen: Where each sees us, newest first: IP addresses with a port.
        own_hosts: Addresses of our own interfaces. Who sees us there tells nothing of a NAT.

    Example:
        >>> seen = [Address("192.0.2.7", 5001), Address("192.0.2.7", 5000), Address("192.0.2.7", 5000)]
        >>> Sightings(seen).endpoints
        (Address(host='192.0.2.7', port=5001), Address(host='192.0.2.7', port=5000))
        >>> Sightings(seen).differ
        True
    """

    def __init__(self, seen: Sequence[Address] = (), own_hosts: Collection[str] = ()) -> None:
        self.endpoints = tuple(dict.fromkeys(seen))
        """Where we are seen, newest first, each once."""
        external = {(":" in each.host, each) for each in self.endpoints if each.host not in own_hosts}
        self.differ = len(external) > len({is_ipv6 for is_ipv6, _ in external})
        """Whether two see us at different endpoints of one kind of IP: the NAT maps each destination anew, and
        whoever is told one of these would dial in vain."""
