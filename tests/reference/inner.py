"""A slow oracle of librats 2's inner messages, in plain Python.

It shares no code with librats: the sealing is that of the package ``cryptography``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.reference.framing import Refused, Sealer

APP, CONTROL, FILE_CHUNK, PING, TYPED, PEX, PUNCH = 1, 2, 4, 5, 7, 8, 9
MAX_BLOCK = 64 << 20
COST = 64

News = tuple[object, ...]
Channel = Callable[[int], tuple[int, str] | None]


def inner(kind: int, payload: bytes, *, channel: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">BBH", kind, flags, channel) + payload


def typed(name: bytes, text: bytes) -> bytes:
    return inner(TYPED, struct.pack(">H", len(name)) + name + text)


def plain_block(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def channel_number(name: bytes) -> int:
    value = 0x811C9DC5
    for byte in name:
        value = (value ^ byte) * 0x01000193 % (1 << 32)
    return ((value >> 16) ^ (value % 65536)) or 1


@dataclass
class Reader:
    """What a librats 2 node makes of the bytes; ``sealer`` is None in plaintext mode."""

    sealer: Sealer | None
    max_message: int
    channel: Channel
    held: bytes = b""
    news: list[News] = field(default_factory=list)
    skipped: int = 0
    window_used: int = 0
    broken: bool = False

    def feed(self, data: bytes) -> None:
        self.held += data
        while not self.broken and len(self.held) >= 4:
            (size,) = struct.unpack_from(">I", self.held)
            tag = 16 if self.sealer else 0
            if not 4 + tag <= size <= min(MAX_BLOCK, self.max_message + 4 + 2 + 65535 + tag):
                self.broken = True
            elif len(self.held) < 4 + size:
                return
            else:
                body, self.held = self.held[4 : 4 + size], self.held[4 + size :]
                try:
                    self._take(self.sealer.open(body) if self.sealer else body)
                except Refused:
                    self.broken = True

    def _take(self, body: bytes) -> None:
        kind, _, channel = struct.unpack_from(">BBH", body)
        payload = body[4:]
        if kind == TYPED and len(payload) >= 2:
            end = 2 + int.from_bytes(payload[:2])
            try:
                name = payload[2:end].decode()
            except UnicodeDecodeError:
                name = None
            if name is not None and end <= len(payload):
                self._deliver(0, name, payload[end:])
                return
        found = self.channel(channel) if kind == APP else None
        if found is not None:
            self._deliver(*found, payload)
        elif kind in (CONTROL, PEX, PUNCH) or (kind == PING and len(payload) == 9):
            self.news.append((kind, payload))
        elif kind == FILE_CHUNK:
            self.window_used += COST + len(payload)
            self.news.append((kind, payload))
        else:
            self.skipped += 1

    def _deliver(self, kind: int, name: str, payload: bytes) -> None:
        if len(payload) > self.max_message:
            raise Refused("too long")
        self.window_used += COST + len(payload)
        self.news.append(("message", kind, name, payload))
