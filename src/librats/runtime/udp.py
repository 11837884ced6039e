"""Datagrams for asyncio: one endpoint on both address families, in batches where the system has them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from librats._core.datagram import BatchSocket, Inbox, batches_work
from librats.errors import UsageError
from librats.runtime.datagrams import Batches, DatagramCounters, Origin, Receive, Streams
from librats.runtime.tasks import TaskSet
from librats.runtime.tcp import address_of
from librats.runtime.udp_portable import PortableSocket
from librats.runtime.udp_sockets import (
    EVERY_HOST,
    OPTIONS,
    SO_RXQ_OVFL,
    UDP_GRO,
    UDP_SEGMENT,
    SocketFactory,
    ask_kernel,
    dropped_by_kernel,
    has_option,
    open_udp_sockets,
    udp_socket,
)
from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from librats._core.rudp import RudpTable

__all__ = ["DatagramEndpoint", "clock_of", "open_datagram"]

MAX_SIZE = 65535
BUFFER_SIZE = 1 << 20
SLICE = 0.0005  # seconds that one readiness of a socket may take from the loop, beyond the batch that is being handled
MOST_ROUNDS = 32
FIRST_PAUSE = 0.001
LAST_PAUSE = 1.0
IPV4, IPV6 = 4, 6
MAX_ECN = 3

_inboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = WeakKeyDictionary()


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the clock of a loop: what asyncio's own method calls, without calling the method.

    Example:
        >>> loop = asyncio.new_event_loop()
        >>> abs(clock_of(loop)() - loop.time()) < 10
        True
        >>> loop.close()
    """
    return time.monotonic if getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time else loop.time


class DatagramEndpoint:
    """UDP on one port: a socket for each address family. Comes from :func:`open_datagram`.

    It never raises for what the network does, and goes on receiving whatever happens, until it is closed.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        receive: Receive,
        *,
        pktinfo: bool,
        max_size: int,
        streams: Streams | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        # uvloop's time stands still within a turn; that of a simulation has to decide there, or runs would differ.
        self._clock = time.perf_counter if isinstance(sockets[0], socket.socket) else self._loop.time
        self._receive = receive
        self._streams = streams
        self._unsent: list[tuple[bytes, Address]] = []
        self._sockets = {IPV6 if sock.family == socket.AF_INET6 else IPV4: sock for sock in sockets}
        self.local_addresses: list[Address] = [address_of(sock.getsockname()) for sock in sockets]
        """Where it listens, one for each family; ``0.0.0.0`` and ``::`` mean every interface."""
        self._everywhere = all(address.host in EVERY_HOST for address in self.local_addresses)
        self._choose_local = pktinfo and self._everywhere
        self._max_size = max_size
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._tasks = TaskSet()
        self._lost = dict.fromkeys(self._sockets, 0)
        self.is_closed = False
        """True once it is closed."""
        self._batches: Batches = self._new_batches()
        self._take = self._taker()

    def __repr__(self) -> str:
        """Show where it listens."""
        state = " closed" if self.is_closed else ""
        return f"<DatagramEndpoint {' '.join(map(str, self.local_addresses))}{state}>"

    @property
    def local_address(self) -> Address:
        """Where it listens, IPv4 where it does on both."""
        return self.local_addresses[0]

    @property
    def is_batched(self) -> bool:
        """True where one call of the system carries many datagrams."""
        return isinstance(self._batches, BatchSocket)

    @property
    def batches(self) -> BatchSocket | None:
        """What it sends with then; None elsewhere."""
        return self._batches if isinstance(self._batches, BatchSocket) else None

    def _new_batches(self) -> Batches:
        sockets = self._sockets.values()
        simulated = getattr(next(iter(sockets)), "new_batches", None)
        if simulated is not None:
            batches: Batches = simulated(
                sockets,
                origin_type=Origin,
                make_origin=self._new_origin,
                choose_local=self._choose_local,
                max_size=self._max_size,
            )
            return batches
        if os.environ.get("LIBRATS_PORTABLE") == "1" or not all(
            isinstance(sock, socket.socket) and batches_work(sock.fileno()) for sock in sockets
        ):
            return PortableSocket(
                self._sockets.get(IPV4),
                self._sockets.get(IPV6),
                Origin,
                self._new_origin,
                choose_local=self._choose_local,
                max_size=self._max_size,
            )
        inbox = _inboxes.get(self._loop)
        if inbox is None:
            inbox = _inboxes[self._loop] = Inbox()
        for sock in sockets:
            ask_kernel(sock, *UDP_GRO, 1)
            if dropped_by_kernel(sock) is None:
                ask_kernel(sock, *SO_RXQ_OVFL, 1)
        fds = {family: sock.fileno() for family, sock in self._sockets.items()}
        return BatchSocket(
            fds.get(IPV4, -1),
            fds.get(IPV6, -1),
            inbox,
            Origin,
            self._new_origin,
            segments=all(has_option(sock, *UDP_SEGMENT) for sock in sockets),
            choose_local=self._choose_local,
            max_size=self._max_size,
        )

    def _new_origin(self, host: str, port: int, local: str | None, ecn: int, flow: bytes) -> Origin:
        origin = Origin(host, port)
        if local is not None:
            origin.local = Address(local, self.local_address.port)
        elif not self._everywhere:
            origin.local = self.local_address
        origin.ecn = ecn
        origin.flow = flow
        return origin

    # Receiving

    def share(self, streams: Streams, buffer_size: int) -> None:
        """Let streams take what is theirs of all that comes from now on, before whoever has opened it is called.

        Args:
            streams: Who they are.
            buffer_size: Bytes of the kernel's buffers, each way; it may give less.
        """
        self._streams = streams
        self._take = self._taker()
        for sock in self._open_sockets():
            ask_kernel(sock, socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
            ask_kernel(sock, socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_size)

    def start(self) -> None:
        """Begin to receive."""
        for family, sock in self._sockets.items():
            try:
                self._loop.add_reader(sock.fileno(), self._readable, family)
            except NotImplementedError:
                task = self._tasks.create(self._keep_receiving(family), name=f"datagrams on {self.local_address}")
                task.add_done_callback(lambda _task, sock=sock: sock.close())  # type: ignore[misc]

    def _readable(self, family: int) -> None:
        """Take what has come, but leave the loop to others in time: a flood comes back with its next turn."""
        batches = self._batches
        until = self._clock() + SLICE
        for _ in range(MOST_ROUNDS):
            batch = self._take(family)
            if batch:
                self._receive(batch)
            if self.is_closed or batches.drained or self._clock() > until:
                return

    def _taker(self) -> Callable[[int], list[tuple[bytes, Any]]]:
        """Return what takes of the socket of a family what has come, and returns what is not of the streams."""
        batches, streams = self._batches, self._streams
        if streams is None:
            return batches.receive
        if isinstance(batches, BatchSocket):
            return partial(streams.receive_from, batches)
        return lambda family: streams.receive(batches.receive(family))

    async def _keep_receiving(self, family: int) -> None:
        """Receive on a loop that does not tell when a socket is readable, and go on after any error."""
        batches = self._batches
        assert isinstance(batches, PortableSocket)  # noqa: S101 - only Windows has such a loop
        pause = FIRST_PAUSE
        while not self.is_closed:
            failures = batches.errors
            batch = await batches.wait_and_receive(self._loop, family)
            try:
                if self._streams is not None:
                    batch = self._streams.receive(batch)
                if batch:
                    self._receive(batch)
            except Exception as error:
                self._loop.call_exception_handler({"message": f"receiving on {self!r} failed", "exception": error})
            pause = FIRST_PAUSE if batch or failures == batches.errors else min(pause * 2, LAST_PAUSE)
            await asyncio.sleep(0 if pause == FIRST_PAUSE else pause)

    # Sending

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram.

        Args:
            data: What to send, at most 65,507 bytes over IPv4.
            address: An IP address and a port; an :class:`Origin` to answer from the address that was asked.

        Returns:
            False where the kernel has no room now (:meth:`wait_for_room` tells when it has), and where the endpoint is
            closed. What the network refuses is only counted.

        Raises:
            UsageError: The host is no IP address, or the port is 0.
        """
        return not self.is_closed and self._batches.send(data, address)

    def send_many(self, items: Iterable[tuple[Buffer, Address]]) -> int:
        """Send datagrams, in order, with as few calls of the system as it allows.

        Those of equal size to the same address that stand together, the last of them may be shorter, are the cheapest.

        Args:
            items: Data and address of each, as for :meth:`send`.

        Returns:
            How many were sent or refused by the network; the rest found no room, and may be sent later.

        Raises:
            UsageError: A host is no IP address, or a port is 0; those before it may have been sent.
        """
        return 0 if self.is_closed else self._batches.send_many(items)

    async def wait_for_room(self) -> None:
        """Wait until the kernel takes more, after :meth:`send` or :meth:`send_many` found no room."""
        for sock in self._sockets.values():
            if not self.is_closed:
                await self._writable(sock.fileno())

    async def _writable(self, fd: int) -> None:
        future = self._waiting.get(fd)
        if future is None:
            future = self._loop.create_future()
            try:
                self._loop.add_writer(fd, self._has_room, fd)
            except NotImplementedError:
                self._loop.call_later(FIRST_PAUSE, self._has_room, fd)
            self._waiting[fd] = future
        await asyncio.shield(future)
        if sys.platform == "darwin":
            await asyncio.sleep(FIRST_PAUSE)  # a socket there is writable even where the interface's queue is full

    def _has_room(self, fd: int) -> None:
        future = self._waiting.pop(fd, None)
        if future is None:
            return
        with contextlib.suppress(NotImplementedError):
            self._loop.remove_writer(fd)
        future.set_result(None)

    def transmit(self, table: RudpTable, now: float) -> bool:
        """Send what the streams of a table have to say.

        Args:
            table: The streams.
            now: Seconds, of the clock that the table knows.

        Returns:
            False where the kernel has no room now; the rest goes first the next time.
        """
        if self.is_closed:
            return True
        if isinstance(self._batches, BatchSocket):
            return table.transmit_through(self._batches, now)
        while True:
            items, self._unsent = self._unsent or table.transmit(now), []
            if not items:
                return True
            sent = self._batches.send_many(items)
            if sent < len(items):
                self._unsent = items[sent:]
                return False

    # Options

    def set_dont_fragment(self, whole: bool) -> bool:
        """Send every datagram in one IP packet or not at all, to find out what a path carries (RFC 8899).

        Args:
            whole: True: never fragment, whatever the kernel believes of the path; longer ones are refused. False:
                fragment what is too long for a link.

        Returns:
            Whether the system can do that.
        """
        done = [
            any(ask_kernel(sock, level, name, on if whole else off) for level, name, on, off in OPTIONS.of(sock).whole)
            for sock in self._open_sockets()
        ]
        return all(done) and bool(done)

    def set_ecn(self, mark: int) -> bool:
        """Send with an ECN field (RFC 3168): 0 not capable, 1 and 2 capable, 3 congestion met.

        Returns:
            Whether the system can do that.

        Raises:
            UsageError: There is no such mark.
        """
        if not 0 <= mark <= MAX_ECN:
            raise UsageError(f"ECN has no mark {mark}")
        done = [
            option is not None and ask_kernel(sock, *option, mark)
            for sock in self._open_sockets()
            for option in [OPTIONS.of(sock).tos]
        ]
        return all(done) and bool(done)

    def send_near(self, data: Buffer, address: Address, hops: int) -> bool:
        """Send one datagram that so many routers pass on at most: enough for a NAT of ours, too few for the peer's.

        Args:
            data: What to send.
            address: An IP address and a port.
            hops: Routers, 1 to 255.

        Returns:
            False where it was not sent: the system has no such option, there was no room, or the endpoint is closed.

        Raises:
            UsageError: The host is no IP address, or the port is 0.
        """
        sock = None if self.is_closed else self._sockets.get(IPV6 if ":" in address.host else IPV4)
        if sock is None:
            return False
        level, name = OPTIONS.of(sock).hops
        usual = sock.getsockopt(level, name)
        if not ask_kernel(sock, level, name, hops):
            return False
        try:
            return self.send(data, address)
        finally:
            sock.setsockopt(level, name, usual)

    def _open_sockets(self) -> list[socket.socket]:
        return [] if self.is_closed else list(self._sockets.values())

    @property
    def counters(self) -> DatagramCounters:
        """What it has seen so far."""
        batches = self._batches
        return DatagramCounters(
            received=batches.received,
            sent=batches.sent,
            dropped_by_kernel=self._drops(),
            refused=batches.refused,
            truncated=batches.truncated,
            no_room=batches.no_room,
            errors=batches.errors,
        )

    def _drops(self) -> int:
        for family, sock in self._sockets.items():
            told = None if self.is_closed else dropped_by_kernel(sock)
            self._lost[family] = self._lost[family] if told is None else told
        return max(sum(self._lost.values()), self._batches.reported_drops)

    # The end

    def close(self) -> None:
        """Stop receiving and let the port go. Idempotent."""
        if self.is_closed:
            return
        self._drops()
        self.is_closed = True
        for fd in list(self._waiting):
            self._has_room(fd)
        received_by_tasks = len(self._tasks) > 0
        self._tasks.cancel()
        for sock in self._sockets.values():
            if not received_by_tasks:
                self._loop.remove_reader(sock.fileno())
                sock.close()


async def open_datagram(
    host: str = "",
    port: int = 0,
    *,
    receive: Receive,
    reuse_port: bool = False,
    pktinfo: bool = True,
    ecn: bool = False,
    max_size: int = MAX_SIZE,
    buffer_size: int = BUFFER_SIZE,
    new_socket: SocketFactory = udp_socket,
    streams: Streams | None = None,
) -> DatagramEndpoint:
    """Open an endpoint for datagrams.

    Args:
        host: IP address; empty for every interface, IPv4 and IPv6.
        port: 0 picks one, the same for both families.
        receive: Called with all that has come, as pairs of data and origin; never with an empty list.
        reuse_port: Whether other sockets may have the same port, to share what comes.
        pktinfo: Whether to tell the address that each datagram came to, and to answer from it, where ``host`` does not
            name one.
        ecn: Whether to tell the ECN field of each datagram.
        max_size: Bytes; longer datagrams are dropped and counted.
        buffer_size: Bytes of the kernel's buffers, each way; it may give less.
        new_socket: Makes a UDP socket of an address family; the system's where it is left out.
        streams: Who takes of what has come before ``receive`` is called with the rest.

    Raises:
        ConfigError: The address is taken, not this machine's, or not an address at all.

    Example:
        >>> async def main():
        ...     heard = asyncio.get_running_loop().create_future()
        ...     here = await open_datagram("127.0.0.1", receive=lambda batch: heard.set_result(batch[0][0]))
        ...     here.send(b"to myself", here.local_address)
        ...     print(await heard)
        ...     here.close()
        >>> asyncio.run(main())
        b'to myself'
    """
    sockets = open_udp_sockets(
        host,
        port,
        new_socket=new_socket,
        reuse_port=reuse_port,
        pktinfo=pktinfo,
        ecn=ecn,
        buffer_size=buffer_size,
    )
    try:
        endpoint = DatagramEndpoint(sockets, receive, pktinfo=pktinfo, max_size=max_size, streams=streams)
        endpoint.start()
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return endpoint
