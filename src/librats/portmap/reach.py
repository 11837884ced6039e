"""Whether an address is one of the internet, so that others can reach what a gateway maps to it."""

from __future__ import annotations

import ipaddress

__all__ = ["is_public_host", "is_usable_host"]

# Not those of documentation, which laboratories use for the internet.
_BEHIND_SOMETHING = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
        *("::/127", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
]


def is_public_host(host: str) -> bool:
    """Tell whether an IP address is one of the internet, and not of a private network or a carrier's NAT.

    Example:
        >>> is_public_host("203.0.113.7"), is_public_host("100.64.0.7"), is_public_host("fd00::1")
        (True, False, False)
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    return not any(address in network for network in _BEHIND_SOMETHING)


def is_usable_host(host: str) -> bool:
    """Tell whether an IP address can be where others reach a host: not those that stand for nobody or for oneself."""
    address = ipaddress.ip_address(host)
    nobody = address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local
    return not nobody and host != "255.255.255.255"
