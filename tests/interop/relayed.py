"""A relay on the loopback for clients of others, and what they send to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from tests.reference.certificates import make_certificate

from librats.relay.config import RelayConfig
from librats.relay.server import RelayServer
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address

__all__ = ["LOOPBACK", "echoing_pair", "running_relay"]

LOOPBACK = (parse_network("127.0.0.0/8"), parse_network("::1"))


@contextlib.asynccontextmanager
async def running_relay(folder: Path, **fields: Any) -> AsyncIterator[RelayServer]:
    """Run a relay that listens for UDP and TCP on both families, and for TLS, for ``bob`` with ``secret``."""
    defaults: dict[str, Any] = {
        "listen": (Address("127.0.0.1", 0), Address("::1", 0)),
        "tls_listen": (Address("127.0.0.1", 0),),
        "certificate": make_certificate(folder),
        "users": {"bob": "secret"},
        "allow_peers": LOOPBACK,
    }
    async with RelayServer(RelayConfig(**(defaults | fields))) as server:
        yield server


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def echoing_pair(host: str) -> AsyncIterator[int]:
    """Send back what comes to two ports, an even one and the next, as RTP and RTCP have them; give the first."""
    loop = asyncio.get_running_loop()
    while True:
        first, _ = await loop.create_datagram_endpoint(_Echo, (host, 0))
        port: int = first.get_extra_info("sockname")[1]
        try:
            if port % 2:
                raise OSError("odd")
            second, _ = await loop.create_datagram_endpoint(_Echo, (host, port + 1))
        except OSError:
            first.close()
            continue
        break
    try:
        yield port
    finally:
        first.close()
        second.close()
