"""One end of a session that an introducer carries: a stream of bytes in both directions, without input or output."""

from __future__ import annotations

from collections import deque

from librats.introduce.parcels import FIRST_CREDIT, MAX_PIECE, WINDOW, CarryEnd, Parcel, ParcelKind

__all__ = ["CarriedStream"]

MAX_CREDIT = 1 << 30


class CarriedStream:
    """Cuts what is to be sent into parcels as far as the other side lets it, and lets the other side send.

    Example:
        >>> one, other = CarriedStream(), CarriedStream()
        >>> one.write(b"hello")
        >>> [other.receive(parcel) for parcel in one.parcels_to_send()]
        [None]
        >>> other.read()
        b'hello'
    """

    def __init__(self) -> None:
        self._unsent: deque[bytes] = deque()
        self._control: list[Parcel] = []
        self._may_send = FIRST_CREDIT
        self._received = bytearray()
        self._let = FIRST_CREDIT
        self._came = self._taken = 0
        self.unsent = 0
        """Bytes that wait until the other side lets them be sent."""
        self.ended: Parcel | None = None
        """How it has ended, once it has."""

    def write(self, data: bytes) -> None:
        """Queue bytes; nothing where it has ended."""
        if data and self.ended is None:
            self._unsent.append(data)
            self.unsent += len(data)

    def parcels_to_send(self) -> list[Parcel]:
        """Return what is to go to the other side now."""
        parcels, self._control = self._control, []
        while self._unsent and self._may_send:
            piece = self._unsent.popleft()
            size = min(len(piece), MAX_PIECE, self._may_send)
            if size < len(piece):
                self._unsent.appendleft(piece[size:])
            self._may_send -= size
            self.unsent -= size
            parcels.append(Parcel(ParcelKind.DATA, piece[:size]))
        return parcels

    def receive(self, parcel: Parcel) -> None:
        """Take a parcel of the other side's; of one that sends more than it was let, that it ends."""
        if self.ended is not None:
            return
        match parcel.kind:
            case ParcelKind.DATA:
                self._came += len(parcel.data)
                if self._came > self._let:
                    self._end(Parcel(ParcelKind.END, code=CarryEnd.OVERRUN, words="more came than was let"))
                else:
                    self._received += parcel.data
            case ParcelKind.CREDIT:
                self._may_send = min(MAX_CREDIT, self._may_send + parcel.credit)
            case ParcelKind.END:
                self._end(parcel)

    def _end(self, parcel: Parcel) -> None:
        self.ended = parcel
        self._unsent.clear()
        self._control.clear()
        self.unsent = 0

    @property
    def has_received(self) -> bool:
        """Whether there is something to read."""
        return bool(self._received)

    def read(self) -> bytes:
        """Return what has come, and let the other side send more."""
        data = bytes(self._received)
        self._received.clear()
        self._taken += len(data)
        # The first parcels of a session are answered by its own: what is short needs no further credit.
        if self._taken >= FIRST_CREDIT // 4 and self._let - self._taken <= WINDOW // 2 and self.ended is None:
            more = self._taken + WINDOW - self._let
            self._let += more
            self._control.append(Parcel(ParcelKind.CREDIT, credit=more))
        return data
