"""What ``librats relay`` tells of itself."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from librats._core.relay import unpack_address
from librats.cli.output import Output
from librats.relay.server import RelayServer
from librats.turn.serving.allocation import TCP, Allocation
from librats.types import Address

__all__ = ["Reporter"]

_POLL = 0.1


class Reporter:
    """Tells allocations and statistics as JSON. It hears of allocations in the threads that have them.

    Args:
        output: Where to.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._events: deque[dict[str, Any]] = deque()

    def allocated(self, allocation: Allocation) -> None:
        """Hear of a new allocation."""
        self._events.append(
            {"event": "allocation", **_described(allocation), "lifetime": allocation.lifetime, "time": time.time()}
        )

    def released(self, allocation: Allocation, reason: str, traffic: tuple[int, int, int, int]) -> None:
        """Hear of one that is gone."""
        names = ("packets_to_peers", "bytes_to_peers", "packets_to_client", "bytes_to_client")
        self._events.append(
            {
                "event": "released",
                **_described(allocation),
                "reason": reason,
                **dict(zip(names, traffic, strict=True)),
                "time": time.time(),
            }
        )

    def ready(self, server: RelayServer, peer_id: str) -> None:
        """Tell that the relay runs, and where."""
        addresses = [str(address) for address in server.addresses]
        tls = [str(address) for address in server.tls_addresses]
        where = ", ".join(addresses) + (f" and for TLS on {', '.join(tls)}" if tls else "")
        self._output.tell(
            f"relaying, listening on {where}",
            event="ready",
            peer_id=peer_id,
            addresses=addresses,
            tls_addresses=tls,
            metrics=None if server.metrics_address is None else str(server.metrics_address),
            realm=server.config.realm,
            threads=server.config.threads,
        )

    async def report(self, server: RelayServer, *, interval: float) -> None:
        """Tell events as they come, and statistics every so many seconds, where JSON is wanted."""
        due = time.monotonic() + interval
        while True:
            await asyncio.sleep(_POLL if self._output.as_json else interval)
            self._tell_events()
            if time.monotonic() >= due:
                due += interval
                self._output.emit(event="statistics", **server.statistics().as_event())

    def tell_last(self, server: RelayServer) -> None:
        """Tell what is left to tell when the relay ends."""
        self._tell_events()
        self._output.emit(event="statistics", **server.statistics().as_event())

    def _tell_events(self) -> None:
        while self._events:
            self._output.emit(**self._events.popleft())


def _described(allocation: Allocation) -> dict[str, Any]:
    return {
        "user": allocation.username,
        "client": str(Address(*unpack_address(allocation.client.address))),
        "transport": "tcp" if allocation.client.is_stream else "udp",
        "relayed": [str(Address(relay.host, relay.port)) for relay in allocation.relays],
        "peers": "tcp" if allocation.transport == TCP else "udp",
    }
