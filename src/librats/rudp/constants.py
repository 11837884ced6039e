"""Numbers of the protocol, and what a stream is told, with names."""

from __future__ import annotations

from enum import IntEnum, IntFlag, StrEnum

__all__ = ["Body", "CloseCause", "CongestionControl", "PacketFlag", "PacketKind", "StreamEvent"]


class PacketKind(IntEnum):
    """What a packet is for: the low half of its first byte."""

    SYN = 0
    DATA = 1
    ACK = 2
    FIN = 3
    RESET = 4
    RETRY = 5
    EXTENDED = 6
    """Between two of ours only: librats 2 drops it."""


class PacketFlag(IntFlag):
    """Flags in the packets of librats 2."""

    SACK = 1
    """The word of selective acknowledgement follows the header."""

    EXTENDED = 2
    """In a Syn: the dialer is one of ours. In what answers it: so are we. librats 2 ignores it."""


class Body(IntEnum):
    """What a packet between two of ours carries."""

    NONE = 0
    DATA = 1
    DATAGRAM = 2
    PING = 3
    CHALLENGE = 4
    RESPONSE = 5
    RESET = 6


class StreamEvent(IntFlag):
    """What a stream is told; :meth:`RudpTable.events` gives the bits that were set since the last call."""

    INCOMING = 1
    """A peer opened it."""

    OPEN = 2
    """Both sides know of it."""

    READABLE = 4
    """There is more to read."""

    WRITABLE = 8
    """A write that was cut short may go on."""

    END = 16
    """The peer has finished: behind what can be read, nothing follows."""

    CLOSED = 32
    """It is over; ``cause`` tells why. What had come can still be read."""

    MOVED = 64
    """The peer is at another address now."""

    DATAGRAM = 128
    """Unreliable datagrams have come."""


class CloseCause(IntEnum):
    """Why a stream is closed."""

    NONE = 0
    """It is not."""

    FINISHED = 1
    """Both sides have finished, and everything has arrived."""

    RESET = 2
    """The peer gave it up, or does not know it any more."""

    REFUSED = 3
    """The peer did not let it open."""

    NO_ANSWER = 4
    """Nobody answered the Syns."""

    IDLE = 5
    """Nothing was heard for too long."""

    LOST = 6
    """The peer acknowledges nothing any more."""

    LOCAL = 7
    """It was given up here."""

    PROTOCOL = 8
    """The peer broke the rules."""


class CongestionControl(StrEnum):
    """How the sending rate of a stream is found."""

    MODEL = "model"
    """By a model of the path, its rate and its least round trip, after BBR: fast on paths that lose packets."""

    CUBIC = "cubic"
    """By losses (RFC 9438)."""

    YIELDING = "yielding"
    """By the queue it makes (after RFC 6817): it leaves the path to others."""
