"""A reliable stream over datagrams as a transport of asyncio."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from librats.types import Address, ConnectionMethod

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from librats._core.rudp_stream import RudpStream
    from librats.runtime.rudp import RudpPort

__all__ = ["Happened", "RudpTransport"]

HIGH_WATER = 64 * 1024
READ_SIZE = 256 * 1024

SEND_SIZE = 128 * 1024
"""Bytes written from which on they leave at once, whatever else is going on."""


class Happened:
    """Bits of what a table tells of a stream: plain numbers, for they are looked at with each packet."""

    INCOMING = 1
    OPEN = 2
    READABLE = 4
    WRITABLE = 8
    END = 16
    CLOSED = 32
    MOVED = 64
    DATAGRAM = 128


TO_READ = Happened.READABLE | Happened.END
TO_WRITE = Happened.WRITABLE
BESIDE = Happened.MOVED | Happened.DATAGRAM

CAUSES = {
    2: (ConnectionResetError, errno.ECONNRESET),
    3: (ConnectionRefusedError, errno.ECONNREFUSED),
    4: (TimeoutError, errno.ETIMEDOUT),
    5: (TimeoutError, errno.ETIMEDOUT),
    6: (TimeoutError, errno.ETIMEDOUT),
    8: (ConnectionAbortedError, errno.ECONNABORTED),
    9: (OSError, errno.ENOBUFS),
}
"""Errors by the number of the cause for which a stream has ended; none where it was finished, or given up here."""


def error_of(cause: int) -> OSError | None:
    """Return the error that tells why a stream ended, or None where nothing went wrong."""
    kind, number = CAUSES.get(cause, (None, 0))
    return None if kind is None else kind(number, os.strerror(number))


class RudpTransport(asyncio.Transport):
    """One stream. Comes from a :class:`~librats.runtime.rudp.RudpPort`.

    Args:
        port: The socket, and the table of streams on it.
        stream: The stream.
        protocol: Who hears of everything.
    """

    def __init__(self, port: RudpPort, stream: RudpStream, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._stream: RudpStream | None = stream
        self._peername: Address = stream.address
        self._waiting: deque[memoryview] = deque()
        self._backlog = 0
        self._unsent = 0
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._protocol_paused = False
        self._reads = True
        self._closing = False
        self._finishes = False
        self._ended = False
        self._take_datagrams: Callable[[list[bytes]], object] | None = None
        self._protocol: asyncio.BaseProtocol
        self.set_protocol(protocol)

    def __repr__(self) -> str:
        """Show where it leads."""
        return f"<RudpTransport to {self._peername}{' closing' if self._closing else ''}>"

    # What it is

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peername``, ``sockname``, or ``rudp``, the statistics of the stream."""
        if name == "peername":
            return tuple(self._peername)
        if name == "sockname":
            return tuple(self._port.local_address_for(self._peername))
        if name == "rudp" and self._stream is not None:
            return self._stream.statistics()
        return default

    @property
    def method(self) -> ConnectionMethod:
        """How it leads to the peer."""
        return self._port.method

    def leads_to(self, address: Address) -> bool:
        """Whether the peer is at that address."""
        return self._peername == address

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

    def set_key(self, sending: bytes, receiving: bytes) -> None:
        """Have packets carry a tag from here on, where the peer is one of ours; see :class:`RudpStream`."""
        stream = self._stream
        if stream is not None and stream.is_extended and not stream.is_closed:
            stream.set_key(sending, receiving)
            self._port.send_soon()

    # Datagrams

    @property
    def max_datagram(self) -> int:
        """Bytes of the longest datagram that the way carries, as far as it is known; 0 where the peer takes none."""
        return self._stream.max_datagram if self._stream is not None else 0

    def send_datagram(self, data: bytes) -> bool:
        """Send bytes beside the stream, which may get lost.

        Returns:
            False where they are too long, or too many wait already: then they are lost.
        """
        stream = self._stream
        if stream is None or self._closing or not stream.send_datagram(data):
            return False
        self._port.send_now()
        return True

    def on_datagrams(self, take: Callable[[list[bytes]], object]) -> None:
        """Hand what comes beside the stream to somebody; what comes before is lost."""
        self._take_datagrams = take

    # Reading

    def pause_reading(self) -> None:
        """Hand nothing more to the protocol for now."""
        self._reads = False

    def resume_reading(self) -> None:
        """Go on handing bytes to the protocol."""
        if not self._reads:
            self._reads = True
            self._loop.call_soon(self.read_on)

    def read_on(self) -> None:
        """Hand on what waits, outside of a round of the port."""
        self._read()
        self._port.send_soon()  # what was read makes room at the peer

    def is_reading(self) -> bool:
        """Whether bytes are handed to the protocol."""
        return self._reads and not self._closing

    def _read(self) -> None:
        stream = self._stream
        while stream is not None and self._reads and not self._closing and stream.readable:
            buffered = self._buffered
            if buffered is not None:
                buffered.buffer_updated(stream.read_into(buffered.get_buffer(READ_SIZE)))
            else:
                cast("asyncio.Protocol", self._protocol).data_received(stream.take(READ_SIZE))
            stream = self._stream
        if stream is not None and self._reads and stream.has_ended and not (self._ended or self._closing):
            self._ended = True
            if not cast("asyncio.Protocol", self._protocol).eof_received():
                self.close()

    # Writing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set from how many waiting bytes on the protocol is paused, and at how many it goes on."""
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return at how many waiting bytes the protocol goes on, and from how many on it is paused."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for room in the stream."""
        return self._backlog

    def write(self, data: Buffer) -> None:
        """Take bytes to be sent."""
        stream = self._stream
        if stream is None or self._finishes or self._closing:
            return
        view = data if type(data) is bytes else memoryview(data).cast("B")
        taken = 0 if self._waiting else stream.write(view)
        if taken < len(view):
            # What is not taken yet must stay as it is, whatever the caller does with its buffer.
            self._waiting.append(memoryview(bytes(view[taken:])))
            self._backlog += len(view) - taken
            if self._backlog > self._high and not self._protocol_paused:
                self._protocol_paused = True
                self._protocol.pause_writing()
        self._unsent += taken
        if self._unsent >= SEND_SIZE:
            # The peer has something to work on while more is made.
            self._unsent = 0
            self._port.send_now(in_round=True)
        else:
            self._port.send_now()

    def _write_waiting(self) -> None:
        stream = self._stream
        while self._waiting and stream is not None:
            view = self._waiting[0]
            taken = stream.write(view)
            self._backlog -= taken
            if taken < len(view):
                self._waiting[0] = view[taken:]
                break
            self._waiting.popleft()
        if stream is not None and not self._waiting and self._finishes:
            stream.finish()
            if self._closing:
                self._let_go(None)
                return
        if self._protocol_paused and self._backlog <= self._low:
            self._protocol_paused = False
            self._protocol.resume_writing()

    def can_write_eof(self) -> bool:
        """Return True: a stream can be finished one way."""
        return True

    def write_eof(self) -> None:
        """Finish the stream behind what was written; what comes is still taken."""
        self._finishes = True
        self._write_waiting()
        self._port.send_soon()

    # The end

    def close(self) -> None:
        """Hand over what was written, then end."""
        if not self._closing:
            self._closing = True
            self._finishes = True
            self._write_waiting()
            self._port.send_soon()

    def abort(self) -> None:
        """End at once; what has not arrived does not."""
        self._closing = True
        if self._stream is not None:
            self._stream.reset()
            self._let_go(None)
            self._port.send_soon()

    def _let_go(self, error: OSError | None) -> None:
        """Tell the protocol that it is over; the table hands over what is left."""
        self._closing = True
        self._waiting.clear()
        self._backlog = 0
        stream, self._stream = self._stream, None
        if stream is not None:
            self._port.forget(stream)
            self._loop.call_soon(self._tell_end, error)

    def _tell_end(self, error: OSError | None) -> None:
        """Tell whoever listens by now, which may be another one than when it ended."""
        self._protocol.connection_lost(error)

    def _beside(self, stream: RudpStream, what: int) -> None:
        if what & Happened.MOVED:
            self._peername = stream.address
        if what & Happened.DATAGRAM:
            datagrams = stream.take_datagrams()
            if self._take_datagrams is not None and not self._closing:
                self._take_datagrams(datagrams)

    def happened(self, what: int) -> None:
        """Take what the table tells of the stream."""
        if what == Happened.READABLE:
            self._read()
            return
        stream = self._stream
        if stream is None:
            return
        if what & BESIDE:
            self._beside(stream, what)
        if what & TO_READ:
            self._read()
        if what & TO_WRITE and (self._waiting or self._finishes):
            self._write_waiting()
        if what & Happened.CLOSED and self._stream is not None:
            self._read()
            self._let_go(error_of(stream.cause))
