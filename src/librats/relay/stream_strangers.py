"""Connections of clients that have asked for nothing yet: how many one source may have."""

from __future__ import annotations

from collections.abc import Callable

from librats._core.relay import unpack_address
from librats.peers.entry.networks import source_of
from librats.relay.connections import ClientConnection

__all__ = ["MOST_OF_A_SOURCE", "StreamStrangers"]

MOST_OF_A_SOURCE = 256
"""Connections without an allocation of one IPv4 address or one IPv6 network of /64: many clients may share that, and
they have allocations within a second."""


class StreamStrangers:
    """Keeps one source from having every place: the newest connection has the place of the oldest.

    Whoever has just come is about to allocate. Whoever holds connections to hold them has the oldest ones.

    Args:
        is_idle: Tells whether a connection has neither an allocation nor a peer. One that has is forgotten here.
    """

    def __init__(self, is_idle: Callable[[ClientConnection], bool]) -> None:
        self._is_idle = is_idle
        self._by_source: dict[str, dict[ClientConnection, None]] = {}

    def __len__(self) -> int:
        """How many are counted."""
        return sum(map(len, self._by_source.values()))

    def came(self, connection: ClientConnection) -> ClientConnection | None:
        """Count a connection, and return the one that has to leave for it; None where there is room."""
        of_source = self._by_source.setdefault(_source(connection), {})
        of_source[connection] = None
        while len(of_source) > MOST_OF_A_SOURCE:
            oldest = next(iter(of_source))
            del of_source[oldest]
            if self._is_idle(oldest):
                return oldest
        return None

    def left(self, connection: ClientConnection) -> None:
        """Count a connection no more."""
        source = _source(connection)
        of_source = self._by_source.get(source)
        if of_source is not None:
            of_source.pop(connection, None)
            if not of_source:
                del self._by_source[source]


def _source(connection: ClientConnection) -> str:
    address = connection.client.address
    return source_of(unpack_address(address)[0]) if address else ""
