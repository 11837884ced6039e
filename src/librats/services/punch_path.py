"""A way that punching has found: a socket, the peer's end, and answers to what of the peer's still comes late."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from librats.errors import ClosedError
from librats.punch.machine import PathFound, PunchMachine, PunchOver
from librats.punch.plans import PunchReason, Technique
from librats.runtime.callbacks import call_safely
from librats.runtime.udp import DatagramEndpoint
from librats.services.punch_sockets import PunchSockets
from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["PunchDriver", "PunchedPath"]

MAX_WAITING = 1024


class PunchDriver:
    """Moves datagrams between a machine and sockets, and gives it the time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._machine: PunchMachine | None = None
        self._sockets: PunchSockets | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.outcome: asyncio.Future[PathFound | PunchReason] = self._loop.create_future()
        """What has come of it."""
        self.data: Callable[[int, bytes, Address], object] | None = None
        """Called with what else comes."""

    def drive(self, machine: PunchMachine, sockets: PunchSockets) -> None:
        """Begin."""
        self._machine, self._sockets = machine, sockets

    def take(self, number: int, data: bytes, address: Address) -> bool:
        """Take what came to a socket; False where it is no check, and nobody wants other data yet."""
        machine = self._machine
        if machine is not None and machine.receive_datagram(data, address, now=self._loop.time(), base=number):
            self.pump()
            return True
        if self.data is None:
            return False
        self.data(number, data, address)
        return True

    def pump(self) -> None:
        """Send what is to be sent, tell what has happened, and set the clock."""
        machine, sockets = self._machine, self._sockets
        if machine is None or sockets is None:
            return
        for sent in machine.datagrams_to_send():
            sockets.send(sent)
        while (event := machine.next_event()) is not None:
            if not self.outcome.done():
                self.outcome.set_result(event.reason if isinstance(event, PunchOver) else event)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = machine.next_timer()
        if at is not None:
            self._timer = self._loop.call_at(at, self._time_has_come, at)

    def _time_has_come(self, at: float) -> None:
        self._timer = None
        if self._machine is not None:
            self._machine.handle_timer(now=max(self._loop.time(), at))
            self.pump()

    def close(self) -> None:
        """Move nothing any more. Idempotent."""
        self._machine = None
        self.data = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PunchedPath:
    """A way to a peer for datagrams. Comes from :meth:`~librats.services.punch.HolePuncher.punch`.

    Example:
        .. code-block:: python

            path = await puncher.punch()
            path.send(b"hello")
            print(await path.recv())
            path.close()
    """

    def __init__(
        self, driver: PunchDriver, sockets: PunchSockets, found: PathFound, technique: Technique, rounds: int
    ) -> None:
        sockets.close_others(found.base)
        self._driver, self._sockets = driver, sockets
        self._inbox: deque[bytes] = deque()
        self._came = asyncio.Event()
        self.endpoint: DatagramEndpoint = sockets.endpoint(found.base)
        """The socket. Its NAT knows it by its port: what is to use the way instead of this object binds that port after
        :meth:`close`."""
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
        driver.data = self._take

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

    def _take(self, _number: int, data: bytes, address: Address) -> None:
        if address != self.remote_address or len(self._inbox) >= MAX_WAITING:
            self.dropped += 1
        elif self.receive is not None:
            call_safely(self.receive, data, owner=self)
        else:
            self._inbox.append(data)
            self._came.set()

    def close(self) -> None:
        """Let the socket go. Idempotent."""
        self._driver.close()
        self._sockets.close_others()
        self._came.set()
