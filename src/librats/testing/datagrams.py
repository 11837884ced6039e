"""Simulated UDP: sockets as asyncio uses them, and the batches that an endpoint of librats sends and receives.

An endpoint asks a simulated socket for its batches where it would ask the kernel: :class:`SimBatches` has the interface
of ``_core.datagram.BatchSocket``. Whatever sends or receives in bulk goes through it; every datagram is one ``bytes``
object there, those of a run of equal ones, too.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from librats.errors import UsageError
from librats.runtime.udp_sockets import OPTIONS
from librats.testing.ports import EVERYWHERE, LAST_PORT, version_of
from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from librats.testing.packets import Packet
    from librats.testing.stack import HostStack

__all__ = ["SimBatches", "SimDatagramSocket"]

BUFFER = 212_992
MOST = 64
KNOWN = 4096
ECN = 3

MakeOrigin = Callable[[str, int, str | None, int, bytes], Any]


class Arrived(NamedTuple):
    """A datagram that waits to be read."""

    data: bytes
    source: Address
    local: str
    ecn: int


class SimDatagramSocket:
    """A UDP socket of a simulated host, always non-blocking.

    Args:
        stack: The host's, whose it is.
        family: ``AF_INET`` or ``AF_INET6``.
    """

    type = socket.SOCK_DGRAM
    proto = socket.IPPROTO_UDP

    def __init__(self, stack: HostStack, family: int) -> None:
        self._stack = stack
        self.family = socket.AddressFamily(family)
        self.local: Address | None = None
        """Where it is bound."""
        self.whole = False
        """Whether what it sends may not be fragmented."""
        self.ecn = 0
        """The ECN field of what it sends."""
        self.hops = 0
        """How many routers it may pass; 0 for the usual number."""
        self.told = 0
        """ICMP messages about what it sent."""
        self.dropped = 0
        """Datagrams that found no room."""
        self.queue: deque[Arrived] = deque()
        """What waits to be read."""
        self._fd = stack.selector.open(self)
        self._remote: Address | None = None
        self._error = 0
        self._shares = False
        self._tells_ecn = False
        self._limit = BUFFER
        self._held = 0

    def __repr__(self) -> str:
        """Show host, number and address."""
        return f"<SimDatagramSocket {self._fd} of {self._stack.name}: {self.local or 'not bound'}>"

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the socket."""
        self.close()

    # For the selector and the host

    @property
    def is_readable(self) -> bool:
        """True where reading would not block."""
        return bool(self.queue or self._error)

    @property
    def is_writable(self) -> bool:
        """True: what finds no room on the way is lost."""
        return True

    def take(self, packet: Packet) -> None:
        """Take a datagram that is for it; it is lost where the buffer is full."""
        if self._remote is not None and packet.source != self._remote:
            return
        size = len(packet.payload)
        if self._held + size > self._limit:
            self.dropped += 1
            return
        self._held += size
        self.queue.append(
            Arrived(packet.payload, packet.source, packet.destination[0], packet.ecn if self._tells_ecn else 0)
        )
        if len(self.queue) == 1:
            self._stack.selector.changed(self._fd)

    def take_icmp(self, remote: Address, error: int) -> None:
        """Hear that a datagram was in vain; only who is connected is told, as everywhere else."""
        self.told += 1
        if remote == self._remote:
            self._error = error
            self._stack.selector.changed(self._fd)

    def next(self) -> Arrived | None:
        """Return the next datagram; None where there is none."""
        if not self.queue:
            return None
        arrived = self.queue.popleft()
        self._held -= len(arrived.data)
        if not self.queue:
            self._stack.selector.changed(self._fd)
        return arrived

    def new_batches(self, sockets: Iterable[SimDatagramSocket], **options: Any) -> SimBatches:
        """Return what an endpoint sends and receives with."""
        return SimBatches(sockets, **options)

    # Names and options

    def fileno(self) -> int:
        """Return the number of the socket, which no real one has; -1 where it is closed."""
        return self._fd

    def setblocking(self, flag: bool) -> None:
        """Do nothing: a simulated socket cannot block."""
        if flag:
            raise _os_error(errno.EINVAL)

    def gettimeout(self) -> float:
        """Return 0: it is non-blocking."""
        return 0.0

    def setsockopt(self, level: int, option: int, value: Any = None, length: int = 0) -> None:
        """Heed the options that make a difference in the simulation; ignore the others."""
        options = OPTIONS.of_family(self.family)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_RCVBUF):
            self._limit = int(value)
        elif (level, option) == (socket.SOL_SOCKET, getattr(socket, "SO_REUSEPORT", None)):
            self._shares = bool(value)
        elif (level, option) == options.ask_tos:
            self._tells_ecn = bool(value)
        elif (level, option) == options.tos:
            self.ecn = int(value) & ECN
        elif (level, option) == options.hops:
            self.hops = int(value)
        for whole_level, name, on, _ in options.whole:
            if (level, option) == (whole_level, name):
                self.whole = value == on

    def getsockopt(self, level: int, option: int, size: int = 0) -> int:
        """Return what is pending or set, where the simulation knows it, else 0.

        Raises:
            OSError: A structure is asked for.
        """
        if size:
            raise _os_error(errno.ENOPROTOOPT)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_RCVBUF):
            return self._limit
        if (level, option) == OPTIONS.of_family(self.family).hops:
            return self.hops
        return self._take_error() if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR) else 0

    def getsockname(self) -> tuple[Any, ...]:
        """Return this side's address."""
        return self._name(self.local or Address(EVERYWHERE[self._version], 0))

    def getpeername(self) -> tuple[Any, ...]:
        """Return the address that it is connected to."""
        if self._remote is None:
            raise _os_error(errno.ENOTCONN)
        return self._name(self._remote)

    @property
    def _version(self) -> int:
        return 6 if self.family == socket.AF_INET6 else 4

    def _name(self, address: Address) -> tuple[Any, ...]:
        return (*address, 0, 0) if self.family == socket.AF_INET6 else tuple(address)

    def _address(self, name: tuple[Any, ...]) -> Address:
        ip = ipaddress.ip_address(str(name[0]).partition("%")[0])
        if ip.version != self._version:
            raise _os_error(errno.EAFNOSUPPORT)
        return Address(str(ip), int(name[1]))

    def bind(self, name: tuple[Any, ...]) -> None:
        """Choose this side's address.

        Raises:
            OSError: It is in use, or not the host's.
        """
        if self._fd < 0 or self.local is not None:
            raise _os_error(errno.EBADF if self._fd < 0 else errno.EINVAL)
        self.local = self._stack.bind_datagrams(self, self._address(name), shared=self._shares)

    def connect(self, name: tuple[Any, ...]) -> None:
        """Send to, and hear, one address only."""
        self._remote = self._address(name)

    # Datagrams

    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send to the address that it is connected to."""
        if self._remote is None:
            raise _os_error(errno.EDESTADDRREQ)
        return self._send(data, self._remote)

    def sendto(self, data: Buffer, *where: Any) -> int:
        """Send to an address, which is the last argument."""
        return self._send(data, self._address(where[-1]))

    def _send(self, data: Buffer, remote: Address) -> int:
        self._raise_error()
        payload = bytes(memoryview(data))
        self.send_from(payload, remote, None)
        return len(payload)

    def send_from(self, payload: bytes, remote: Address, local: str | None) -> None:
        """Send from one of the host's addresses, or from whichever is the best.

        Raises:
            OSError: There is no way there, or it is too long.
        """
        if self._fd < 0:
            raise _os_error(errno.EBADF)
        if self.local is None:
            self.bind((EVERYWHERE[self._version], 0))
        self._stack.send_datagram(self, payload, remote, local)

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, tuple[Any, ...]]:
        """Return the next datagram, and where it came from.

        Raises:
            BlockingIOError: There is none.
        """
        self._raise_error()
        arrived = self.next()
        if arrived is None:
            raise _os_error(errno.EAGAIN)
        return arrived.data[:size], self._name(arrived.source)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return the next datagram."""
        return self.recvfrom(size)[0]

    def _take_error(self) -> int:
        error, self._error = self._error, 0
        if error:
            self._stack.selector.changed(self._fd)
        return error

    def _raise_error(self) -> None:
        if self._fd < 0:
            raise _os_error(errno.EBADF)
        error = self._take_error()
        if error:
            raise _os_error(error)

    def close(self) -> None:
        """Let it go. Idempotent."""
        if self._fd < 0:
            return
        self._stack.selector.close_socket(self._fd)
        self._fd = -1
        self.queue.clear()
        if self.local is not None:
            self._stack.release_datagrams(self, self.local)


class SimBatches:
    """What an endpoint sends and receives with: one simulated socket of each family, or of one.

    Args:
        sockets: The sockets.
        origin_type: The type of what ``make_origin`` returns.
        make_origin: Makes the origin of a datagram.
        choose_local: Whether what is sent to an origin leaves from the address that it came to.
        max_size: Bytes; longer datagrams are dropped and counted.
    """

    def __init__(
        self,
        sockets: Iterable[SimDatagramSocket],
        *,
        origin_type: type,
        make_origin: MakeOrigin,
        choose_local: bool,
        max_size: int,
    ) -> None:
        self._sockets = {sock._version: sock for sock in sockets}
        self._origin_type = origin_type
        self._make_origin = make_origin
        self._choose_local = choose_local
        self._max_size = max_size
        self._known: dict[tuple[Address, str | None, int], Any] = {}
        self._targets: dict[Address, Address] = {}
        self.drained = True
        """Whether nothing is left of what the last call looked for."""
        self.received = 0
        self.sent = 0
        self.refused = 0
        self.truncated = 0
        self.no_room = 0

    @property
    def errors(self) -> int:
        """What ICMP told."""
        return sum(sock.told for sock in self._sockets.values())

    @property
    def reported_drops(self) -> int:
        """Datagrams that found no room in a buffer."""
        return sum(sock.dropped for sock in self._sockets.values())

    def receive(self, family: int) -> list[tuple[bytes, Any]]:
        """Return what has come on the socket of a family, 4 or 6, as pairs of data and origin."""
        batch: list[tuple[bytes, Any]] = []
        sock = self._sockets.get(family)
        while sock is not None and len(batch) < MOST:
            arrived = sock.next()
            if arrived is None:
                break
            data, source, local, ecn = arrived
            if len(data) > self._max_size:
                self.truncated += 1
                continue
            key = source, local if self._choose_local else None, ecn
            origin = self._known.get(key)
            if origin is None:
                if len(self._known) >= KNOWN:
                    self._known.clear()
                origin = self._known[key] = self._make_origin(source.host, source.port, key[1], ecn, b"")
            batch.append((data, origin))
        self.received += len(batch)
        self.drained = sock is None or not sock.queue
        return batch

    def send(self, data: Buffer, address: Address) -> bool:
        """Send one datagram; what the network refuses is counted. Always True."""
        target = self._targets.get(address) or self._target(address)
        payload = data if type(data) is bytes else bytes(memoryview(data))
        sock = self._sockets.get(version_of(target.host))
        local = None
        if self._choose_local and type(address) is self._origin_type:
            origin: Any = address
            local = None if origin.local is None else origin.local.host
        try:
            if sock is None:
                raise _os_error(errno.EAFNOSUPPORT)
            sock.send_from(payload, target, local)
        except OSError:
            self.refused += 1
        else:
            self.sent += 1
        return True

    def send_many(self, items: Iterable[tuple[Buffer, Address]]) -> int:
        """Send pairs of data and address, in order; return how many they were."""
        done = 0
        for data, address in items:
            self.send(data, address)
            done += 1
        return done

    def _target(self, address: Address) -> Address:
        try:
            ip = ipaddress.ip_address(address.host.partition("%")[0])
        except ValueError:
            raise UsageError(f"not an address that datagrams can be sent to: {address!r}") from None
        if not 0 < address.port <= LAST_PORT:
            raise UsageError(f"not an address that datagrams can be sent to: {address!r}")
        if len(self._targets) >= KNOWN:
            self._targets.clear()
        target = self._targets[address] = Address(str(ip), address.port)
        return target


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
