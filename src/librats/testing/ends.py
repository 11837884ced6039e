"""One end of a simulated TCP connection: what a kernel keeps for a socket.

It is ordered and reliable as TCP is, with bounded buffers on both sides and a half-close. What is simplified: a packet
that gets lost is sent again after a timeout that doubles (RFC 6298, at least as long as Linux's), whatever follows it,
and nothing but the buffers limits how much is under way; there is no congestion control.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from librats.testing.packets import Packet, PacketKind
from librats.types import Address

if TYPE_CHECKING:
    from librats.testing.sockets import Listening
    from librats.testing.stack import HostStack

__all__ = ["StreamEnd"]

SEGMENT = 8 * 1024
BUFFER = 256 * 1024
"""Bytes that each side of each direction holds."""

WRITABLE = BUFFER * 2 // 3
SYN_TIMEOUT = 1.0
SYN_TRIES = 6
CONNECT_TIMEOUT = 127.0
MIN_TIMEOUT = 0.2
MAX_TIMEOUT = 120.0
TRIES = 15
ORPHAN_TIME = 60.0


class State(Enum):
    CONNECTING = auto()
    ACCEPTING = auto()
    OPEN = auto()
    GONE = auto()


class StreamEnd:
    """One end of a connection.

    Args:
        stack: That of the host where it is.
        local: This end's address.
        remote: The other end's.
        listening: The socket that was dialled; None on the side that dials.
    """

    def __init__(self, stack: HostStack, local: Address, remote: Address, listening: Listening | None = None) -> None:
        self._stack = stack
        self._agenda = stack.agenda
        self.local = local
        self.remote = remote
        self.changed: Callable[[], None] = _nobody
        """Called where it may have become readable or writable."""
        self._listening = listening
        self._state = State.CONNECTING if listening is None else State.ACCEPTING
        self._is_asked = False
        """Whether the other end asked for this connection, too, while this one did: both become open, none listens."""
        self._asked_at = 0.0
        self._timeout = SYN_TIMEOUT
        self._round_trip = self._variation = 0.0
        self._timed: tuple[int, float] | None = None
        """For the next measurement: up to where the other end has to have it all, and since when that is on its way."""
        self._error = 0
        self._orphan = False
        # What goes out: bytes up to _acked have arrived, those up to _next have left, those behind it are in _unsent.
        self._unsent = bytearray()
        self._next = 0
        self._acked = 0
        self._edge = 0
        self._end_wanted = False
        self._end_sent = False
        # What comes in: bytes up to _expected have arrived, the last ones of them are in _arrived.
        self._arrived = bytearray()
        self._early: dict[int, Packet] = {}
        self._expected = 0
        self._told_edge = BUFFER
        self._ended = False
        self._deaf = False
        self._ack_is_due = False
        self._rests = False
        """Whether all is done, and only what comes late or twice is acknowledged still."""

    # What the socket asks

    @property
    def is_readable(self) -> bool:
        """True where reading would not block."""
        return bool(self._arrived or self._ended or self._error) or self._state is State.GONE

    @property
    def is_writable(self) -> bool:
        """True where writing would not block, or connecting has come to its end."""
        if self._error or self._state is State.GONE:
            return True
        return self._state is State.OPEN and self._queued <= WRITABLE

    @property
    def is_open(self) -> bool:
        """True where both ends have agreed, and neither has broken the connection."""
        return self._state is State.OPEN

    @property
    def _queued(self) -> int:
        return len(self._unsent) + self._next - self._acked

    def connect(self) -> None:
        """Ask the other side for a connection."""
        self._agenda.after(CONNECT_TIMEOUT, self._connecting_is_over)
        self._send(PacketKind.SYN)

    def take_error(self) -> int:
        """Return the error number of what went wrong, once, or 0."""
        error, self._error = self._error, 0
        return error

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Take as many bytes as there is room for.

        Raises:
            BlockingIOError: There is none.
            OSError: The connection is broken, or its end was written.
        """
        self._raise_error()
        if self._state is State.GONE or self._end_wanted:
            raise _os_error(errno.EPIPE)
        room = BUFFER - self._queued
        if room <= 0 or self._state is not State.OPEN:
            raise _os_error(errno.EAGAIN)
        piece = memoryview(data)[:room]
        self._unsent += piece
        self._pump()
        return len(piece)

    def receive(self, limit: int) -> bytes | bytearray:
        """Return what has arrived; nothing at the end.

        Raises:
            BlockingIOError: Nothing has arrived.
            OSError: The connection is broken.
        """
        if self._arrived:
            if limit >= len(self._arrived):
                data, self._arrived = self._arrived, bytearray()
            else:
                data = self._arrived[:limit]
                del self._arrived[:limit]
            if self._expected + self._room - self._told_edge >= BUFFER // 2:
                self._acknowledge()
            return data
        self._raise_error()
        if self._ended or self._deaf or self._state is State.GONE:
            return b""
        raise _os_error(errno.EAGAIN)

    def _raise_error(self) -> None:
        if self._error:
            raise _os_error(self.take_error())

    def end(self) -> None:
        """Let nothing follow what was sent."""
        if self._state is not State.OPEN:
            raise _os_error(errno.ENOTCONN)
        self._end_wanted = True
        self._pump()

    def stop_reading(self) -> None:
        """Read the end from now on."""
        self._deaf = True

    def close(self) -> None:
        """Leave it to itself: what was sent still arrives, unless there was something to read."""
        self.changed = _nobody
        if self._state is State.OPEN and not self._arrived:
            self._orphan = self._end_wanted = True
            self._pump()
            self._retire_orphan()
        else:
            self.reset()

    def reset(self) -> None:
        """Break the connection."""
        if self._state in (State.OPEN, State.ACCEPTING):
            self._stack.send_once(Packet(PacketKind.RST, self.local, self.remote))
        self._vanish()

    def _retire_orphan(self) -> None:
        if self._orphan and self._end_sent and self._acked == self._next and self._state is State.OPEN:
            if self._ended:
                self._vanish()
                self._rests = True
                self._stack.lay_to_rest(self)
            else:
                self._agenda.after(ORPHAN_TIME, self._vanish)

    def _vanish(self) -> None:
        """Forget everything but what has arrived: no packet belongs to this end any more."""
        if self._state is not State.GONE:
            self._state = State.GONE
            self._unsent.clear()
            self._early.clear()
            self._stack.forget(self)

    def _fail(self, error: int) -> None:
        self._error = error
        self._vanish()
        self.changed()

    def _connecting_is_over(self) -> None:
        if self._state is State.CONNECTING:
            self._fail(errno.ETIMEDOUT)

    # What leaves

    def _pump(self) -> None:
        """Send what there is, as far as the other side has room for it."""
        if self._state is not State.OPEN:
            return
        while self._unsent:
            size = min(SEGMENT, len(self._unsent))
            room = self._edge - self._next
            if room < size:
                if room <= 0 or self._next > self._acked:
                    return
                size = room
            piece = bytes(self._unsent[:size])
            del self._unsent[:size]
            sequence, self._next = self._next, self._next + size
            self._send(PacketKind.DATA, sequence, piece)
        if self._end_wanted and not self._end_sent:
            self._end_sent = True
            sequence, self._next = self._next, self._next + 1
            self._send(PacketKind.FIN, sequence)

    def _send(self, kind: PacketKind, sequence: int = 0, payload: bytes = b"", *, tries: int = 0) -> None:
        if self._state is not State.OPEN:
            self._asked_at = self._agenda.now
        elif tries:
            self._timed = None  # what was sent twice measures nothing
        elif self._timed is None:
            self._timed = (self._next, self._agenda.now)
        packet = Packet(kind, self.local, self.remote, sequence, self._told_edge, payload)
        self._stack.send(packet, partial(self._lost, packet, tries))

    def _lost(self, packet: Packet, tries: int) -> None:
        """Send a packet again later; give the connection up where that was in vain many times."""
        if not self._is_wanted(packet):
            return
        if tries >= (TRIES if self._state is State.OPEN else SYN_TRIES):
            if self._state is not State.CONNECTING:  # which has a time limit of its own
                self._fail(errno.ETIMEDOUT)
            return
        delay = min(MAX_TIMEOUT, self._timeout * 2**tries)
        self._agenda.after(delay, self._send_again, packet, tries + 1)

    def _send_again(self, packet: Packet, tries: int) -> None:
        if self._is_wanted(packet):
            self._send(packet.kind, packet.sequence, packet.payload, tries=tries)

    def _is_wanted(self, packet: Packet) -> bool:
        if packet.kind is PacketKind.SYN:
            return self._state is State.CONNECTING
        if packet.kind is PacketKind.SYN_ACK:
            return self._state is State.ACCEPTING or (self._is_asked and self._state is State.CONNECTING)
        return self._state is State.OPEN and packet.sequence >= self._acked

    def _acknowledge(self, tries: int = 0) -> None:
        if self._state is State.OPEN or self._rests:
            self._told_edge = self._expected + self._room
            packet = Packet(PacketKind.ACK, self.local, self.remote, self._expected, self._told_edge)
            self._stack.send(packet, partial(self._ack_lost, tries))

    @property
    def _room(self) -> int:
        return BUFFER - len(self._arrived)

    def _ack_lost(self, tries: int) -> None:
        if not self._ack_is_due and tries < TRIES:
            self._ack_is_due = True
            self._agenda.after(min(MAX_TIMEOUT, self._timeout * 2**tries), self._acknowledge_again, tries + 1)

    def _acknowledge_again(self, tries: int) -> None:
        self._ack_is_due = False
        self._acknowledge(tries)

    # What arrives

    def take(self, packet: Packet) -> None:
        """Take a packet from the other end."""
        if self._rests:
            if packet.kind in (PacketKind.DATA, PacketKind.FIN):
                self._acknowledge()
            return
        match packet.kind:
            case PacketKind.SYN:
                self._take_question()
            case PacketKind.SYN_ACK:
                self._take_agreement(packet)
            case PacketKind.ACK:
                self._become_open(packet.edge)
                self._take_acknowledgement(packet)
            case PacketKind.DATA | PacketKind.FIN:
                self._become_open(packet.edge)
                self._take_data(packet)
            case PacketKind.RST:
                refused = self._state is State.CONNECTING
                self._fail(errno.ECONNREFUSED if refused else errno.ECONNRESET)

    def agree(self) -> None:
        """Agree to what the other side asked for."""
        self._send(PacketKind.SYN_ACK)

    def _take_question(self) -> None:
        """Agree where both ends ask at a time (RFC 9293, 3.5); else it is asked again, for want of an answer."""
        if self._state is State.CONNECTING and not self._is_asked:
            self._is_asked = True
            self.agree()

    def _take_agreement(self, packet: Packet) -> None:
        if self._state is State.CONNECTING:
            self._open(packet.edge)
            self._acknowledge()

    def _become_open(self, edge: int) -> None:
        if self._is_asked and self._state is State.CONNECTING:
            self._open(edge)
        elif self._state is State.ACCEPTING:
            self._open(edge)
            if self._listening is None or not self._listening.enqueue(self):
                self.reset()

    def _open(self, edge: int) -> None:
        self._state = State.OPEN
        self._edge = edge
        took = self._agenda.now - self._asked_at
        if took < SYN_TIMEOUT:  # else the answer may have got lost once
            self._measure(took)
        self.changed()

    def _measure(self, took: float) -> None:
        """Take a measurement of the round trip (RFC 6298, 2)."""
        if self._round_trip:
            self._variation += (abs(self._round_trip - took) - self._variation) / 4
            self._round_trip += (took - self._round_trip) / 8
        else:
            self._round_trip, self._variation = took, took / 2
        self._timeout = self._round_trip + max(MIN_TIMEOUT, 4 * self._variation)

    def _take_acknowledgement(self, packet: Packet) -> None:
        if self._state is State.OPEN:
            self._acked = max(self._acked, packet.sequence)
            self._edge = max(self._edge, packet.edge)
            if self._timed is not None and self._acked >= self._timed[0]:
                self._measure(self._agenda.now - self._timed[1])
                self._timed = None
            self._pump()
            self._retire_orphan()
            self.changed()

    def _take_data(self, packet: Packet) -> None:
        if self._state is not State.OPEN:
            return
        if packet.sequence >= self._expected:
            if packet.payload and self._orphan:
                self.reset()  # nobody is there to read it
                return
            self._early[packet.sequence] = packet
            while (following := self._early.pop(self._expected, None)) is not None:
                if following.kind is PacketKind.FIN:
                    self._ended = True
                    self._expected += 1
                else:
                    self._expected += len(following.payload)
                    if not self._deaf:
                        self._arrived += following.payload
        self._acknowledge()
        self._retire_orphan()
        self.changed()


def _nobody() -> None:
    pass


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
