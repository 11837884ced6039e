"""Which peers a relay talks to: nothing inside, whatever form its address is written in.

A relay that forwards to wherever its users say is a way into the network it stands in. What is not a public unicast
address is denied, and so is every IPv6 address that carries one inside (:func:`embedded_addresses`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from librats.errors import UsageError

__all__ = ["DENIED_BY_DEFAULT", "PeerPolicy", "Verdict", "embedded_addresses", "parse_network"]

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Special-purpose ranges of RFC 6890 and its registries. Those kept for documentation lead nowhere, and stay open.
DENIED_BY_DEFAULT: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network, unspecified
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carrier-grade NATs
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "::/3",  # unspecified, loopback, IPv4-mapped, IPv4-compatible, IPv4-translated, local NAT64, discard
        "4000::/2",  # reserved
        "8000::/1",  # reserved, unique local, link-local, site-local, multicast
        "2001:2::/48",  # benchmarks
        "2001:10::/28",  # ORCHID
    )
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # lies in ::/3, yet is public where the address it carries is
_BITS_32 = 0xFFFFFFFF
_ISATAP = {0x00005EFE, 0x02005EFE}
_REMEMBERED = 4096


class Verdict(Enum):
    """What the policy says of a peer's host."""

    DENIED = 0
    ALLOWED = 1
    OWN = 2
    """It is the relay's own: only ports that it relays from may be reached."""


class _Range(NamedTuple):
    first: int
    last: int
    length: int
    denied: bool


class PeerPolicy:
    """Decides about peers' addresses.

    Of the networks in `allow` and `deny` that an address lies in, the longest prefix decides, and of equal ones the
    denial; an address in none of them is denied where it is one of :data:`DENIED_BY_DEFAULT`. An address that
    carries others inside is allowed only where these are, too.

    Args:
        allow: Networks to open.
        deny: Networks to close.
        own: The relay's own hosts: where it listens, relays from, and what stands for it outside.

    Example:
        >>> policy = PeerPolicy(allow=[parse_network("10.1.0.0/16")])
        >>> [policy.judge(host).name for host in ("192.0.2.7", "10.1.2.3", "10.2.2.3", "::ffff:10.1.2.3")]
        ['ALLOWED', 'ALLOWED', 'DENIED', 'DENIED']
    """

    def __init__(
        self, *, allow: Iterable[IPNetwork] = (), deny: Iterable[IPNetwork] = (), own: Iterable[str] = ()
    ) -> None:
        stated = [(network, False) for network in allow] + [(network, True) for network in deny]
        self._stated = {version: _ranges(stated, version) for version in (4, 6)}
        default = [(network, True) for network in DENIED_BY_DEFAULT] + [(NAT64, False)]
        self._default = {version: _ranges(default, version) for version in (4, 6)}
        self._own = frozenset(ipaddress.ip_address(host.partition("%")[0]) for host in own)
        self._known: dict[str, Verdict] = {}

    def judge(self, host: str) -> Verdict:
        """Return what is to be done about a host.

        Args:
            host: IP address as text, as the codec decodes it.
        """
        verdict = self._known.get(host)
        if verdict is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            verdict = self._known[host] = self._judge(ipaddress.ip_address(host))
        return verdict

    def _judge(self, address: IPAddress) -> Verdict:
        number = int(address)
        stated = _most_specific(self._stated[address.version], number)
        if stated is None:
            if address in self._own:
                return Verdict.OWN
            stated = _most_specific(self._default[address.version], number)
        if stated is not None and stated.denied:
            return Verdict.DENIED
        inner = embedded_addresses(address)
        if all(self._judge(carried) is Verdict.ALLOWED for carried in inner):
            return Verdict.ALLOWED
        return Verdict.DENIED


def embedded_addresses(address: IPAddress) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address carries.

    These are the IPv4-mapped and IPv4-compatible (RFC 4291, 2.5.5), IPv4-translated (RFC 2765), 6to4 (RFC 3056),
    NAT64 (RFC 6052), Teredo (RFC 4380: server and client) and ISATAP (RFC 5214) forms.

    Example:
        >>> embedded_addresses(ipaddress.ip_address("2002:7f00:1::"))
        [IPv4Address('127.0.0.1')]
    """
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return []
    number = int(address)
    low, high = number & _BITS_32, number >> 32
    carried = []
    is_compatible = high == 0 and low > 1  # the unspecified address and the loopback are no IPv4 addresses
    if is_compatible or high in (0xFFFF, 0xFFFF << 16) or address in NAT64:
        carried.append(low)
    if number >> 112 == 0x2002:  # noqa: PLR2004 - 6to4
        carried.append(number >> 80 & _BITS_32)
    if number >> 96 == 0x20010000:  # noqa: PLR2004 - Teredo
        carried += [number >> 64 & _BITS_32, low ^ _BITS_32]
    if high & _BITS_32 in _ISATAP:
        carried.append(low)
    return [ipaddress.IPv4Address(inner) for inner in carried]


def parse_network(text: str) -> IPNetwork:
    """Read a network, or a single address, as an operator writes it.

    Raises:
        UsageError: It is neither, or bits are set behind the prefix.
    """
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise UsageError(f"not a network: {error}; write 10.0.0.0/8 or 2001:db8::/32") from None


def _ranges(networks: Iterable[tuple[IPNetwork, bool]], version: int) -> list[_Range]:
    """Return the networks of one IP version, longest prefix first, a denial before what it ties with."""
    found = [
        _Range(int(network.network_address), int(network.broadcast_address), network.prefixlen, denied)
        for network, denied in networks
        if network.version == version
    ]
    return sorted(found, key=lambda range_: (-range_.length, not range_.denied))


def _most_specific(ranges: list[_Range], number: int) -> _Range | None:
    return next((range_ for range_ in ranges if range_.first <= number <= range_.last), None)
