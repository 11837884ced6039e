"""Which relayed addresses belong to allocations, in a bit for each port of each transport."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

from librats.turn.serving.allocation import UDP

__all__ = ["LiveAddresses"]

_PORTS = 1 << 16


class LiveAddresses:
    """The relayed addresses of all allocations of a server.

    Args:
        lock: Guards them where several threads allocate.

    Example:
        >>> from librats.turn.serving.allocation import TCP
        >>> live = LiveAddresses()
        >>> live.add("192.0.2.1", 50_000)
        >>> live.has("192.0.2.1", 50_000), live.has("192.0.2.1", 50_000, TCP), live.has("192.0.2.1", 50_001), len(live)
        (True, False, False, 1)
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock = lock or contextlib.nullcontext()
        self._hosts: dict[tuple[str, int], bytearray] = {}

    def has(self, host: str, port: int, transport: int = UDP) -> bool:
        """Tell whether an allocation has an address: the same port of another transport is somebody else's."""
        bits = self._hosts.get((host, transport))
        return bits is not None and bool(bits[port >> 3] >> (port & 7) & 1)

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(int.from_bytes(bits).bit_count() for bits in self._hosts.values())

    def add(self, host: str, port: int, transport: int = UDP) -> None:
        """Note that an allocation has an address."""
        with self._lock:
            bits = self._hosts.get((host, transport))
            if bits is None:
                bits = self._hosts[host, transport] = bytearray(_PORTS >> 3)
            bits[port >> 3] |= 1 << (port & 7)

    def discard(self, host: str, port: int, transport: int = UDP) -> None:
        """Note that none has it any more; one that none had is not there."""
        with self._lock:
            bits = self._hosts.get((host, transport))
            if bits is not None:
                bits[port >> 3] &= ~(1 << (port & 7))
