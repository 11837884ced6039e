"""What goes through an introducer that carries a session: pieces of a byte stream, room for more, and the end.

A parcel is ``kind:u8 | rest``: bytes of the session in DATA, how many more may be sent in CREDIT, and in END why there
will be no more, as refusals tell it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct

from librats.errors import DecodeError
from librats.session.frames import reason_body

__all__ = ["FIRST_CREDIT", "LIMITS", "MAX_PIECE", "WINDOW", "CarryEnd", "Parcel", "ParcelKind"]

FIRST_CREDIT = 16 * 1024
"""Bytes that each side may send before it was told that it may."""

WINDOW = 64 * 1024
"""Bytes that a side lets the other one send before it has taken any."""

MAX_PIECE = 8192
"""Bytes of the session in one parcel."""

CREDIT_SIZE = 4
MAX_CREDIT = (1 << 32) - 1
MAX_CODE, MAX_WORDS = 32, 1024


class ParcelKind(IntEnum):
    """What a parcel has."""

    DATA = 0
    CREDIT = 1
    END = 2


class CarryEnd(StrEnum):
    """Why a session is carried no longer."""

    CLOSED = "closed"
    """One of the two sides has ended it."""

    NOT_CARRIED = "not_carried"
    """The introducer carries no sessions, or the target takes none."""

    BYTES = "carry_bytes"
    """As many bytes were carried as the introducer carries of one session."""

    TIME = "carry_time"
    """It was carried for as long as the introducer carries one session."""

    CROWDED = "carry_at_once"
    """The introducer carries as many sessions as it does at a time, of that caller or of all together."""

    SLOW = "carry_slow"
    """A side does not take what there is for it."""

    OVERRUN = "carry_overrun"
    """A side has sent more than it was told that it may."""

    GONE = "gone"
    """A side's session with the introducer has ended."""


LIMITS = frozenset({CarryEnd.BYTES, CarryEnd.TIME, CarryEnd.CROWDED, CarryEnd.SLOW, CarryEnd.OVERRUN})
"""Of these, the limits of an introducer."""


class Parcel(Struct, frozen=True):
    """One parcel.

    Example:
        >>> Parcel.decode(Parcel(ParcelKind.DATA, b"hello").encode()).data
        b'hello'
    """

    kind: ParcelKind
    data: bytes = b""
    """Bytes of the session."""

    credit: int = 0
    """How many more may be sent."""

    code: str = ""
    """Why it ends: a :class:`CarryEnd`, or what a later version has."""

    words: str = ""
    """The same in words for people."""

    def encode(self) -> bytes:
        """Return the parcel's bytes."""
        head = bytes([self.kind])
        match self.kind:
            case ParcelKind.DATA:
                return head + self.data
            case ParcelKind.CREDIT:
                return head + self.credit.to_bytes(CREDIT_SIZE)
        return head + reason_body(self.code, self.words)

    @classmethod
    def decode(cls, parcel: bytes) -> Parcel:
        """Read a parcel.

        Raises:
            DecodeError: It breaks off, is too long, or of a kind that is not known.
        """
        kind, rest = (parcel[0], parcel[1:]) if parcel else (-1, b"")
        if kind == ParcelKind.DATA:
            if not 0 < len(rest) <= MAX_PIECE:
                raise DecodeError(f"a parcel of {len(rest)} bytes", 1)
            return cls(ParcelKind.DATA, rest)
        if kind == ParcelKind.CREDIT:
            if len(rest) != CREDIT_SIZE:
                raise DecodeError("a credit that breaks off", 1)
            return cls(ParcelKind.CREDIT, credit=int.from_bytes(rest))
        if kind == ParcelKind.END:
            return cls(
                ParcelKind.END, code=_code(rest), words=rest[1 + rest[0] :].decode("utf-8", "replace")[:MAX_WORDS]
            )
        raise DecodeError(f"a parcel of the kind {kind}")


def _code(reason: bytes) -> str:
    if not reason or len(reason) < 1 + reason[0] or reason[0] > MAX_CODE:
        raise DecodeError("an end that breaks off", 1)
    try:
        return reason[1 : 1 + reason[0]].decode("ascii")
    except UnicodeDecodeError:
        raise DecodeError("an end whose code is no ASCII", 1) from None
