"""Ids of nodes that are bound to their address (BEP 42), so that nobody chooses where in the DHT he sits."""

from __future__ import annotations

import ipaddress

from librats.dht.addresses import PORT_SIZE
from librats.errors import UsageError

__all__ = ["bound_node_id", "is_bound", "is_bound_to"]

ID_SIZE = 20
IPV4_HOST = 4
IPV4_MASK = 0x030F3FFF
IPV6_MASK = 0x0103070F1F3F7FFF
CASTAGNOLI = 0x82F63B78
BOUND_BITS = 21
IPV6_LOOPBACK = bytes(15) + b"\1"


def _table() -> list[int]:
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (CASTAGNOLI if byte & 1 else 0)  # noqa: PLW2901 - shifted out bit by bit
        rows.append(byte)
    return rows


_CRC = _table()


def _packed(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        raise UsageError(f"{host!r} is no IP address") from None
    return (getattr(address, "ipv4_mapped", None) or address).packed


def _prefix(host: bytes, chance: int) -> int:
    """Return the first bits of an id, for the three bits of its last byte that count: from the masked address."""
    masked = int.from_bytes(host[:8]) & (IPV4_MASK if len(host) == IPV4_HOST else IPV6_MASK)
    size = min(len(host), 8)
    crc = 0xFFFFFFFF
    for byte in (masked | chance << 8 * size - 3).to_bytes(size):
        crc = crc >> 8 ^ _CRC[crc & 0xFF ^ byte]
    return (crc ^ 0xFFFFFFFF) >> 32 - BOUND_BITS


def _is_local(host: bytes) -> bool:
    first, second = host[0], host[1]
    if len(host) == IPV4_HOST:
        return first in (10, 127) or (first, second) in ((192, 168), (169, 254)) or (first, second >> 4) == (172, 1)
    return (first, second >> 6) == (0xFE, 2) or first >> 1 == 0xFC >> 1 or host == IPV6_LOOPBACK


def _is_bound(node_id: bytes, host: bytes) -> bool:
    if len(node_id) != ID_SIZE:
        return False
    first = int.from_bytes(node_id[:4]) >> 32 - BOUND_BITS
    return first == _prefix(host, node_id[-1] & 7) or _is_local(host)


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
    free = 32 - BOUND_BITS
    prefix = _prefix(_packed(host), chance[-1] & 7)
    return (prefix << free | int.from_bytes(chance[:4]) & (1 << free) - 1).to_bytes(4) + chance[4:]


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
    return _is_bound(node_id, _packed(host))


def is_bound_to(node_id: bytes, address: bytes) -> bool:
    """Whether a node may have an id, as :func:`is_bound` tells it, where its address is a compact one.

    Args:
        node_id: 20 bytes.
        address: The compact address that the node is seen at: 6 or 18 bytes.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.node_ids import is_bound_to
        >>> is_bound_to(bytes(20), compact("124.31.75.21", 6881))
        False
    """
    return _is_bound(node_id, address[:-PORT_SIZE])
