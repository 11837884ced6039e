"""A TCP connection as a transport of asyncio, which is ready in the turn of the loop in which there is a connection.

asyncio's own takes two turns more until it sends and reads, and asks the system four times for what is known. This one
is for loops that are built on a selector; others, as uvloop's and the proactor of Windows, bring their own.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import warnings
from asyncio.selector_events import BaseSelectorEventLoop
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["TcpAcceptor", "TcpTransport", "takes_transports"]

logger = logging.getLogger("librats.runtime")

HIGH_WATER = 64 * 1024
READ_SIZE = 256 * 1024

ACCEPT_PAUSE = 1.0
"""Seconds until connections are accepted again where the system had no room for another one."""

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

SocketName = tuple[Any, ...]


def takes_transports(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop is built on a selector of Python's, and so does nothing for a transport that this one does not."""
    return isinstance(loop, BaseSelectorEventLoop)


class TcpTransport(asyncio.Transport):
    """One connection.

    Args:
        loop: The loop.
        sock: The connection, which does not block.
        peername: The other side's address.
    """

    __slots__ = (
        "__weakref__",
        "_buffered",
        "_closing",
        "_fd",
        "_finishes",
        "_high",
        "_is_over",
        "_loop",
        "_low",
        "_peername",
        "_protocol",
        "_protocol_paused",
        "_reads",
        "_sock",
        "_waiting",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, peername: SocketName) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._peername = peername
        self._waiting: bytearray | None = None
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._protocol_paused = False
        self._reads = True
        self._finishes = False
        self._closing = False
        self._is_over = False
        self._protocol: asyncio.BaseProtocol
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else small messages wait 40 ms

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell a protocol that there is a connection, and hand it what comes from now on."""
        self.set_protocol(protocol)
        protocol.connection_made(self)
        if self._reads and not self._closing:
            self._loop.add_reader(self._fd, self._readable)

    def read_now(self) -> None:
        """Hand over what has come already, without a turn of the loop."""
        if self.is_reading():
            self._readable()

    def __repr__(self) -> str:
        """Show where it leads."""
        return f"<TcpTransport to {self._peername}{' closing' if self._closing else ''}>"

    def __del__(self) -> None:
        """Complain about a connection that nobody has closed."""
        if self._sock.fileno() != -1:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._sock.close()

    # What it is

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peername``, ``sockname`` or ``socket``."""
        if name == "peername":
            return self._peername
        if name == "sockname":
            try:
                return self._sock.getsockname()
            except OSError:  # it is closed
                return default
        return self._sock if name == "socket" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell somebody else from now on."""
        self._protocol = protocol
        self._buffered = protocol if isinstance(protocol, asyncio.BufferedProtocol) else None

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who hears of everything."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing

    # Reading

    def is_reading(self) -> bool:
        """Whether bytes are handed to the protocol."""
        return self._reads and not self._closing

    def pause_reading(self) -> None:
        """Hand nothing more to the protocol for now."""
        if self._reads and not self._closing:
            self._reads = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Go on handing bytes to the protocol."""
        if not (self._reads or self._closing):
            self._reads = True
            self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        if self._closing:
            return
        try:
            if self._buffered is not None:
                self._read_into(self._buffered)
            else:
                self._read(cast("asyncio.Protocol", self._protocol))
        except BaseException as error:
            self._let_go(error if isinstance(error, Exception) else None)
            raise  # to the loop's exception handler

    def _read_into(self, protocol: asyncio.BufferedProtocol) -> None:
        buffer = protocol.get_buffer(READ_SIZE)
        try:
            size = self._sock.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._let_go(error)
            return
        if size:
            protocol.buffer_updated(size)
        else:
            self._take_end(protocol)

    def _read(self, protocol: asyncio.Protocol) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._let_go(error)
            return
        if data:
            protocol.data_received(data)
        else:
            self._take_end(protocol)

    def _take_end(self, protocol: asyncio.Protocol | asyncio.BufferedProtocol) -> None:
        if protocol.eof_received():
            self._loop.remove_reader(self._fd)
        else:
            self.close()

    # Writing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set from how many waiting bytes on the protocol is paused, and at how many it goes on."""
        self._high = (HIGH_WATER if low is None else 4 * low) if high is None else high
        self._low = self._high // 4 if low is None else low
        if self._waiting is not None:
            self._pause_if_full()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return at how many waiting bytes the protocol goes on, and from how many on it is paused."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the system has not taken yet."""
        return 0 if self._waiting is None else len(self._waiting)

    def write(self, data: Buffer) -> None:
        """Take bytes to be sent."""
        if self._is_over or self._finishes:
            return
        waiting = self._waiting
        if waiting is None:
            view = data if type(data) is bytes else memoryview(data).cast("B")
            try:
                sent = self._sock.send(view)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._let_go(error)
                return
            if sent == len(view):
                return
            self._waiting = bytearray(memoryview(view)[sent:])
            self._loop.add_writer(self._fd, self._writable)
        else:
            waiting += data
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if not self._protocol_paused and self.get_write_buffer_size() > self._high:
            self._protocol_paused = True
            self._protocol.pause_writing()

    def _writable(self) -> None:
        waiting = self._waiting
        if waiting is None:
            return
        try:
            sent = self._sock.send(waiting)
        except BlockingIOError:
            return
        except OSError as error:
            self._let_go(error)
            return
        del waiting[:sent]
        if not waiting:
            self._waiting = None
            self._loop.remove_writer(self._fd)
        if self._protocol_paused and len(waiting) <= self._low:
            self._protocol_paused = False
            self._protocol.resume_writing()  # which may write, or close
        if self._waiting is None and not self._is_over:
            if self._closing:
                self._let_go(None)
            elif self._finishes:
                self._shut_down()

    def can_write_eof(self) -> bool:
        """Return True: one way can be ended."""
        return True

    def write_eof(self) -> None:
        """End this way behind what was written; what comes is still taken."""
        if not (self._finishes or self._closing):
            self._finishes = True
            if self._waiting is None:
                self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:  # the peer has just dropped the connection
            self._let_go(error)

    # The end

    def close(self) -> None:
        """Hand over what was written, then end."""
        if self._closing:
            return
        if self._waiting is None:
            self._let_go(None)
        else:
            self._closing = True
            self._loop.remove_reader(self._fd)

    def abort(self) -> None:
        """End at once; what waits to be sent does not leave."""
        self._let_go(None)

    def _let_go(self, error: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if not self._closing:
            self._closing = True
            self._loop.remove_reader(self._fd)
        if self._waiting is not None:
            self._waiting = None
            self._loop.remove_writer(self._fd)
        self._loop.call_soon(self._tell_end, error)

    def _tell_end(self, error: Exception | None) -> None:
        """Tell whoever listens by now, which may be another one than when it ended."""
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()


class TcpAcceptor:
    """Takes the connections that come to a socket.

    Args:
        loop: The loop.
        sock: A socket that listens, and does not block; it is closed with the acceptor.
        factory: Makes the protocol of each connection.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._factory = factory
        self._pause: asyncio.TimerHandle | None = None
        self._go_on()

    def close(self) -> None:
        """Take no more. Connections that were accepted live on. Idempotent."""
        if self._pause is not None:
            self._pause.cancel()
        if self._sock.fileno() != -1:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _go_on(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        """Take one connection: where there are more, others have their turn before the next one."""
        try:
            sock, name = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            logger.error("no connections are accepted for %g s: %s", ACCEPT_PAUSE, error)
            self._loop.remove_reader(self._sock.fileno())
            self._pause = self._loop.call_later(ACCEPT_PAUSE, self._go_on)
            return
        try:
            sock.setblocking(False)
            protocol = self._factory()
            transport = TcpTransport(self._loop, sock, name)
            transport.begin(protocol)
        except BaseException:
            sock.close()
            raise
        transport.read_now()  # whoever dials mostly speaks at once
