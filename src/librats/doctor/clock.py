"""How far this host's clock is off: one question to a time server (SNTP, RFC 5905, section 14)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from librats.errors import DecodeError
from librats.stun.transaction import Retransmission, Transaction
from librats.types import Address, Entropy

__all__ = ["TIME_PORT", "ClockCheck", "TimeAnswer", "read_answer"]

TIME_PORT = 123
PACKET_SIZE = 48
CLIENT = 0x23  # version 4, mode 3
SERVER_MODE = 4
MAX_STRATUM = 15
UNSYNCHRONIZED = 3
UNIX_EPOCH = 2_208_988_800
"""Seconds from 1900, where the protocol's time begins, to 1970."""
ERA = 1 << 32
PACE = Retransmission(rto=0.7, rc=3, rm=2)


@dataclass(frozen=True, slots=True)
class TimeAnswer:
    """What a server has said."""

    cookie: bytes
    """The eight bytes that it was asked with."""

    received: float
    """When the question came, in seconds since 1970."""

    sent: float
    """When the answer left."""


def read_answer(data: bytes, *, around: float) -> TimeAnswer:
    """Read an answer.

    Args:
        data: The datagram.
        around: What time it is by this host's clock, in seconds since 1970: which of the protocol's eras of 136 years
            is meant.

    Raises:
        DecodeError: It is none, or its sender does not know the time.

    Example:
        >>> answer = bytes([0x24, 1]) + bytes(22) + b"question" + bytes([0xEB, 0, 0, 0, 0, 0, 0, 0]) * 2
        >>> read_answer(answer, around=1.7e9).sent
        1733656960.0
    """
    if len(data) < PACKET_SIZE:
        raise DecodeError("an answer of a time server is longer", len(data))
    first, stratum = data[0], data[1]
    if first & 7 != SERVER_MODE or first >> 6 == UNSYNCHRONIZED or not 0 < stratum <= MAX_STRATUM:
        raise DecodeError("not the answer of a server that knows the time", 0)
    received, sent = (_seconds(data[at : at + 8], around) for at in (32, 40))
    return TimeAnswer(bytes(data[24:32]), received, sent)


def _seconds(timestamp: bytes, around: float) -> float:
    seconds, fraction = struct.unpack("!II", timestamp)
    since = seconds - UNIX_EPOCH + fraction / ERA
    return float(since + round((around - since) / ERA) * ERA)


class ClockCheck:
    """Asks one server until it answers.

    Args:
        server: IP address and port.
        entropy: Where the cookie comes from, which takes the place of our own time: nobody needs to know that.
        now: When it begins, in seconds of any clock that goes steadily.
        wall: What this host's clock says less ``now``, in seconds since 1970.
    """

    def __init__(self, server: Address, *, entropy: Entropy, now: float, wall: float) -> None:
        self._server = server
        self._wall = wall
        self._cookie = entropy.token_bytes(8)
        self._transaction = Transaction(PACE, now=now)
        self._sent_at = now
        self._outgoing: list[tuple[int, bytes, Address]] = []
        self.offset: float | None = None
        """Seconds by which the server's clock is ahead of this host's; None where it has not answered."""
        self.is_over = False
        """Whether it has answered, or was given up."""
        self.handle_timer(now=now)

    def handle_timer(self, *, now: float) -> None:
        """Ask again, or give up."""
        if self._transaction.is_over(now):
            self.is_over = True
        elif self._transaction.is_due(now):
            self._sent_at = now
            self._outgoing.append((0, bytes([CLIENT]) + bytes(39) + self._cookie, self._server))

    def next_timer(self) -> float | None:
        """Return when there is something to do."""
        return None if self.is_over else self._transaction.next_timer

    def datagrams_to_send(self) -> list[tuple[int, bytes, Address]]:
        """Take what is to be sent: number of the socket, data, address."""
        sending, self._outgoing = self._outgoing, []
        return sending

    def receive_datagram(self, data: bytes, addr: Address, *, now: float, socket: int = 0) -> None:
        """Take an answer."""
        if self.is_over or addr[:2] != self._server[:2]:
            return
        try:
            answer = read_answer(data, around=now + self._wall)
        except DecodeError:
            return
        if answer.cookie != self._cookie:
            return
        self.is_over = True
        there = (answer.received - (self._sent_at + self._wall)) + (answer.sent - (now + self._wall))
        self.offset = there / 2
