"""What goes over a session between a node and its introducer: the bodies of INTRODUCE frames.

Every one begins with ``op:u8 | number:u32``. The caller chooses the number of what it asks for, and the introducer that
under which it passes an offer on: each is the same in everything that belongs to one introduction on one session.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct

from librats.errors import DecodeError
from librats.session.frames import reason_body

__all__ = ["ID_SIZE", "INTRODUCER_PROTOCOL", "MAX_NOTICE", "MAX_SEALED", "Notice", "Op", "Refusal"]

INTRODUCER_PROTOCOL = "librats-introducer/1"
"""Protocol string of sessions with public introducers, whatever the application's own is."""

ID_SIZE = 32
"""Bytes of a peer id, and of an X25519 key."""

MAX_SEALED = 16384
"""Bytes of the longest letter, sealed."""

HEAD = 5
PLACE_SIZE = 4
MAX_NOTICE = HEAD + ID_SIZE + MAX_SEALED
MAX_NUMBER = 0xFFFFFFFF
MAX_CODE, MAX_WORDS = 32, 1024


class Op(IntEnum):
    """Who says what to whom."""

    ASK = 0x01
    """Caller to introducer: what is the key of the peer with that id?"""

    OFFER = 0x02
    """Caller to introducer: a sealed letter for that peer."""

    ADD = 0x03
    """Caller to introducer: a further letter."""

    KEY = 0x11
    """Introducer to caller: the X25519 key that was asked for."""

    ANSWERED = 0x12
    """Introducer to caller: the sealed answer."""

    ADDED = 0x13
    """Introducer to caller: a further letter of the peer's."""

    REFUSED = 0x14
    """Introducer to caller: that did not work."""

    SERVICES = 0x15
    """Introducer to whoever is connected: what else it does for it, in JSON."""

    PASSED = 0x21
    """Introducer to target: a sealed letter from the peer with that id."""

    PASSED_ADD = 0x22
    """Introducer to target: a further letter."""

    ANSWER = 0x31
    """Target to introducer: the sealed answer."""

    MORE = 0x32
    """Target to introducer: a further letter."""

    DECLINE = 0x33
    """Target to introducer: there will be no answer."""

    OPEN_PLACE = 0x05
    """Caller to introducer: give me a place where somebody can meet me who knows its number."""

    CLOSE_PLACE = 0x06
    """Caller to introducer: nobody is waited for there any more."""

    VISIT = 0x07
    """Caller to introducer: a letter for whoever waits at the place of that number."""

    PLACE = 0x17
    """Introducer to caller: the number of the place."""

    VISITED = 0x24
    """Introducer to target: a letter from somebody who knows the number of the place."""

    CARRY = 0x04
    """Caller to introducer: a parcel of the session that the introducer carries."""

    CARRIED_BACK = 0x16
    """Introducer to caller: likewise."""

    CARRIED = 0x23
    """Introducer to target: likewise."""

    CARRY_BACK = 0x34
    """Target to introducer: likewise."""


WITH_ID = frozenset({Op.ASK, Op.OFFER, Op.KEY, Op.PASSED})
WITH_LETTER = frozenset(
    {
        *(Op.OFFER, Op.ADD, Op.ANSWERED, Op.ADDED, Op.SERVICES),
        *(Op.PASSED, Op.PASSED_ADD, Op.ANSWER, Op.MORE),
        *(Op.CARRY, Op.CARRIED_BACK, Op.CARRIED, Op.CARRY_BACK),
        *(Op.VISIT, Op.VISITED),
    }
)
WITH_PLACE = frozenset({Op.VISIT, Op.VISITED, Op.PLACE})
WITH_REASON = frozenset({Op.REFUSED, Op.DECLINE})
OPS = {int(op): op for op in Op}


class Refusal(StrEnum):
    """Why an introduction has come to nothing."""

    UNKNOWN_PLACE = "unknown_place"
    """Nobody waits at the place of that number, or somebody was there already."""

    UNKNOWN_PEER = "unknown_peer"
    """The introducer has no session with a peer of that id that wants to be introduced."""

    NOT_ALLOWED = "not_allowed"
    """That node does not introduce."""

    LIMIT = "limit"
    """Too much was asked of the introducer, or of the target."""

    GONE = "gone"
    """The session between the introducer and the target has ended."""

    TAMPERED = "tampered"
    """The target cannot open the letter: it was changed, or is for somebody else, or for another application."""

    REPLAYED = "replayed"
    """The target had that letter before."""

    STALE = "stale"
    """The letter is from another time: the clocks of the two differ, or somebody has held it back."""

    REFUSED = "refused"
    """The target does not want to talk to the caller."""

    FAILED = "failed"
    """The target could not do what is needed."""


class Notice(Struct, frozen=True):
    """One body.

    Example:
        >>> Notice.decode(Notice(Op.ASK, 7, peer=bytes(32)).encode()).number
        7
    """

    op: Op
    """Who says what to whom."""

    number: int
    """Of which introduction, on this session."""

    peer: bytes = b""
    """The 32 bytes of a peer id, in KEY those of an X25519 key."""

    place: int = 0
    """Number of a place."""

    letter: bytes = b""
    """The sealed letter, what SERVICES says, or a parcel."""

    code: str = ""
    """Why not: a :class:`Refusal`, or what a later version has."""

    words: str = ""
    """The same in words for people."""

    def encode(self) -> bytes:
        """Return the body."""
        head = bytes([self.op]) + self.number.to_bytes(4)
        if self.op in WITH_REASON:
            return head + reason_body(self.code, self.words)
        place = self.place.to_bytes(PLACE_SIZE) if self.op in WITH_PLACE else b""
        return head + self.peer + place + self.letter

    @classmethod
    def decode(cls, body: bytes) -> Notice:
        """Read a body.

        Raises:
            DecodeError: It breaks off, is too long, or has an operation that is not known.
        """
        if len(body) < HEAD or len(body) > MAX_NOTICE:
            raise DecodeError(f"an introduction of {len(body)} bytes")
        op = OPS.get(body[0])
        if op is None:
            raise DecodeError(f"an introduction with the operation {body[0]}")
        number, rest = int.from_bytes(body[1:HEAD]), body[HEAD:]
        if op in WITH_REASON:
            return cls(op, number, code=_code(rest), words=rest[1 + rest[0] :].decode("utf-8", "replace")[:MAX_WORDS])
        peer = b""
        if op in WITH_ID:
            peer, rest = rest[:ID_SIZE], rest[ID_SIZE:]
            if len(peer) < ID_SIZE:
                raise DecodeError("an introduction that breaks off", len(body))
        place = 0
        if op in WITH_PLACE:
            if len(rest) < PLACE_SIZE:
                raise DecodeError("an introduction that breaks off", len(body))
            place, rest = int.from_bytes(rest[:PLACE_SIZE]), rest[PLACE_SIZE:]
        if op not in WITH_LETTER:
            return cls(op, number, peer, place)
        if not 0 < len(rest) <= MAX_SEALED:
            raise DecodeError(f"a letter of {len(rest)} bytes", HEAD + len(peer))
        return cls(op, number, peer, place, rest)


def _code(reason: bytes) -> str:
    if not reason or len(reason) < 1 + reason[0] or reason[0] > MAX_CODE:
        raise DecodeError("a refusal that breaks off", HEAD)
    try:
        return reason[1 : 1 + reason[0]].decode("ascii")
    except UnicodeDecodeError:
        raise DecodeError("a refusal whose code is no ASCII", HEAD) from None
