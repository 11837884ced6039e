"""The TCP and TLS side of a relay: one machine and data plane, on the loop."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from librats._core.relay import Plane
from librats.errors import ConfigError
from librats.relay.connections import ClientConnection
from librats.relay.failures import Failures
from librats.relay.introducing import RelayIntroducer
from librats.relay.stream_strangers import StreamStrangers
from librats.relay.tcp_allocations import TcpAllocations
from librats.relay.web import WebDoor
from librats.runtime.tcp import TcpListener, listen_tcp
from librats.turn.serving.allocation import UDP
from librats.turn.serving.machine import Machine
from librats.turn.serving.request import Answer
from librats.types import Address

__all__ = ["StreamServer", "load_certificate", "tls_context"]

logger = logging.getLogger("librats.relay")

_TICK = 1.0
_SWEEP, _MINUTE = 10, 60
_STRANGER_TIMEOUT = 60.0
"""Seconds that a connection without an allocation may be silent."""

_PORTABLE_POLL = 0.01
_CHANNEL_DATA = 0x40
_SEND = b"\x00\x16"


class StreamServer:
    """Serves clients that are connected.

    Args:
        plane: Forwards to peers what clients send, and the other way round.
        machine: Answers requests.
        peers: Makes connections of TCP allocations.
        max_connections: How many clients there may be.
        each_minute: Called once a minute.
        web: Answers what begins as HTTP does.
    """

    def __init__(
        self,
        plane: Plane,
        machine: Machine,
        peers: TcpAllocations,
        *,
        max_connections: int,
        each_minute: Callable[[], None],
        web: WebDoor,
    ) -> None:
        self.plane = plane
        self.machine = machine
        self.statistics: dict[str, int] = {}
        """What the data plane counted, as of the last second."""
        self.connections = peers.clients
        """Clients' connections, by the listener number that they are known by."""
        self.failures = Failures()
        """What was dropped because of errors that nobody foresaw."""
        self.introducer: RelayIntroducer | None = None
        """Who takes connections that begin as sessions do."""
        self.unread = 0
        """Frames that were dropped because their client did not keep up."""
        self._peers = peers
        self._max_connections = max_connections
        self._each_minute = each_minute
        self._web = web
        self._strangers = StreamStrangers(self._is_idle)
        self._serial = 0
        self._ticks = 0
        self._listeners: list[TcpListener] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._poll: asyncio.TimerHandle | None = None

    async def start(self, plain: list[Address], encrypted: list[Address], tls: ssl.SSLContext | None) -> list[Address]:
        """Listen.

        Args:
            plain: Where, for TCP.
            encrypted: Where, for TLS.
            tls: The certificate.

        Returns:
            Where it listens for TLS.

        Raises:
            ConfigError: An address is taken, or not this machine's.
        """
        bound = []
        for addresses, context in ((plain, None), (encrypted, tls)):
            for address in addresses:
                listener = await listen_tcp(self._new_connection, address.host, address.port, tls=context)
                self._listeners.append(listener)
                if context is not None:
                    bound += listener.addresses
        if self.plane.fileno() >= 0:
            self._loop.add_reader(self.plane.fileno(), self._forward)
        else:
            self._poll_plane()
        self._tick()
        return bound

    async def close(self) -> None:
        """End all allocations and connections."""
        for listener in self._listeners:
            listener.close()
        if self.plane.fileno() >= 0:
            self._loop.remove_reader(self.plane.fileno())
        for timer in (self._timer, self._poll):
            if timer is not None:
                timer.cancel()
        self.machine.tables.close()
        await self._peers.close()
        self._web.close()
        for connection in list(self.connections.values()):
            connection.close()

    def post(self, task: Callable[[float], None]) -> None:
        """Have something done by the loop, soon. Safe in every thread."""
        self._loop.call_soon_threadsafe(lambda: task(time.monotonic()))

    def deliver(self, answer: Answer) -> None:
        """Send an answer that comes late."""
        connection = self.connections.get(answer.listener)
        if connection is not None:
            connection.write(answer.data)

    # What connections tell.

    def admit(self, connection: ClientConnection) -> bool:
        """Take a new connection in; False where there are too many."""
        if len(self.connections) + self._web.waiting >= self._max_connections:
            return False
        self.connections[connection.client.listener] = connection
        left = self._strangers.came(connection)
        if left is not None:
            left.abort()
        return True

    def take(self, connection: ClientConnection, frame: bytes) -> None:
        """Take a STUN message or ChannelData of a client."""
        if frame[0] >= _CHANNEL_DATA or frame[:2] == _SEND:
            allocation = self.machine.tables.find(connection.client)
            if allocation is not None and allocation.transport == UDP:
                self.plane.forward(allocation.number, frame)
            return
        now = time.monotonic()
        try:
            answer = self.machine.receive(connection.client, frame, now=now)
        except Exception:  # one request is not worth the connection
            self.failures.note("a request", now=now)
            return
        if answer is not None:
            connection.write(answer.data)

    def relays_for(self, connection: ClientConnection) -> bool:
        """Tell whether a client has an allocation."""
        return connection.client in self.machine.tables

    def take_session(self, connection: ClientConnection, data: bytes) -> bool:
        """Give a connection that begins as a session does to the introducer; False where there is none."""
        introducer, transport = self.introducer, connection.transport
        if introducer is None or transport is None:
            return False
        self._forget(connection)
        introducer.take(transport, data)
        return True

    def take_web(self, connection: ClientConnection, data: bytes) -> None:
        """Answer a connection that begins as HTTP does; a WebSocket has another one inside."""
        transport = connection.transport
        if transport is not None:
            self._forget(connection)
            self._web.take(transport, data, lambda: self._new_connection(is_inside=True))

    def lost(self, connection: ClientConnection) -> None:
        """Hear that a client's connection is gone."""
        self._forget(connection)

    def _forget(self, connection: ClientConnection) -> None:
        self.connections.pop(connection.client.listener, None)
        self._strangers.left(connection)
        self.machine.disconnect(connection.client)

    def _new_connection(self, *, is_inside: bool = False) -> ClientConnection:
        self._serial += 1
        return ClientConnection(self, self._serial, now=time.monotonic, is_inside=is_inside)

    def _forward(self) -> None:
        """Write what came from peers to the clients."""
        tables = self.machine.tables
        for event in self.plane.run(0.0):
            if event[0] != "stream":
                continue
            allocation = tables.get(event[1])
            connection = None if allocation is None else self.connections.get(allocation.client.listener)
            if connection is None or not connection.write(event[2]):
                self.unread += 1

    def _poll_plane(self) -> None:
        self._forward()
        self._poll = self._loop.call_later(_PORTABLE_POLL, self._poll_plane)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_TICK, self._tick)
        now = time.monotonic()
        self.machine.time_difference = time.time() - now
        self.statistics = self.plane.statistics()
        self._ticks += 1
        try:
            self.machine.handle_timer(now=now)
            if self._ticks % _SWEEP == 0:
                self._close_strangers(now)
            if self._ticks % _MINUTE == 0:
                self._each_minute()
        except Exception:  # what is left over is done in the next second
            self.failures.note("a second's upkeep", now=now)

    def _close_strangers(self, now: float) -> None:
        for connection in list(self.connections.values()):
            if now - connection.heard > _STRANGER_TIMEOUT and self._is_idle(connection):
                connection.close()

    def _is_idle(self, connection: ClientConnection) -> bool:
        return connection.partner is None and connection.client not in self.machine.tables


def tls_context(certificate: Path, private_key: Path | None) -> ssl.SSLContext:
    """Return how clients are spoken to by TLS 1.2 or newer.

    Raises:
        ConfigError: The files cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["stun.turn", "stun.nat-discovery", "http/1.1"])  # RFC 7443
    load_certificate(context, certificate, private_key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, private_key: Path | None) -> None:
    """Let connections from now on see the certificate that the files have now; the one before stays where that fails.

    Raises:
        ConfigError: They cannot be used.
    """
    try:
        # A context that has loaded half of a pair has neither the old one nor the new one: another tries it first.
        for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            each.load_cert_chain(certificate, private_key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("certificate", f"cannot use {certificate}: {error.strerror or error}") from error


def _no_password() -> str:
    """Answer for a terminal, which a key that needs a password would be asked for at, while everybody waits."""
    return ""
