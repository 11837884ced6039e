"""Numbers of the extended session framing, as ``docs/explanation/protocol.md`` specifies them."""

from __future__ import annotations

from enum import IntEnum, IntFlag, StrEnum

__all__ = [
    "FRAME_COST",
    "MAX_BLOCK",
    "MAX_NAME",
    "FragmentFlag",
    "FrameType",
    "Kind",
    "Reason",
    "StreamFlag",
    "reason_body",
]

MAX_BLOCK = 65535
"""Longest Noise transport message, in bytes, tag included (Noise revision 34, section 3)."""

MAX_NAME = 255
"""Longest name of a message type, channel or stream protocol, in bytes of UTF-8."""

MAX_CODE = 32
MAX_WORDS = 1024

FRAME_COST = 64
"""What a message, request or fragment takes of the message window beyond the length of its body."""


class FrameType(IntEnum):
    """First byte of a frame."""

    PADDING = 0x00
    MESSAGE = 0x01
    REQUEST = 0x02
    REPLY = 0x03
    ERROR = 0x04
    CANCEL = 0x05
    FRAGMENT = 0x06
    FOLLOWS = 0x07
    DATAGRAM = 0x08
    STREAM_OPEN = 0x10
    STREAM_DATA = 0x11
    STREAM_WINDOW = 0x12
    STREAM_RESET = 0x13
    STREAM_STOP = 0x14
    PING = 0x20
    PONG = 0x21
    GO_AWAY = 0x22
    REKEY = 0x23
    HELLO = 0x24
    PEERS = 0x25
    SUCCESSION = 0x26
    ACK = 0x30
    INTRODUCE = 0x33
    # Reserved; a peer skips what it does not know.
    PATH_CHALLENGE = 0x31
    PATH_RESPONSE = 0x32


class Kind(IntEnum):
    """What a payload is: the low two bits of the flags of messages, requests, replies and datagrams."""

    JSON = 0
    BYTES = 1
    TEXT = 2


class StreamFlag(IntFlag):
    """Flags of STREAM_DATA."""

    END = 0x01


class FragmentFlag(IntFlag):
    """Flags of FRAGMENT."""

    LAST = 0x01
    REPLY_LANE = 0x02


class Reason(StrEnum):
    """Codes that go-away, error, reset and stop carry, followed by words for people."""

    CLOSED = "closed"
    REFUSED = "refused"
    LIMIT = "limit"
    SUPERSEDED = "superseded"
    PROTOCOL_ERROR = "protocol_error"
    TIMEOUT = "timeout"
    LOST = "lost"
    NO_HANDLER = "no_handler"
    HANDLER_ERROR = "handler_error"
    BAD_DATA = "bad_data"
    CANCELLED = "cancelled"
    RESET = "reset"


def reason_body(code: str, message: str) -> bytes:
    """Return code and words as error, reset, stop and go-away frames carry them: ``length:u8 | code | words``."""
    short = code.encode("ascii", "replace")[:MAX_CODE]
    return bytes([len(short)]) + short + message.encode("utf-8", "replace")[:MAX_WORDS]
