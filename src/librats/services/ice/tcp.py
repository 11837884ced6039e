"""Bases of ICE over TCP (RFC 6544): one side connects, the other one listens; datagrams travel framed (RFC 4571)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, cast

from librats.ice.candidates import TcpType
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.runtime.tcp import TcpListener, address_of
from librats.services.ice.ports import Take
from librats.services.turn.paths import problem_of
from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ActivePort", "PassivePort"]

DISCARD_PORT = 9
"""What stands for the port of a candidate that has none (RFC 6544, 4.5)."""

MAX_FRAME = 65535
HIGH_WATER = 256 * 1024
MAX_CONNECTIONS = 16
PROOF_TIME = 5.0
"""Seconds within which a connection has to bring something of the peer's."""

DIAL_TIME = 10.0

Failed = Callable[[int, Address, str], object]
"""Called with number of the base, the peer's end, and why a connection has ended or did not come about."""


class Framed(asyncio.Protocol):
    """A connection that carries datagrams, each behind its length.

    Args:
        came: Called with every datagram.
        lost: Called with the reason when the connection has ended, but not after :meth:`close`.
        made: Called when it is there.
    """

    def __init__(
        self,
        came: Callable[[Framed, bytes], object],
        lost: Callable[[Framed, str], object],
        made: Callable[[Framed], object] | None = None,
    ) -> None:
        self._came, self._lost, self._made = came, lost, made
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: list[bytes] = []
        self._closed = False
        self.peer = Address("", 0)
        """The other end, once it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        if self._closed:
            self._transport.abort()
            return
        self.peer = address_of(transport.get_extra_info("peername"))
        if self._made is not None:
            self._made(self)
        for data in self._waiting:
            self._write(data)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Take the datagrams out of what has come."""
        self._buffer += data
        while len(self._buffer) >= 2 and not self._closed:  # noqa: PLR2004 - the length
            size = int.from_bytes(self._buffer[:2])
            if len(self._buffer) < 2 + size:
                return
            frame = bytes(self._buffer[2 : 2 + size])
            del self._buffer[: 2 + size]
            self._came(self, frame)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that it has ended."""
        if not self._closed:
            self._closed = True
            self._lost(self, problem_of(error) if isinstance(error, OSError) else "the peer closed the connection")

    def send(self, data: Buffer) -> bool:
        """Send a datagram, as soon as the connection is there; False where too much waits, or it is too long."""
        frame = bytes(data)
        if self._closed or len(frame) > MAX_FRAME:
            return False
        if self._transport is None:
            if len(self._waiting) >= MAX_CONNECTIONS:
                return False
            self._waiting.append(frame)
            return True
        return self._write(frame)

    def _write(self, frame: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > HIGH_WATER:
            return False
        transport.write(len(frame).to_bytes(2) + frame)
        return True

    def close(self) -> None:
        """End the connection; nobody is told."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()


class _TcpPort:
    """Connections by their other ends.

    Args:
        failed: Called when one has ended, or did not come about.
    """

    tcp_type: TcpType
    addresses: Sequence[Address]

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._number = 0
        self._take: Take | None = None
        self._connections: dict[Address, Framed] = {}

    def open(self, number: int, take: Take) -> None:
        """Hand on what comes, from now on."""
        self._number, self._take = number, take

    def _hand_on(self, data: bytes, address: Address) -> bool:
        return self._take is not None and self._take(self._number, data, address)

    def _ended(self, address: Address, problem: str) -> None:
        if self._connections.pop(address, None) is not None:
            self._failed(self._number, address, problem)

    async def close(self) -> None:
        """End every connection."""
        self._take = None
        connections, self._connections = list(self._connections.values()), {}
        for connection in connections:
            connection.close()


class ActivePort(_TcpPort):
    """Connects to where it is told to send.

    Args:
        network: Where.
        host: IP address of ours, for the candidate.
        failed: Called when a connection has ended, or did not come about.
    """

    tcp_type = TcpType.ACTIVE

    def __init__(self, network: Network, host: str, failed: Failed) -> None:
        super().__init__(failed)
        self._network = network
        self._tasks = TaskSet()
        self.addresses = (Address(host, DISCARD_PORT),)
        """Its candidate."""

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram, over a connection that is made where there is none."""
        to = Address(*address)
        connection = self._connections.get(to)
        if connection is None:
            if self._take is None or len(self._connections) >= MAX_CONNECTIONS:
                return False
            connection = self._connections[to] = Framed(
                lambda _, frame: self._hand_on(frame, to), lambda _, problem: self._ended(to, problem)
            )
            self._tasks.create(self._dial(connection, to), name=f"librats ICE to {to}")
        return connection.send(data)

    async def _dial(self, connection: Framed, to: Address) -> None:
        try:
            async with asyncio.timeout(DIAL_TIME):
                await self._network.dial_tcp(lambda: connection, to)
        except TimeoutError:
            self._ended(to, "the connection did not come about in time")
        except OSError as error:
            self._ended(to, problem_of(error))

    async def close(self) -> None:
        """End every connection."""
        await super().close()
        await self._tasks.close()


class PassivePort(_TcpPort):
    """Listens, and sends to whoever has connected."""

    tcp_type = TcpType.PASSIVE
    _listener: TcpListener

    @classmethod
    async def listen(cls, network: Network, host: str, failed: Failed) -> Self:
        """Listen on one address of ours.

        Raises:
            ConfigError: This machine has no such address.
        """
        port = cls(failed)
        port._listener = await network.listen_tcp(port._new_connection, host, 0)
        port.addresses = tuple(port._listener.addresses)
        return port

    def _new_connection(self) -> Framed:
        return Framed(self._came, lambda connection, problem: self._ended(connection.peer, problem), self._accepted)

    def _accepted(self, connection: Framed) -> None:
        if self._take is None or len(self._connections) >= MAX_CONNECTIONS:
            connection.close()
            return
        self._connections[connection.peer] = connection
        self._unproven[connection.peer] = asyncio.get_running_loop().call_later(
            PROOF_TIME, self._part_with, connection.peer
        )

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed)
        self._unproven: dict[Address, asyncio.TimerHandle] = {}

    def _came(self, connection: Framed, data: bytes) -> None:
        if self._hand_on(data, connection.peer):
            self._settle(connection.peer)
        elif connection.peer in self._unproven:
            self._part_with(connection.peer)

    def _settle(self, peer: Address) -> None:
        timer = self._unproven.pop(peer, None)
        if timer is not None:
            timer.cancel()

    def _part_with(self, peer: Address) -> None:
        """End a connection that has brought nothing of the peer's."""
        self._settle(peer)
        connection = self._connections.pop(peer, None)
        if connection is not None:
            connection.close()

    def _ended(self, address: Address, problem: str) -> None:
        self._settle(address)
        super()._ended(address, problem)

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram; False where nobody has connected from there."""
        connection = self._connections.get(Address(*address))
        return connection is not None and connection.send(data)

    async def close(self) -> None:
        """Listen no more, and end every connection."""
        self._listener.close()
        for peer in list(self._unproven):
            self._settle(peer)
        await super().close()
