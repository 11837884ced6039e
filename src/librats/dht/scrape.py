"""Filters that tell how many peers there are without telling who (BEP 33): those of many nodes are put together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from librats.errors import UsageError

__all__ = ["FILTER_SIZE", "estimate", "scrape_filter", "together"]

FILTER_SIZE = 256
BITS = FILTER_SIZE * 8
HASHES = 2


def scrape_filter(hosts: Iterable[bytes]) -> bytes:
    """Return the filter of some addresses.

    Args:
        hosts: Addresses without their ports, 4 or 16 bytes each.

    Returns:
        256 bytes.
    """
    bits = bytearray(FILTER_SIZE)
    for host in hosts:
        digest = hashlib.sha1(host, usedforsecurity=False).digest()
        for place in (digest[0] | digest[1] << 8, digest[2] | digest[3] << 8):
            bits[place % BITS // 8] |= 1 << place % 8
    return bytes(bits)


def together(filters: Iterable[bytes]) -> bytes:
    """Return the filter of all addresses that some filters have.

    Raises:
        UsageError: One has not 256 bytes.
    """
    bits = 0
    for one in filters:
        if len(one) != FILTER_SIZE:
            raise UsageError(f"a filter has {FILTER_SIZE} bytes, not {len(one)}")
        bits |= int.from_bytes(one)
    return bits.to_bytes(FILTER_SIZE)


def estimate(bloom: bytes) -> float:
    """Return how many addresses a filter has, about; no more than 6,000 can be told.

    Raises:
        UsageError: It has not 256 bytes.

    Example:
        >>> from librats.dht.scrape import estimate, scrape_filter
        >>> round(estimate(scrape_filter(bytes([192, 0, 2, host]) for host in range(100))))
        99
    """
    if len(bloom) != FILTER_SIZE:
        raise UsageError(f"a filter has {FILTER_SIZE} bytes, not {len(bloom)}")
    zeros = BITS - int.from_bytes(bloom).bit_count()
    return math.log(min(max(zeros, 1), BITS - 1) / BITS) / (HASHES * math.log(1 - 1 / BITS)) if zeros < BITS else 0.0
