"""HTTP at the ports of a relay: WebSockets, inside of which is what otherwise comes by itself, and short refusals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from librats.errors import ConfigError
from librats.peers.entry.networks import ip_of
from librats.services.server_dialling import web_modules
from librats.turn.serving.peer_policy import IPNetwork

__all__ = ["WebDoor"]

logger = logging.getLogger("librats.web")

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a request may take to be complete."""

_NOT_HERE = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class WebDoor:
    """Answers connections that begin as HTTP does.

    Args:
        opens: Whether WebSockets are opened; 404 is the answer to everything where not.
        trusted: Networks of reverse proxies, which tell from whom a connection is that they pass on.
    """

    def __init__(self, *, opens: bool, trusted: Sequence[IPNetwork] = ()) -> None:
        self._trusted = tuple(trusted)
        self._modules: Any = None
        self._waiting: dict[Any, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()
        if opens:
            try:
                self._modules = web_modules()
            except ConfigError as error:
                logger.info("no WebSockets are opened: %s", error)

    @property
    def waiting(self) -> int:
        """How many requests are not complete."""
        return len(self._waiting)

    def take(self, transport: asyncio.Transport, data: bytes, inside: Callable[[], asyncio.BaseProtocol]) -> None:
        """Take over a connection.

        Args:
            transport: The connection.
            data: What has come on it.
            inside: Makes the protocol of what is inside a WebSocket.
        """
        if self._modules is None:
            transport.write(_NOT_HERE)
            transport.close()
            return
        _, new_socket, new_carrier = self._modules
        socket = new_socket()

        def opened() -> asyncio.BaseProtocol:
            self._done(carrier)
            return inside()

        def told(under: asyncio.Transport) -> Mapping[str, Any]:
            return self._whose(under, socket.forwarded_for)

        carrier: Any = new_carrier(socket, opened, lambda: self._done(carrier), extra=told)
        self._waiting[carrier] = self._loop.call_later(HANDSHAKE_TIMEOUT, carrier.close)
        transport.set_protocol(carrier)
        carrier.connection_made(transport)
        carrier.data_received(data)

    def _done(self, carrier: Any) -> None:
        timer = self._waiting.pop(carrier, None)
        if timer is not None:
            timer.cancel()

    def _whose(self, under: asyncio.Transport, forwarded_for: str) -> Mapping[str, Any]:
        """Return what is known of a connection that a reverse proxy passes on: from whom it is."""
        peer = under.get_extra_info("peername")
        proxy = ip_of(peer[0]) if peer else None
        client = ip_of(forwarded_for)
        if proxy is None or client is None or not any(proxy in network for network in self._trusted):
            return {}
        return {"peername": (str(client), peer[1])}

    def close(self) -> None:
        """End the connections whose requests are not complete."""
        for carrier in list(self._waiting):
            carrier.close()
