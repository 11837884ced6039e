"""Simulated sockets: what asyncio asks of a non-blocking TCP socket, over a connection in the simulation."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from librats.testing.ends import StreamEnd
from librats.testing.ports import EVERYWHERE
from librats.types import Address

if TYPE_CHECKING:
    from librats.testing.stack import HostStack

__all__ = ["Listening", "SimSocket"]

MAX_BACKLOG = 4096


class Listening:
    """Connections that wait to be accepted.

    Args:
        owner: Whose they are.
        backlog: How many may wait.
    """

    def __init__(self, owner: SimSocket, backlog: int) -> None:
        self._owner = owner
        self._backlog = min(max(backlog, 1), MAX_BACKLOG)
        self.queue: deque[StreamEnd] = deque()
        """Connections that are there."""
        self.is_closed = False
        """True once nobody accepts any more."""

    @property
    def is_full(self) -> bool:
        """True where one more would be too many."""
        return len(self.queue) >= self._backlog

    def enqueue(self, end: StreamEnd) -> bool:
        """Take a connection that is there now; False where nobody wants it."""
        if self.is_closed or self.is_full:
            return False
        self.queue.append(end)
        self._owner.changed()
        return True

    def close(self) -> None:
        """Break every connection that was not accepted."""
        self.is_closed = True
        while self.queue:
            self.queue.popleft().reset()


class SimSocket:
    """A TCP socket of a simulated host, always non-blocking.

    Args:
        stack: The host's, whose it is.
        family: ``AF_INET`` or ``AF_INET6``.
    """

    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, stack: HostStack, family: int) -> None:
        self._stack = stack
        self.family = socket.AddressFamily(family)
        self._fd = stack.selector.open(self)
        self._local: Address | None = None
        self._end: StreamEnd | None = None
        self._listening: Listening | None = None
        self._shares = False

    def __repr__(self) -> str:
        """Show host, number and addresses."""
        where = self._end and f"{self._end.local} to {self._end.remote}"
        return f"<SimSocket {self._fd} of {self._stack.name}: {where or self._local or 'not bound'}>"

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the socket."""
        self.close()

    # For the selector

    @property
    def is_readable(self) -> bool:
        """True where reading or accepting would not block."""
        if self._listening is not None:
            return bool(self._listening.queue)
        return self._end is not None and self._end.is_readable

    @property
    def is_writable(self) -> bool:
        """True where writing would not block, or connecting has come to its end."""
        return self._end is not None and self._end.is_writable

    def changed(self) -> None:
        """Tell the selector that the socket may have become readable or writable."""
        self._stack.selector.changed(self._fd)

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
        """Heed SO_REUSEPORT: sockets that all have it may have one address; ignore the others."""
        if (level, option) == (socket.SOL_SOCKET, getattr(socket, "SO_REUSEPORT", None)):
            self._shares = bool(value)

    def getsockopt(self, level: int, option: int, size: int = 0) -> int:
        """Return the error that is pending, where it is that what is asked for, else 0."""
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR) and self._end is not None:
            return self._end.take_error()
        return 0

    def getsockname(self) -> tuple[Any, ...]:
        """Return this side's address."""
        if self._end is not None:
            return self._name(self._end.local)
        any_host = EVERYWHERE[6 if self.family == socket.AF_INET6 else 4]
        return self._name(self._local or Address(any_host, 0))

    def getpeername(self) -> tuple[Any, ...]:
        """Return the other side's address."""
        if self._end is None or not self._end.is_open:
            raise _os_error(errno.ENOTCONN)
        return self._name(self._end.remote)

    def _name(self, address: Address) -> tuple[Any, ...]:
        return (*address, 0, 0) if self.family == socket.AF_INET6 else tuple(address)

    # Connecting

    def _open_stack(self) -> HostStack:
        if self._fd < 0:
            raise _os_error(errno.EBADF)
        return self._stack

    def _address(self, name: tuple[Any, ...]) -> Address:
        ip = ipaddress.ip_address(str(name[0]).partition("%")[0])
        if (ip.version == 6) != (self.family == socket.AF_INET6):  # noqa: PLR2004 - IPv6
            raise _os_error(errno.EAFNOSUPPORT)
        return Address(str(ip), int(name[1]))

    def bind(self, name: tuple[Any, ...]) -> None:
        """Choose this side's address.

        Raises:
            OSError: It is in use, or not the host's.
        """
        self._local = self._open_stack().reserve(self._address(name), shared=self._shares)

    def listen(self, backlog: int = 128) -> None:
        """Take connections."""
        if self._local is None:
            self.bind((EVERYWHERE[6 if self.family == socket.AF_INET6 else 4], 0))
        if self._listening is None and self._local is not None:
            self._listening = Listening(self, backlog)
            self._stack.listen(self._local, self._listening)

    def accept(self) -> tuple[SimSocket, tuple[Any, ...]]:
        """Return the next connection, and the other side's address.

        Raises:
            BlockingIOError: There is none.
        """
        if self._listening is None:
            raise _os_error(errno.EINVAL)
        if not self._listening.queue:
            raise _os_error(errno.EAGAIN)
        end = self._listening.queue.popleft()
        self.changed()
        accepted = SimSocket(self._stack, self.family)
        accepted._attach(end)
        return accepted, self._name(end.remote)

    def connect(self, name: tuple[Any, ...]) -> None:
        """Begin to connect.

        Raises:
            BlockingIOError: It has begun.
            OSError: There is no way to that address.
        """
        stack = self._open_stack()
        if self._end is not None:
            raise _os_error(errno.EISCONN if self._end.is_open else errno.EALREADY)
        remote = self._address(name)
        end = stack.new_end(remote, self._local)
        self._attach(end)
        end.connect()
        raise _os_error(errno.EINPROGRESS)

    def _attach(self, end: StreamEnd) -> None:
        self._end = end
        end.changed = self.changed
        self.changed()

    # Bytes

    def _connected(self) -> StreamEnd:
        if self._fd < 0:
            raise _os_error(errno.EBADF)
        if self._end is None:
            raise _os_error(errno.ENOTCONN)
        return self._end

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """Send as many bytes as there is room for, and return how many."""
        end = self._connected()
        try:
            return end.send(data)
        finally:
            self.changed()

    def sendmsg(self, buffers: Iterable[bytes | bytearray | memoryview]) -> int:
        """Send several buffers as one, as far as there is room."""
        return self.send(b"".join(buffers))

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return up to that many bytes that have arrived; ``b""`` at the end."""
        end = self._connected()
        try:
            return bytes(end.receive(size))
        finally:
            self.changed()

    def recv_into(self, buffer: bytearray | memoryview, size: int = 0, flags: int = 0) -> int:
        """Put what has arrived into a buffer, and return how much it is."""
        view = memoryview(buffer).cast("B")
        data = self.recv(size or len(view))
        view[: len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        """End one direction or both."""
        end = self._connected()
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            end.stop_reading()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            end.end()
        self.changed()

    def close(self) -> None:
        """Let it go. Idempotent."""
        if self._fd < 0:
            return
        self._stack.selector.close_socket(self._fd)
        self._fd = -1
        if self._listening is not None and self._local is not None:
            self._stack.listen_no_more(self._local, self._listening)
            self._listening.close()
        if self._local is not None:
            self._stack.release(self._local)
        if self._end is not None:
            self._end.close()


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
