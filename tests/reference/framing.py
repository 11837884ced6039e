"""A slow oracle of the session framing, in plain Python, after `docs/explanation/protocol.md`.

It shares no code with librats: the sealing is that of the package ``cryptography``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MESSAGE, REQUEST, REPLY, ERROR, CANCEL, FRAGMENT, DATAGRAM = 1, 2, 3, 4, 5, 6, 8
STREAM_OPEN, STREAM_DATA, STREAM_WINDOW, STREAM_RESET, STREAM_STOP = range(0x10, 0x15)
PING, PONG, GO_AWAY, REKEY, HELLO, PEERS = range(0x20, 0x26)
ACK = 0x30
SUCCESSION = 0x26
FOLLOWS = 0x07

MAX_BLOCK = 65535
MAX_PLAINTEXT = MAX_BLOCK - 16
MAX_BODY = MAX_PLAINTEXT - 4
FRAGMENT_SLACK = 266
REKEY_NONCE = (1 << 64) - 1

Fields = tuple[object, ...]


class Refused(Exception):
    """The bytes break the protocol."""


class Sealer:
    """One direction's key and counter."""

    def __init__(self, key: bytes, counter: int = 0) -> None:
        self.key = key
        self.counter = counter

    def _nonce(self) -> bytes:
        self.counter += 1
        return struct.pack("<4xQ", self.counter - 1)

    def block(self, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self.key).encrypt(self._nonce(), plaintext, None)
        return struct.pack(">I", len(sealed)) + sealed

    def open(self, sealed: bytes) -> bytes:
        try:
            return ChaCha20Poly1305(self.key).decrypt(self._nonce(), sealed, None)
        except InvalidTag:
            raise Refused("forged") from None

    def rekey(self) -> None:
        nonce = struct.pack("<4xQ", REKEY_NONCE)
        self.key = ChaCha20Poly1305(self.key).encrypt(nonce, bytes(32), None)[:32]


# Packing


def frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, flags, len(body)) + body


def frames(kind: int, flags: int, body: bytes) -> list[bytes]:
    """Return a frame, or the fragments of one that is too big."""
    if len(body) <= MAX_BODY:
        return [frame(kind, flags, body)]
    lane = 2 if kind in (REPLY, ERROR) else 0
    whole = bytes([kind, flags]) + body
    pieces = [whole[at : at + MAX_BODY] for at in range(0, len(whole), MAX_BODY)]
    return [frame(FRAGMENT, lane | (piece is pieces[-1]), piece) for piece in pieces]


def message_body(name: bytes, payload: bytes) -> bytes:
    return bytes([len(name)]) + name + payload


def request_body(number: int, timeout_ms: int, name: bytes, payload: bytes) -> bytes:
    return struct.pack(">II", number, timeout_ms) + message_body(name, payload)


def cost_of(packed: bytes) -> int:
    """Tell what a frame of the lane of messages takes of the window."""
    return 64 + len(packed) - 4


def plaintexts(packed: Iterable[bytes]) -> list[bytes]:
    """Fill transport messages with frames, in order, each as far as whole frames fit."""
    out = [b""]
    for one in packed:
        if len(out[-1]) + len(one) > MAX_PLAINTEXT:
            out.append(b"")
        out[-1] += one
    return [plaintext for plaintext in out if plaintext]


# Unpacking


@dataclass
class Reader:
    """Unpacks one direction: fills :attr:`frames` until :attr:`refused`."""

    sealer: Sealer
    max_message: int
    frames: list[Fields] = field(default_factory=list)
    refused: str | None = None
    opened: int = 0
    skipped: int = 0
    acknowledged: int = 0
    window_used: int = 0
    _waiting: bytes = b""
    _lanes: dict[int, bytes] = field(default_factory=dict)
    _lane_cost: int = 0

    def feed(self, data: bytes) -> None:
        self._waiting += data
        try:
            while self.refused is None and self._read_block():
                pass
        except Refused as why:
            self.refused = str(why)

    def _read_block(self) -> bool:
        if len(self._waiting) < 4:
            return False
        (size,) = struct.unpack(">I", self._waiting[:4])
        if not 16 <= size <= MAX_BLOCK:
            raise Refused("size")
        if len(self._waiting) < 4 + size:
            return False
        plaintext = self.sealer.open(self._waiting[4 : 4 + size])
        self._waiting = self._waiting[4 + size :]
        self.opened += 1
        at = 0
        while at < len(plaintext):
            if len(plaintext) - at < 4:
                raise Refused("header")
            kind, flags, length = struct.unpack(">BBH", plaintext[at : at + 4])
            at += 4 + length
            if at > len(plaintext):
                raise Refused("length")
            if kind == REKEY and at != len(plaintext):
                raise Refused("behind rekey")
            self._read_frame(kind, flags, plaintext[at - length : at])
        return True

    def _read_frame(self, kind: int, flags: int, body: bytes) -> None:
        if kind == FRAGMENT:
            self._read_fragment(flags, body)
            return
        if kind == REKEY:
            self.sealer.rekey()
        if kind == ACK:
            if len(body) != 8:
                raise Refused("acknowledgement")
            self.acknowledged = int.from_bytes(body)
            return
        if (kind in (MESSAGE, REQUEST, FOLLOWS) and 0 in self._lanes) or (kind in (REPLY, ERROR) and 2 in self._lanes):
            raise Refused("in the middle of another")
        cost = 64 + len(body)
        if kind in (MESSAGE, REQUEST, FOLLOWS):
            self.window_used += cost
        fields = self._fields(kind, body, cost)
        if fields is None:
            self.skipped += 1
        elif kind in (MESSAGE, REQUEST):
            self.frames.append((kind, flags & 3, *fields))
        else:
            self.frames.append((kind, flags, *fields))

    def _read_fragment(self, flags: int, body: bytes) -> None:
        lane = flags & 2
        whole = self._lanes.get(lane, b"") + body
        if len(whole) > self.max_message + FRAGMENT_SLACK:
            raise Refused("long")
        self._lanes[lane] = whole
        if not lane:
            self.window_used += 64 + len(body)
            self._lane_cost += 64 + len(body)
        if not flags & 1:
            return
        del self._lanes[lane]
        cost, self._lane_cost = (self._lane_cost, self._lane_cost) if lane else (self._lane_cost, 0)
        if len(whole) < 2 or whole[0] not in ((REPLY, ERROR) if lane else (MESSAGE, REQUEST)):
            raise Refused("fragments of what")
        fields = self._fields(whole[0], whole[2:], cost)
        assert fields is not None
        self.frames.append((whole[0], whole[1] if lane else whole[1] & 3, *fields))

    def _fields(self, kind: int, body: bytes, cost: int) -> Fields | None:
        taking = _Taking(body)
        if kind in (MESSAGE, FOLLOWS):
            return (*(self._content(taking) if kind == MESSAGE else self._links(body)), cost)
        if kind == REQUEST:
            number, timeout_ms = taking.u32(), taking.u32()
            name, payload = self._content(taking)
            if number == 0:
                raise Refused("number 0")
            return number, timeout_ms, name, payload, cost
        if kind == REPLY:
            return taking.u32(), self._limited(taking.rest())
        if kind == STREAM_DATA:
            return taking.u32(), taking.rest()
        if kind in (ERROR, STREAM_RESET, STREAM_STOP):
            return (taking.u32(), *taking.reason())
        return self._plain_fields(kind, taking)

    def _plain_fields(self, kind: int, taking: _Taking) -> Fields | None:
        if kind == CANCEL:
            return (taking.u32(),)
        if kind == STREAM_OPEN:
            return taking.u32(), taking.u32(), taking.name()
        if kind == STREAM_WINDOW:
            return taking.u32(), taking.u32()
        if kind == GO_AWAY:
            return taking.reason()
        if kind in (PING, PONG) and len(taking.body) != 8:
            raise Refused("ping")
        if kind in (PING, PONG, DATAGRAM, HELLO, PEERS, SUCCESSION):
            return (taking.rest(),)
        return () if kind == REKEY else None

    def _links(self, body: bytes) -> tuple[bytes]:
        if len(body) % 24 or len(body) > 64 * 24:
            raise Refused("links")
        return (body,)

    def _content(self, taking: _Taking) -> tuple[str, bytes]:
        name = taking.name()
        return name, self._limited(taking.rest())

    def _limited(self, payload: bytes) -> bytes:
        if len(payload) > self.max_message:
            raise Refused("long")
        return payload


class _Taking:
    """Takes the fields of a body from its front."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def take(self, size: int) -> bytes:
        if len(self.body) < size:
            raise Refused("short")
        taken, self.body = self.body[:size], self.body[size:]
        return taken

    def rest(self) -> bytes:
        return self.take(len(self.body))

    def u32(self) -> int:
        return int.from_bytes(self.take(4))

    def name(self) -> str:
        try:
            return self.take(self.take(1)[0]).decode()
        except UnicodeDecodeError:
            raise Refused("name") from None

    def reason(self) -> tuple[str, str]:
        code = self.take(self.take(1)[0])
        return code.decode("ascii", "replace"), self.rest().decode("utf-8", "replace")
