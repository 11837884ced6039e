"""What two of our nodes tell each other inside the Noise handshake.

The greeting is the payload of messages 2 and 3, at most 256 bytes, which a librats 2 node discards and never sends::

    magic "RATS" | version:u8 | features:u32 | items: tag:u8 | length:u8 | value

Unknown tags are skipped, unknown feature bits ignored; the version in use is the smaller of the two sides'.
"""

from __future__ import annotations

from enum import IntFlag

from msgspec import Struct

from librats.config import MIN_MESSAGE_WINDOW
from librats.errors import DecodeError

__all__ = ["MAX_GREETING", "Feature", "Greeting"]

MAX_GREETING = 256
MAGIC = b"RATS"
VERSION = 1

TAG_INCARNATION = 1
TAG_MESSAGE_WINDOW = 2
TAG_MAX_MESSAGE = 3
TAG_AGENT = 4

MAX_AGENT = 64
INCARNATION_SIZE = 8
UINT32_MAX = 0xFFFFFFFF


class Feature(IntFlag):
    """What a side can do; in use where both can."""

    PATHS = 0x01
    """Sessions move from one connection to another, and what is sent is acknowledged for that."""

    INTRODUCES = 0x02
    """The side introduces peers to each other; it counts where one side has it."""

    INTRODUCED = 0x04
    """The side takes offers of strangers that an introducer passes; likewise."""

    CARRIES = 0x08
    """The side carries sessions between those whom it introduces; likewise."""

    CARRIED = 0x10
    """The side takes sessions that an introducer carries; likewise."""

    FINDABLE = 0x20
    """The side wants to be found by its id: its introducers may announce themselves for it in the DHT; likewise."""

    MEETINGS = 0x40
    """The side has places where two meet who know a number; likewise."""


class Greeting(Struct, frozen=True, kw_only=True):
    """One side's greeting."""

    incarnation: bytes
    """8 random bytes, new for every start of a client: a link of an earlier incarnation is stale."""

    message_window: int
    """Bytes of messages that this side takes before it has handled any."""

    max_message: int
    """Longest message that this side takes."""

    agent: str = ""
    """Name and version of the software, at most 64 bytes; for people."""

    features: int = 0
    """Bits of :class:`Feature`; what is not assigned is ignored."""

    version: int = VERSION
    """Version of the extended framing."""

    def encode(self) -> bytes:
        """Return the handshake payload."""
        items = (
            (TAG_INCARNATION, self.incarnation),
            (TAG_MESSAGE_WINDOW, min(self.message_window, UINT32_MAX).to_bytes(4)),
            (TAG_MAX_MESSAGE, min(self.max_message, UINT32_MAX).to_bytes(4)),
            (TAG_AGENT, self.agent.encode()[:MAX_AGENT]),
        )
        head = MAGIC + bytes([self.version]) + self.features.to_bytes(4)
        return head + b"".join(bytes([tag, len(value)]) + value for tag, value in items)

    @classmethod
    def decode(cls, payload: bytes) -> Greeting | None:
        """Read a handshake payload.

        Args:
            payload: What the handshake message carried.

        Returns:
            The greeting, or None where the payload is not ours: the peer is a librats 2 node.

        Raises:
            DecodeError: It begins as ours does and then breaks off, or lacks something.
        """
        if not payload.startswith(MAGIC):
            return None
        head = len(MAGIC) + 5
        if len(payload) < head:
            raise DecodeError("a greeting without version and features", len(payload))
        version = payload[len(MAGIC)]
        if version < 1:
            raise DecodeError("a greeting of version 0", len(MAGIC))
        items = dict(_items(payload, head))
        incarnation = items.get(TAG_INCARNATION, b"")
        if len(incarnation) != INCARNATION_SIZE:
            raise DecodeError("a greeting without an incarnation", head)
        message_window = _uint32(items, TAG_MESSAGE_WINDOW)
        if message_window < MIN_MESSAGE_WINDOW:
            raise DecodeError(f"a message window of {message_window} bytes, under {MIN_MESSAGE_WINDOW}", head)
        return cls(
            incarnation=incarnation,
            message_window=message_window,
            max_message=_uint32(items, TAG_MAX_MESSAGE),
            agent=_for_people(items.get(TAG_AGENT, b"")[:MAX_AGENT]),
            features=int.from_bytes(payload[len(MAGIC) + 1 : head]),
            version=min(version, VERSION),
        )


def _for_people(text: bytes) -> str:
    """Return a text in one line, and without what acts on a terminal: it is in logs, accounts and the peer book."""
    return "".join(character for character in text.decode("utf-8", "replace") if character.isprintable())


def _items(payload: bytes, offset: int) -> list[tuple[int, bytes]]:
    items = []
    while offset < len(payload):
        if offset + 2 > len(payload) or offset + 2 + payload[offset + 1] > len(payload):
            raise DecodeError("a greeting that breaks off", offset)
        size = payload[offset + 1]
        items.append((payload[offset], payload[offset + 2 : offset + 2 + size]))
        offset += 2 + size
    return items


def _uint32(items: dict[int, bytes], tag: int) -> int:
    value = items.get(tag, b"")
    if len(value) != 4:  # noqa: PLR2004 - the size of a u32
        raise DecodeError(f"a greeting without item {tag}")
    return int.from_bytes(value)
