"""The ends of sessions that an introducer carries, as connections: what a link writes goes through it in parcels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from librats.introduce.carried import CarriedStream
from librats.introduce.notices import Notice, Op
from librats.introduce.parcels import LIMITS, CarryEnd, Parcel, ParcelKind
from librats.reasons import AttemptReason
from librats.runtime.handover import give
from librats.types import Address

__all__ = ["CarriedPaths", "CarriedTransport", "CarryEnded"]

HIGH_WATER, LOW_WATER = 32 * 1024, 8 * 1024
"""Bytes that wait for room at the introducer: from how many on the session is paused, and at how many it goes on."""

Key = tuple[str, int, bool]
Tell = Callable[[str, Notice], bool]


class CarryEnded(OSError):
    """An introducer carries a session no longer.

    Args:
        code: Why, as a :class:`~librats.introduce.parcels.CarryEnd`.
        words: The same in words.
    """

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words or code)
        self.code = code
        """Why."""

    @property
    def is_limit(self) -> bool:
        """True where a limit of the introducer has ended it."""
        return self.code in LIMITS

    @property
    def attempt_reason(self) -> AttemptReason:
        """What it means for an attempt to begin a session there."""
        return AttemptReason.CARRY_LIMIT if self.is_limit else AttemptReason.INTRODUCTION_FAILED


class CarriedTransport(asyncio.Transport):
    """A connection to a peer by way of an introducer.

    Args:
        key: Introducer, number and side.
        tell: Sends a notice to the introducer; False where that cannot be done.
        left: Called when it is over.
        address: Of the introducer; its port is not told on, for the peer is not there.
    """

    def __init__(self, key: Key, tell: Tell, left: Callable[[Key], object], address: Address) -> None:
        super().__init__({"peername": (address.host, 0), "sockname": ("", 0)})
        self._key = key
        self._tell = tell
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._stream = CarriedStream()
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._reading = True
        self._delivery: asyncio.Handle | None = None
        self._closing = self._is_over = self._protocol_paused = False

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Give it to a protocol."""
        self._protocol = protocol
        protocol.connection_made(self)

    # Out

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes to be sent."""
        if self._closing or self._is_over:
            return
        self._stream.write(bytes(data))
        self._send()
        if self._stream.unsent > HIGH_WATER and not self._protocol_paused:
            self._protocol_paused = True
            self._protocol.pause_writing()

    def _send(self) -> None:
        for parcel in self._stream.parcels_to_send():
            if not self._post(parcel):
                self._end(CarryEnded(CarryEnd.GONE, "the introducer takes nothing from here"))
                return
        if self._closing and not self._stream.unsent:
            self._post(Parcel(ParcelKind.END, code=CarryEnd.CLOSED))
            self._end(None)
        elif self._protocol_paused and self._stream.unsent <= LOW_WATER:
            self._protocol_paused = False
            self._protocol.resume_writing()

    def _post(self, parcel: Parcel) -> bool:
        introducer, number, is_caller = self._key
        op = Op.CARRY if is_caller else Op.CARRY_BACK
        return self._tell(introducer, Notice(op, number, letter=parcel.encode()))

    # In

    def receive(self, parcel: Parcel) -> None:
        """Take what has come. The protocol gets it in a turn of its own: the introducer's session may be using the
        buffer that both receive into."""
        self._stream.receive(parcel)
        if self._delivery is None and not self._is_over:
            self._delivery = self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        while self._reading and not self._is_over and self._stream.has_received:
            give(lambda: self._protocol, self._stream.read())
        if self._is_over:
            return
        ended = self._stream.ended
        if ended is None:
            self._send()
        elif not self._stream.has_received:
            if ended.code == CarryEnd.OVERRUN:
                self._post(Parcel(ParcelKind.END, code=CarryEnd.OVERRUN))
            self._end(None if ended.code == CarryEnd.CLOSED else CarryEnded(ended.code, ended.words))

    def pause_reading(self) -> None:
        """Hand nothing over for now; the other side is let send no more than fits the window."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on handing over."""
        self._reading = True
        if self._delivery is None and not self._is_over:
            self._delivery = self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        """Tell whether what comes is handed over."""
        return self._reading and not self._is_over

    # Both

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes to another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return whoever gets what comes."""
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: how much may wait here is bound by how slowly an introducer carries."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for room at the introducer."""
        return self._stream.unsent

    def can_write_eof(self) -> bool:
        """Return False: both directions end together."""
        return False

    def is_closing(self) -> bool:
        """Tell whether nothing more is taken."""
        return self._closing or self._is_over

    def close(self) -> None:
        """Send what was written, then end. Idempotent."""
        if not self.is_closing():
            self._closing = True
            self._send()

    def abort(self) -> None:
        """End at once. Idempotent."""
        if not self._is_over:
            self._post(Parcel(ParcelKind.END, code=CarryEnd.CLOSED))
            self._end(None)

    def lose(self) -> None:
        """Take that the session with the introducer has ended."""
        self._end(CarryEnded(CarryEnd.GONE, "the session with the introducer has ended"))

    def _end(self, error: CarryEnded | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._left(self._key)
        self._loop.call_soon(self._tell_end, error)

    def _tell_end(self, error: CarryEnded | None) -> None:
        """Tell whoever listens by now."""
        self._protocol.connection_lost(error)


class CarriedPaths:
    """The sessions of one node that introducers carry.

    Args:
        tell: Sends a notice to an introducer; False where that cannot be done.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._open: dict[Key, CarriedTransport] = {}

    def __len__(self) -> int:
        """How many there are now."""
        return len(self._open)

    def open(
        self, introducer: str, number: int, *, is_caller: bool, address: Address, factory: Callable[[], Any]
    ) -> CarriedTransport:
        """Make a connection by way of an introducer, and give it to a protocol.

        Args:
            introducer: Its peer id.
            number: That of the introduction.
            is_caller: Whether this side has made the offer.
            address: Where the introducer is.
            factory: Makes the protocol.
        """
        key = (introducer, number, is_caller)
        transport = self._open[key] = CarriedTransport(key, self._tell, self._forget, address)
        transport.begin(factory())
        return transport

    def _forget(self, key: Key) -> None:
        self._open.pop(key, None)

    def take(self, introducer: str, notice: Notice) -> bool:
        """Take a parcel; False where it belongs to no connection.

        Raises:
            DecodeError: It is none.
        """
        transport = self._open.get((introducer, notice.number, notice.op is Op.CARRIED_BACK))
        if transport is None:
            return False
        transport.receive(Parcel.decode(notice.letter))
        return True

    def left(self, introducer: str) -> None:
        """Take that the session with an introducer has ended."""
        for key in [key for key in self._open if key[0] == introducer]:
            self._open[key].lose()

    def close(self) -> None:
        """End every connection at once."""
        for transport in list(self._open.values()):
            transport.abort()
