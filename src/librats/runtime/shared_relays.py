"""Relay sockets that many allocations share, one for each host of a relay."""

from __future__ import annotations

from librats._core.relay import unpack_address
from librats.runtime.relay_ports import RelayPortPool
from librats.turn.serving.allocation import TCP, UDP, Relay

__all__ = ["SharedRelays"]


class SharedRelays:
    """Gives the allocations of one thread the same few sockets; those of TCP allocations are their own.

    Args:
        pool: Where the sockets come from.

    Raises:
        ConfigError: A host cannot be bound to.
    """

    def __init__(self, pool: RelayPortPool) -> None:
        self._pool = pool
        self.relays = pool.open_each()
        """The sockets, for :meth:`librats._core.relay.Plane.share_relay`."""
        self._next = 0

    def has(self, family: int) -> bool:
        """Tell whether there is an address of a family."""
        return self._pool.has(family)

    def open(self, family: int, *, near: bytes, even: bool = False, transport: int = UDP) -> Relay | None:
        """Return the socket of the host that the client sent to, or of one host after the other.

        Args:
            family: 1 for IPv4, 2 for IPv6.
            near: The packed address that the client sent to; empty where it is not known.
            even: Whether the port must be even, which the shared one is not for anybody.
            transport: 17 for UDP; 6 for TCP, for which a socket is opened.
        """
        if transport == TCP:
            return self._pool.open(family, near=near, even=even, transport=transport)
        relays = [relay for relay in self.relays if relay.family == family]
        if even or not relays:
            return None
        host = unpack_address(near)[0] if near else ""
        self._next = (self._next + 1) % len(relays)
        return next((relay for relay in relays if relay.bound_host == host), relays[self._next])

    def open_pair(self, family: int, *, near: bytes) -> tuple[Relay, Relay] | None:
        """Return None: no allocation has a port to itself, let alone the next one."""
        return None

    def close(self, relay: Relay) -> None:
        """Close a socket that is not shared."""
        if relay not in self.relays:
            self._pool.close(relay)

    def close_all(self) -> None:
        """Close the shared sockets, once no allocation uses them."""
        while self.relays:
            self._pool.close(self.relays.pop())
