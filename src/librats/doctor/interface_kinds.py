"""What kind of interface one is, by its name and its addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum

__all__ = ["InterfaceKind"]


class InterfaceKind(StrEnum):
    """What an interface is for."""

    ORDINARY = "ordinary"
    """A network card, or what looks like one."""

    LOOPBACK = "loopback"
    """This host itself."""

    TUNNEL = "tunnel"
    """A VPN or another tunnel: what goes through it comes out elsewhere, and takes longer."""

    VIRTUAL = "virtual"
    """A network of containers or virtual machines within this host: nobody outside is there."""

    LINK_LOCAL = "link-local"
    """It has link-local addresses alone: it leads no further than the next switch."""


_TUNNELS = re.compile(
    r"(tun|tap|u?tun|wg|ppp|ipsec|tailscale|zt|nordlynx|proton|gpd|cscotun|l2tp|sit|gre|he-ipv6)[\d-]*"
    r"|.*(wireguard|openvpn|tap-windows|wintun|vpn|zerotier|tailscale|teredo).*"
)
_VIRTUAL = re.compile(
    r"(docker|br-|veth|virbr|vmnet|vboxnet|lxc|lxd|cni|flannel|cali|podman|bridge|vnic)[\w.-]*"
    r"|.*(vethernet|hyper-v|virtualbox|vmware).*"
)


def kind_of(name: str, addresses: Sequence[str]) -> InterfaceKind:
    """Return what kind of interface one is.

    Args:
        name: As the system calls it.
        addresses: Its IP addresses; those of IPv6 may have a zone.

    Example:
        >>> kind_of("wg0", ["10.8.0.2"]).value, kind_of("eth0", ["192.168.1.5"]).value
        ('tunnel', 'ordinary')
    """
    parsed = [ipaddress.ip_address(address.partition("%")[0]) for address in addresses]
    lowered = name.lower()
    if parsed and all(address.is_loopback for address in parsed):
        return InterfaceKind.LOOPBACK
    if _TUNNELS.fullmatch(lowered):
        return InterfaceKind.TUNNEL
    if _VIRTUAL.fullmatch(lowered):
        return InterfaceKind.VIRTUAL
    if all(address.is_link_local for address in parsed):
        return InterfaceKind.LINK_LOCAL
    return InterfaceKind.ORDINARY
