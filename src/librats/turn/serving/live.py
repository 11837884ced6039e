"""Which relayed addresses belong to allocations, in a bit for each port."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

__all__ = ["LiveAddresses"]

_PORTS = 1 << 16


class LiveAddresses:
    """The relayed addresses of all allocations of a server.

    Args:
        lock: Guards them where several threads allocate.

    Example:
        >>> live = LiveAddresses()
        >>> live.add("192.0.2.1", 50_000)
        >>> ("192.0.2.1", 50_000) in live, ("192.0.2.1", 50_001) in live, len(live)
        (True, False, 1)
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock = lock or contextlib.nullcontext()
        self._hosts: dict[str, bytearray] = {}

    def __contains__(self, address: tuple[str, int]) -> bool:
        """Tell whether an allocation has an address."""
        host, port = address
        bits = self._hosts.get(host)
        return bits is not None and bool(bits[port >> 3] >> (port & 7) & 1)

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(int.from_bytes(bits).bit_count() for bits in self._hosts.values())

    def add(self, host: str, port: int) -> None:
        """Note that an allocation has an address."""
        with self._lock:
            bits = self._hosts.get(host)
            if bits is None:
                bits = self._hosts[host] = bytearray(_PORTS >> 3)
            bits[port >> 3] |= 1 << (port & 7)

    def discard(self, host: str, port: int) -> None:
        """Note that none has it any more; one that none had is not there."""
        with self._lock:
            bits = self._hosts.get(host)
            if bits is not None:
                bits[port >> 3] &= ~(1 << (port & 7))
