"""Ids of nodes that are bound to their address (BEP 42), so that nobody chooses where in the DHT he sits."""

from __future__ import annotations

import ipaddress

from librats.errors import UsageError

__all__ = ["bound_node_id", "is_bound"]

ID_SIZE = 20
IPV4_MASK = 0x030F3FFF
IPV6_MASK = 0x0103070F1F3F7FFF
CASTAGNOLI = 0x82F63B78

_LOCAL = [
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
        *("::1/128", "fe80::/10", "fc00::/7"),
    )
]


def _table() -> list[int]:
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (CASTAGNOLI if byte & 1 else 0)  # noqa: PLW2901 - shifted out bit by bit
        rows.append(byte)
    return rows


_CRC = _table()


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        raise UsageError(f"{host!r} is no IP address") from None
    return getattr(address, "ipv4_mapped", None) or address


def _prefix(address: ipaddress.IPv4Address | ipaddress.IPv6Address, chance: int) -> int:
    """Return the 32 bits of which an id has the first 21, for the three bits of its last byte that count."""
    if isinstance(address, ipaddress.IPv4Address):
        return _crc32c((int(address) & IPV4_MASK | chance << 29).to_bytes(4))
    return _crc32c((int(address) >> 64 & IPV6_MASK | chance << 61).to_bytes(8))


def bound_node_id(host: str, chance: bytes) -> bytes:
    """Return an id that a node at an address may have.

    Args:
        host: The address that others see the node at.
        chance: 20 random bytes.

    Raises:
        UsageError: The host is no IP address, or the bytes are not 20.

    Example:
        >>> from librats.dht.node_ids import bound_node_id
        >>> bound_node_id("124.31.75.21", bytes(19) + b"\\x01").hex()
        '5fbfb80000000000000000000000000000000001'
    """
    if len(chance) != ID_SIZE:
        raise UsageError(f"an id is made of {ID_SIZE} random bytes, not of {len(chance)}")
    prefix = _prefix(_parsed(host), chance[-1] & 7)
    return (prefix >> 11 << 11 | int.from_bytes(chance[:4]) & 0x7FF).to_bytes(4) + chance[4:]


def is_bound(node_id: bytes, host: str) -> bool:
    """Whether a node at an address may have an id. In a local network it may have any.

    Args:
        node_id: 20 bytes.
        host: The address that the node is seen at.

    Raises:
        UsageError: The host is no IP address.

    Example:
        >>> from librats.dht.node_ids import is_bound
        >>> is_bound(bytes(20), "124.31.75.21"), is_bound(bytes(20), "192.168.1.7")
        (False, True)
    """
    if len(node_id) != ID_SIZE:
        return False
    address = _parsed(host)
    if any(address in network for network in _LOCAL):
        return True
    return int.from_bytes(node_id[:4]) >> 11 == _prefix(address, node_id[-1] & 7) >> 11
