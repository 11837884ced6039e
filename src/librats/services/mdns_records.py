"""What a node announces by multicast DNS: the records of its service, checked before anybody believes them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from librats.errors import DecodeError
from librats.peer_ids import is_peer_id
from librats.types import Address

__all__ = ["MAX_ADDRESSES", "MAX_NAME", "MAX_PORT", "MdnsPeer", "is_name", "reachable", "read_service"]

MAX_ADDRESSES = 16
MAX_NAME = 64
MAX_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class MdnsPeer:
    """A peer as it announces itself on the local network; nothing of it is proven."""

    peer_id: str
    """Peer id in lower-case hex; empty where it is not told, as by nodes of the C++ library."""

    name: str
    """What it calls itself; empty where it does not."""

    protocol: str
    """Its protocol string; empty where it is not told."""

    addresses: tuple[Address, ...]
    """Where it listens, IPv4 first, at least one."""

    instance: str
    """Full name of the service instance, such as ``rats-0123abcd._librats._tcp.local.``."""


def read_service(
    instance: str, properties: Mapping[bytes, bytes | None], hosts: Iterable[str], port: int | None
) -> MdnsPeer:
    """Read what somebody announced.

    Args:
        instance: Full name of the service instance.
        properties: Keys and values of its TXT record; none for a node of the C++ library.
        hosts: IP addresses of its host. Those that nobody can be reached at are left out.
        port: Port of its SRV record.

    Raises:
        DecodeError: Nothing of ours: a value is missing, malformed or too long, or there is no address.

    Example:
        >>> read_service("rats-1._librats._tcp.local.", {}, ["192.0.2.7"], 8081).addresses
        (Address(host='192.0.2.7', port=8081),)
    """
    if not port or not 0 < port <= MAX_PORT:
        raise DecodeError(f"port {port} in an SRV record")
    if not (addresses := tuple(Address(host, port) for host in reachable(hosts)[:MAX_ADDRESSES])):
        raise DecodeError("a service without an address")
    told = dict.fromkeys((b"id", b"p", b"n"), "")
    if properties:
        try:
            told = {key: (properties.get(key) or b"").decode() for key in told}
        except UnicodeDecodeError:
            raise DecodeError("a TXT record that is not UTF-8") from None
        if not (properties.get(b"v") == b"1" and is_peer_id(told[b"id"]) and told[b"p"]):
            raise DecodeError("a TXT record without version 1, a peer id or a protocol")
        if not is_name(told[b"n"]):
            raise DecodeError("a TXT record with a bad name")
    return MdnsPeer(peer_id=told[b"id"], name=told[b"n"], protocol=told[b"p"], addresses=addresses, instance=instance)


def is_name(name: str) -> bool:
    """Tell whether a node may call itself that."""
    return len(name) <= MAX_NAME and name.isprintable()


def reachable(hosts: Iterable[str]) -> list[str]:
    """Return those of a host's IP addresses that somebody may reach it at, IPv4 first."""
    parsed = {ipaddress.ip_address(host) for host in hosts}
    kept = [ip for ip in parsed if not (ip.is_unspecified or ip.is_multicast)]
    return [str(ip) for ip in sorted(kept, key=lambda ip: (ip.version, ip.is_link_local, str(ip)))]
