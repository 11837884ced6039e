"""The IP addresses of this machine."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from typing import TYPE_CHECKING

from msgspec import Struct

from librats.runtime.offload import run_in_thread

if TYPE_CHECKING:
    from ifaddr import Adapter

__all__ = ["Interface", "interface_addresses", "system_adapters", "system_interfaces"]

logger = logging.getLogger("librats.runtime")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Interface(Struct, frozen=True):
    """An interface of a host."""

    name: str
    """As the system calls it."""

    addresses: tuple[str, ...]
    """Its IP addresses; those of IPv6 that are link-local have their zone."""


async def system_interfaces() -> list[Interface]:
    """Return this machine's interfaces, in the system's order."""
    return await run_in_thread(_system_interfaces)


def _system_interfaces() -> list[Interface]:
    return [
        Interface(adapter.nice_name, tuple(dict.fromkeys(map(str, _addresses_of(adapter)))))
        for adapter in system_adapters()
    ]


async def interface_addresses(*, include_loopback: bool = True) -> list[str]:
    """Return this machine's IP addresses, those that serve most peers first.

    IPv4 comes first, then IPv6, then link-local addresses, then loopback; addresses of one kind keep the
    system's order. An IPv6 link-local address has its zone, as in ``fe80::1%eth0`` (on Windows an index).
    Where the system does not tell, a warning is logged and the list is empty.
    """
    found = await run_in_thread(_system_addresses)
    kept = [address for address in dict.fromkeys(found) if include_loopback or not address.is_loopback]
    return [str(address) for address in sorted(kept, key=_rank)]


def _rank(address: IPAddress) -> tuple[bool, bool, bool]:
    return address.is_loopback, address.is_link_local, address.version == 6  # noqa: PLR2004 - IPv6


def system_adapters(*, complaint: int = logging.WARNING) -> list[Adapter]:
    """Return this machine's interfaces, each with its addresses; none where the system does not tell.

    Args:
        complaint: The level at which that is logged.
    """
    # Whatever goes wrong in ifaddr, down to a machine without a C library to ask, costs the list and no more.
    try:
        import ifaddr  # noqa: PLC0415 - only who asks for addresses pays for loading it

        return list(ifaddr.get_adapters())
    except Exception as error:
        logger.log(complaint, "cannot list the addresses of this machine: %s", error)
        return []


def _system_addresses() -> list[IPAddress]:
    return [address for adapter in system_adapters() for address in _addresses_of(adapter)]


def _addresses_of(adapter: Adapter) -> list[IPAddress]:
    found = []
    for entry in adapter.ips:
        try:
            address = _parsed(entry.ip)
        except ValueError as error:
            logger.warning("skipping an address of %s: %s", entry.nice_name, error)
            continue
        if not (address.is_unspecified or address.is_multicast):
            found.append(address)
    return found


def _parsed(value: str | tuple[str, int, int]) -> IPAddress:
    """Read an address as ifaddr gives it: IPv6 as a tuple of address, flow information and scope."""
    if isinstance(value, str):
        return ipaddress.ip_address(value)
    host, _, scope = value
    address = ipaddress.IPv6Address(host)
    if address.is_link_local and address.scope_id is None and scope:
        return ipaddress.IPv6Address(f"{host}%{_zone(scope)}")
    return address


def _zone(scope: int) -> str:
    if os.name == "nt":
        return str(scope)  # names have spaces there, and connecting takes the index
    try:
        return socket.if_indextoname(scope)
    except OSError:  # the interface is gone since it was listed; the index is a zone, too
        return str(scope)
