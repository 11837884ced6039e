"""The ways that punching finds: a socket and the peer's end, or a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from librats.errors import ClosedError
from librats.punch.machine import PathFound
from librats.punch.plans import PunchTechnique
from librats.runtime.callbacks import call_safely
from librats.runtime.handover import give
from librats.runtime.udp import DatagramEndpoint
from librats.services.punch.driver import PunchDriver
from librats.services.punch.sockets import PunchSockets
from librats.services.punch.tcp import PeerConnection
from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["PunchedConnection", "PunchedPath"]

MAX_WAITING = 1024


class PunchedPath:
    """A way to a peer for datagrams. Comes from :meth:`~librats.services.punch.puncher.HolePuncher.punch`.

    Example:
        .. code-block:: python

            path = await puncher.punch()
            path.send(b"hello")
            print(await path.recv())
            path.close()

    Args:
        driver: Who moves what comes.
        sockets: Those of the round; all but one are closed.
        found: Which one it is, and the peer's end.
        technique: What has made it.
        rounds: How many rounds that took.
    """

    def __init__(
        self, driver: PunchDriver, sockets: PunchSockets, found: PathFound, technique: PunchTechnique, rounds: int
    ) -> None:
        sockets.close_others(found.base)
        self._driver, self._sockets = driver, sockets
        self._inbox: deque[bytes] = deque()
        self._came = asyncio.Event()
        self.endpoint: DatagramEndpoint = sockets.endpoint(found.base)
        """The socket. Its NAT knows it by its port: what is to use the way instead of this object shares it, and takes
        what :meth:`hand_over` returns."""
        self.remote_address = found.address
        """The peer's end."""
        self.technique = technique
        """What has made it."""
        self.rounds = rounds
        """How many rounds that took."""
        self.rtt = found.rtt
        """Seconds there and back; None on the side that has not measured it."""
        self.receive: Callable[[bytes], object] | None = None
        """Called with every datagram of the peer's, instead of :meth:`recv`."""
        self.dropped = 0
        """Datagrams that nobody had asked for in time, or that are not from the peer's end."""
        self._base = found.base
        driver.deliver(self._take)

    def __repr__(self) -> str:
        """Show both ends."""
        return f"<PunchedPath {self.local_address} to {self.remote_address} by {self.technique}>"

    @property
    def local_address(self) -> Address:
        """This end: the port is what counts."""
        return self.endpoint.local_address

    def send(self, data: Buffer) -> bool:
        """Send one datagram; False where there was no room, or the path is closed."""
        return self.endpoint.send(data, self.remote_address)

    async def recv(self) -> bytes:
        """Return the next datagram of the peer's.

        Raises:
            ClosedError: The path is closed.
        """
        while not self._inbox:
            if self.endpoint.is_closed:
                raise ClosedError("the path is closed")
            self._came.clear()
            await self._came.wait()
        return self._inbox.popleft()

    def _take(self, number: int, data: bytes, address: Address) -> None:
        if number != self._base or address != self.remote_address or len(self._inbox) >= MAX_WAITING:
            self.dropped += 1
        elif self.receive is not None:
            call_safely(self.receive, data, owner=self)
        else:
            self._inbox.append(data)
            self._came.set()

    def hand_over(self) -> list[tuple[bytes, Address]]:
        """Leave the datagrams to whoever shares the socket, and return those that have come already.

        The path goes on to answer the peer's checks, which may not know yet that there is a way.
        """
        waiting, self._inbox = [(data, self.remote_address) for data in self._inbox], deque(maxlen=0)
        return waiting

    def close(self) -> None:
        """Let the socket go. Idempotent."""
        self._driver.close()
        self._sockets.close_others()
        self._came.set()


class PunchedConnection:
    """A TCP connection to a peer. Comes from :meth:`~librats.services.punch.puncher.HolePuncher.punch`.

    Example:
        .. code-block:: python

            connection = await puncher.punch()
            connection.take(lambda: MyProtocol())

    Args:
        connection: The connection.
        rounds: How many rounds it took.
        rtt: Seconds there and back.
    """

    technique = PunchTechnique.TCP

    def __init__(self, connection: PeerConnection, rounds: int, rtt: float | None) -> None:
        self._connection = connection
        self.rounds = rounds
        """How many rounds it took."""
        self.rtt = rtt
        """Seconds there and back; None on the side that has not measured it."""
        self.remote_address = connection.peer
        """The peer's end."""

    def __repr__(self) -> str:
        """Show the other end."""
        return f"<PunchedConnection to {self.remote_address}>"

    @property
    def transport(self) -> asyncio.Transport:
        """The connection; nothing is read from it until :meth:`take`."""
        return cast("asyncio.Transport", self._connection.transport)

    def take(self, factory: Callable[[], asyncio.Protocol | asyncio.BufferedProtocol]) -> None:
        """Hand the connection over to a protocol, with what has come already."""
        transport, protocol = self.transport, factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        give(lambda: protocol, self._connection.leftover())
        transport.resume_reading()

    def close(self) -> None:
        """End it. Idempotent."""
        self._connection.abort()
