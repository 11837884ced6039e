"""A connection inside a WebSocket, as a transport of asyncio: protocols that speak over TCP speak over it unchanged."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from librats.runtime.handover import give
from librats.web.sockets import WebSocket

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["WebCarrier", "WebTransport"]


class WebTransport(asyncio.Transport):
    """One connection inside a WebSocket.

    Args:
        under: The connection that carries it.
        socket: Its rules; it is open.
        extra: What is told of the connection instead of what `under` tells.
    """

    def __init__(self, under: asyncio.Transport, socket: WebSocket, extra: Mapping[str, Any]) -> None:
        super().__init__()
        self._told = extra
        self._under = under
        self._socket = socket
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._inbox: deque[bytes] = deque()
        self._reads = True
        self._delivers = False
        self._closing = False
        self._ends: list[Exception | None] = []

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell a protocol that there is a connection, and hand it what comes from now on."""
        self._protocol = protocol
        protocol.connection_made(self)

    # What it is

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection, by the name that asyncio has for it."""
        if name in self._told:
            return self._told[name]
        return self._under.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell somebody else from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who hears of everything."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing or self._under.is_closing()

    # Reading

    def is_reading(self) -> bool:
        """Whether bytes are handed to the protocol."""
        return self._reads and not self.is_closing()

    def pause_reading(self) -> None:
        """Hand nothing more to the protocol for now."""
        if self._reads:
            self._reads = False
            self._under.pause_reading()

    def resume_reading(self) -> None:
        """Go on handing bytes to the protocol."""
        if not self._reads:
            self._reads = True
            self._under.resume_reading()
            self._deliver()

    def take(self, received: list[bytes]) -> None:
        """Hand over what has come inside."""
        self._inbox += received
        self._deliver()

    def _deliver(self) -> None:
        if self._delivers:
            return  # the protocol has paused and gone on while it was handed something
        self._delivers = True
        try:
            while self._inbox and self._reads and not self._closing:
                give(lambda: self._protocol, self._inbox.popleft())
        finally:
            self._delivers = False
        if self._ends and (self._closing or not self._inbox):
            self._protocol.connection_lost(self._ends.pop())

    def end(self, error: Exception | None) -> None:
        """Take that the connection beneath is gone; the protocol hears of it behind what has come."""
        self._ends.append(error)
        self._deliver()

    # Writing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set from how many waiting bytes on the protocol is paused, and at how many it goes on."""
        self._under.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return at how many waiting bytes the protocol goes on, and from how many on it is paused."""
        return self._under.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the connection beneath has not taken yet."""
        return self._under.get_write_buffer_size()

    def write(self, data: Buffer) -> None:
        """Take bytes to be sent."""
        if not self.is_closing():
            self._socket.send(memoryview(data))
            self._under.write(self._socket.data_to_send())

    def can_write_eof(self) -> bool:
        """Return False: a WebSocket ends both ways at once."""
        return False

    # The end

    def close(self) -> None:
        """Hand over what was written, then end."""
        if not self._closing:
            self._closing = True
            self._socket.close()
            self._under.write(self._socket.data_to_send())
            self._under.close()

    def abort(self) -> None:
        """End at once; what waits to be sent does not leave."""
        self._closing = True
        self._under.abort()


class WebCarrier(asyncio.Protocol):
    """The protocol of the connection that carries a WebSocket.

    Args:
        socket: Its rules.
        opened: Called once it is open: makes the protocol inside.
        failed: Called where it ends before.
        extra: Called once it is open, returns what is told of the connection instead of what carries it.
    """

    def __init__(
        self,
        socket: WebSocket,
        opened: Callable[[], asyncio.BaseProtocol],
        failed: Callable[[], object],
        *,
        extra: Callable[[asyncio.Transport], Mapping[str, Any]] = lambda under: {},
    ) -> None:
        self._socket = socket
        self._opened = opened
        self._failed = failed
        self._extra = extra
        self._under: asyncio.Transport | None = None
        self._inside: WebTransport | None = None
        self._is_full = False
        self._holds_back = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._under = cast("asyncio.Transport", transport)
        self._flush(self._under)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        under, socket = self._under, self._socket
        if under is None:
            return
        socket.receive_data(data)
        self._flush(under)
        if self._inside is None and socket.is_open:
            self._inside = WebTransport(under, socket, self._extra(under))
            self._inside.begin(self._opened())
        if self._inside is not None:
            self._inside.take(socket.take_data())
        if socket.is_over:
            under.close()

    def _flush(self, under: asyncio.Transport) -> None:
        """Send what the rules want to be sent: the handshake, and answers to pings."""
        if out := self._socket.data_to_send():
            under.write(out)
            if self._is_full and not self._holds_back:  # it asks for more answers than it takes
                self._holds_back = True
                under.pause_reading()

    def pause_writing(self) -> None:
        """Stop: the network is full."""
        self._is_full = True
        if self._inside is not None:
            self._inside.get_protocol().pause_writing()

    def resume_writing(self) -> None:
        """Go on: the network has room."""
        self._is_full = False
        if self._holds_back:
            self._holds_back = False
            if self._under is not None and (self._inside is None or self._inside.is_reading()):
                self._under.resume_reading()
        if self._inside is not None:
            self._inside.get_protocol().resume_writing()

    def close(self) -> None:
        """End it."""
        if self._under is not None:
            self._under.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._under = None
        if self._inside is None:
            self._failed()
        else:
            self._inside.end(error)
