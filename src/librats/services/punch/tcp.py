"""TCP punching: both sides connect to each other from the ports on which they listen, over and over (RFC 6544)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Sequence
from typing import cast

from librats.errors import ClosedError
from librats.punch.machine import PathFound, PunchMachine, Sent
from librats.punch.shots import Shot
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.runtime.tcp import TcpListener, address_of
from librats.services.punch.driver import PunchDriver
from librats.stun.client import Answered, StunClient
from librats.types import Address

__all__ = ["PeerConnection", "TcpMeeting"]

ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - the system chooses
STUN_HEADER = 20
MAX_STUN = 1024
LAST_STUN_BYTE = 3
MAX_CONNECTIONS = 32
MAX_DIALLED = 16


def _message_size(buffer: bytes | bytearray) -> int:
    """Return how long the STUN message is that a stream goes on with; 0 where that is not known yet, -1 for none."""
    if buffer and buffer[0] > LAST_STUN_BYTE:
        return -1
    if len(buffer) < STUN_HEADER:
        return 0
    size = STUN_HEADER + int.from_bytes(buffer[2:4])
    return size if size <= MAX_STUN else -1


class _StunCall(asyncio.Protocol):
    """One Binding request over TCP, whose connection stays open so that its NAT keeps the port."""

    def __init__(self, network: Network, server: Address) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = StunClient(network.entropy)
        self._server = server
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.mapped: asyncio.Future[Address | None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._client.ask(self._server, now=self._loop.time())
        for _, data, _ in self._client.datagrams_to_send():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        size = _message_size(self._buffer)
        if size > 0 and len(self._buffer) >= size:
            self._client.receive_datagram(bytes(self._buffer[:size]), self._server, now=self._loop.time())
            event = self._client.next_event()
            self._settle(event.mapped if isinstance(event, Answered) else None)
        elif size < 0:
            self._settle(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._settle(None)

    def _settle(self, mapped: Address | None) -> None:
        if not self.mapped.done():
            self.mapped.set_result(mapped)


class PeerConnection(asyncio.Protocol):
    """A connection that may be the peer's."""

    def __init__(self, meeting: TcpMeeting) -> None:
        self._meeting = meeting
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.number = -1
        self.peer = Address("", 0)
        self.is_chosen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.peer = address_of(transport.get_extra_info("peername"))
        self._meeting.made(self)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer += data
        self.read()

    def read(self) -> None:
        """Take the messages out of what has come, until this is the chosen connection: the rest is for others."""
        while not self.is_chosen and self._meeting.is_driven:
            size = _message_size(self._buffer)
            if size < 0:
                self.abort()
                return
            if size == 0 or len(self._buffer) < size:
                return
            message = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._meeting.came(self, message)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that it has ended."""
        self._meeting.lost(self)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def choose(self) -> None:
        """Leave what comes from now on to whoever takes the connection."""
        self.is_chosen = True
        if self.transport is not None:
            self.transport.pause_reading()

    def leftover(self) -> bytes:
        """Return what has come already for whoever takes the connection."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def abort(self) -> None:
        """End it. Idempotent."""
        if self.transport is not None:
            self.transport.abort()


class TcpMeeting:
    """A port on which one side of a round listens and from which it dials, and the connections that come of it.

    Args:
        network: Where.
        driver: Who moves messages between the connections and the machine.
        leads: Whether this side leads.
    """

    def __init__(self, network: Network, driver: PunchDriver, *, leads: bool) -> None:
        self._network = network
        self._driver = driver
        self._leads = leads
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskSet()
        self._listener: TcpListener | None = None
        self._connections: dict[int, PeerConnection] = {}
        self._next_number = 0
        self._machine: PunchMachine | None = None
        self._calls: list[_StunCall] = []
        self._server: Address | None = None
        self._is_closed = False

    @property
    def port(self) -> int:
        """The port; 0 while it is not open."""
        return self._listener.port if self._listener is not None else 0

    @property
    def is_driven(self) -> bool:
        """Whether there is a machine that messages are for."""
        return self._machine is not None

    async def open(self) -> None:
        """Listen on a fresh port.

        Raises:
            ConfigError: This machine lets us listen on none.
        """
        self._listener = await self._network.listen_tcp(lambda: PeerConnection(self), "", 0, reuse_port=True)

    async def seen_at(self, servers: Sequence[Address], timeout: float) -> Address | None:
        """Ask STUN servers over TCP where they see the port; None where none answers in time."""
        if not servers:
            return None
        asked = [self._loop.create_task(self._ask(server)) for server in servers]
        try:
            async with asyncio.timeout(timeout):
                for answer in asyncio.as_completed(asked):
                    if (mapped := await answer) is not None:
                        return mapped
        except TimeoutError:
            pass
        finally:
            for task in asked:
                task.cancel()
            await asyncio.wait(asked)
        return None

    async def observe(self, servers: Sequence[Address], count: int, timeout: float) -> list[int]:
        """Return public ports that this side's NAT gives to further connections, in order; those to one server.

        Args:
            servers: STUN servers, of which the first that has seen the port is asked.
            count: How many.
            timeout: Seconds for all.
        """
        server = self._server or next(iter(servers), None)
        if server is None:
            return []
        asked = [self._loop.create_task(self._ask(server, afresh=True)) for _ in range(count)]
        await asyncio.wait(asked, timeout=timeout)
        seen = [task.result() for task in asked if task.done() and not task.cancelled()]
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)
        return [mapped.port for mapped in seen if mapped is not None]

    async def _ask(self, server: Address, *, afresh: bool = False) -> Address | None:
        call = _StunCall(self._network, server)
        self._calls.append(call)
        try:
            await self._network.dial_tcp(lambda: call, server, local=None if afresh else self._local(server))
        except OSError:
            return None
        mapped = await call.mapped
        if mapped is not None and self._server is None:
            self._server = server
        return mapped

    def _local(self, remote: Address) -> Address:
        return Address(ANY[6 if ":" in remote.host else 4], self.port)

    # What the round asks

    def drive(self, machine: PunchMachine) -> None:
        """Let a machine decide which connection is the peer's."""
        self._machine = machine
        for connection in list(self._connections.values()):
            self._begin(connection)
            connection.read()

    def start(self, targets: Sequence[Address], *, interval: float, until: float) -> None:
        """Dial, over and over at agreed times, so that what both sides send meets on the way."""
        for target in targets[:MAX_DIALLED]:
            self._tasks.create(self._dial(target, interval, until), name=f"librats punches {target} over TCP")

    async def _dial(self, target: Address, interval: float, until: float) -> None:
        began = self._loop.time()
        attempt = 0
        while (ends := (attempt + 1) * interval) <= until:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began + ends):
                    try:
                        await self._network.dial_tcp(lambda: PeerConnection(self), target, local=self._local(target))
                    except OSError as error:
                        if error.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
                            return  # the other side's attempt was taken already, by the one that listens
                    else:
                        return
                    await asyncio.sleep(interval)
            attempt += 1

    def send(self, sent: Sent) -> None:
        """Send a message over a connection."""
        connection = self._connections.get(sent.base)
        if connection is not None:
            connection.write(sent.data)

    # What the connections tell

    def made(self, connection: PeerConnection) -> None:
        """Take a connection that has come about."""
        if self._is_closed or len(self._connections) >= MAX_CONNECTIONS:
            connection.abort()
            return
        connection.number, self._next_number = self._next_number, self._next_number + 1
        self._connections[connection.number] = connection
        self._begin(connection)

    def _begin(self, connection: PeerConnection) -> None:
        if self._machine is not None and self._leads:
            self._machine.open([Shot(0.0, connection.number, connection.peer)], now=self._loop.time())
            self._driver.pump()

    def came(self, connection: PeerConnection, message: bytes) -> None:
        """Take a message of a connection's."""
        if not self._driver.take(connection.number, message, connection.peer):
            connection.abort()
        outcome = self._driver.outcome
        if outcome.done() and not outcome.cancelled():
            found = outcome.result()
            if isinstance(found, PathFound) and found.base == connection.number:
                connection.choose()

    def lost(self, connection: PeerConnection) -> None:
        """Take that a connection has ended."""
        if self._connections.pop(connection.number, None) is not None and self._machine is not None:
            self._machine.lost(connection.number)
            self._driver.pump()

    # The end

    async def take(self, found: PathFound) -> PeerConnection:
        """Close everything but the chosen connection, and return that.

        Raises:
            ClosedError: It has ended meanwhile.
        """
        chosen = self._connections.pop(found.base, None)
        await self.close()
        if chosen is None:
            raise ClosedError("the connection has ended")
        return chosen

    async def close(self) -> None:
        """Close everything. Idempotent."""
        self._is_closed = True
        self._machine = None
        if self._listener is not None:
            self._listener.close()
        for call in self._calls:
            if call.transport is not None:
                call.transport.abort()
        for connection in list(self._connections.values()):
            connection.abort()
        await self._tasks.close()
