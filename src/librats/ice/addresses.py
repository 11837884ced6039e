"""Which addresses a peer may make us send checks to: what it names may be anything, also what is none of its business.

A candidate is a request to send a datagram to an address. One that comes from a stranger must not be a way into the
networks that we stand in, whatever form its address is written in.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache

from librats.turn.serving.peer_policy import embedded_addresses
from librats.types import Address

__all__ = ["AddressPolicy", "Reach", "carried_by", "reach_of"]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "192.0.0.192")
)
"""Where clouds tell their hosts secrets: never a peer."""

NOWHERE = tuple(ipaddress.ip_network(text) for text in ("0.0.0.0/8", "240.0.0.0/4", "192.0.0.0/24"))
LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
"""What a network's own translator is reached at (RFC 8215): to a relay it is closed as a whole, whatever is inside."""

PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")
INSIDE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "fc00::/7",
        "fec0::/10",
    )
)


class Reach:
    """How far an address reaches: names for what :func:`reach_of` returns."""

    NEVER = "never"
    """No host, or no peer: unspecified, multicast, broadcast, reserved, metadata services."""

    LOOPBACK = "loopback"
    """This host."""

    LINK = "link-local"
    """This link."""

    PRIVATE = "private"
    """This network, or this carrier's."""

    GLOBAL = "global"
    """Everywhere."""


ORDER = (Reach.NEVER, Reach.LOOPBACK, Reach.LINK, Reach.PRIVATE, Reach.GLOBAL)


@lru_cache(maxsize=1024)
def reach_of(host: str) -> str:
    """Return how far an IP address reaches; of one that carries others inside, the least of them all.

    Example:
        >>> [reach_of(host) for host in ("192.0.2.7", "10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1")]
        ['global', 'private', 'never', 'loopback']
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return Reach.NEVER
    found = [_own_reach(address), *(_own_reach(inner) for inner in carried_by(address))]
    carried = found[1:]
    if carried and found[0] == Reach.NEVER and address not in METADATA and not address.is_multicast:
        found = carried  # the forms of IPv4 in IPv6 are themselves reserved
    return min(found, key=ORDER.index)


def carried_by(address: IPAddress) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an address carries inside, in whatever form."""
    carried = embedded_addresses(address)
    if _is_in(address, (LOCAL_NAT64,)):
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return carried


def _own_reach(address: IPAddress) -> str:
    if address in METADATA or address.is_multicast or address.is_unspecified:
        return Reach.NEVER
    if address.is_loopback:
        return Reach.LOOPBACK
    if address.is_link_local:
        return Reach.LINK
    if _is_in(address, INSIDE):
        return Reach.PRIVATE
    is_public = address.version == 4 or address in PUBLIC_IPV6  # noqa: PLR2004 - IPv4
    return Reach.GLOBAL if is_public and not _is_in(address, NOWHERE) else Reach.NEVER


def _is_in(address: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


@dataclass(slots=True)
class AddressPolicy:
    """Says which addresses are checked.

    Args:
        strangers: Whether candidates come from somebody whom nobody vouches for. Then private and link-local addresses
            are checked only where both sides share a network.
        same_network: Whether they do, where that is known from elsewhere; None to tell from the candidates: both are
            seen at the same public address, or are in the same IPv6 network.

    Example:
        >>> policy = AddressPolicy(strangers=True)
        >>> policy.refusal(Address("10.0.0.7", 5000))
        'private address, and no sign that both are in one network'
        >>> policy.note_own("203.0.113.9"); policy.note_peer("203.0.113.9")
        >>> policy.refusal(Address("10.0.0.7", 5000))
        ''
    """

    strangers: bool = False
    same_network: bool | None = None
    _own: set[str] = field(default_factory=set)
    _peer: set[str] = field(default_factory=set)
    _bases: set[str] = field(default_factory=set)

    def note_base(self, host: str) -> None:
        """Take an address of an interface of ours."""
        self._bases.add(reach_of(host))
        self.note_own(host)

    def note_own(self, host: str) -> None:
        """Take an address that we have or are seen at."""
        self._own |= _marks(host)

    def note_peer(self, host: str) -> None:
        """Take an address that the peer says it has or is seen at."""
        self._peer |= _marks(host)

    @property
    def shares_network(self) -> bool:
        """Whether both sides are in one network."""
        if self.same_network is not None:
            return self.same_network
        return not self._own.isdisjoint(self._peer)

    def is_unlikely(self, address: Address) -> bool:
        """Tell whether an address is that of a network which we are not in, as far as the candidates tell."""
        is_elsewhere = bool(self._own and self._peer) and not self.shares_network
        return is_elsewhere and reach_of(address.host) != Reach.GLOBAL

    def refusal(self, address: Address, *, proven: bool = False) -> str:
        """Return why an address is not checked; empty where it is.

        Args:
            address: IP address and port.
            proven: Whether something came from there that only the peer can have sent, or multicast DNS on our own link
                gave it.
        """
        reach = reach_of(address.host)
        if not address.port or reach == Reach.NEVER:
            return "not an address of a peer"
        if reach == Reach.LOOPBACK:
            return "" if Reach.LOOPBACK in self._bases else "loopback address, and we use none of ours"
        if reach == Reach.LINK and Reach.LINK not in self._bases:
            return "link-local address, and we use none of ours"
        if reach == Reach.GLOBAL or not self.strangers or proven or self.shares_network:
            return ""
        return f"{reach} address, and no sign that both are in one network"


def _marks(host: str) -> set[str]:
    """Return what two sides in one network have in common: a public IPv4 address, or an IPv6 network."""
    if reach_of(host) != Reach.GLOBAL:
        return set()
    address = ipaddress.ip_address(host)
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return {str(address)}
    return {str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))}
