"""The record of a simulation: what was sent, lost and delivered, and when."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from librats.testing.packets import Packet

__all__ = ["Trace", "TraceEvent"]

DIGEST_SIZE = 8


class TraceEvent(NamedTuple):
    """One thing that happened."""

    time: float
    """Virtual seconds since the simulation began."""

    host: str
    """Name of the host or router where it happened; empty for the network as a whole."""

    what: str
    """``"sent"``, ``"lost"`` or ``"received"`` for packets; ``"note"`` for what a test noted or changed."""

    text: str
    """The packet: kind, addresses, place in its stream, length, a hash of its bytes, and why it is lost; or the words
    of a note."""

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.time!r} {self.host} {self.what} {self.text}"


class Trace:
    """Everything that happened, in order. Two runs with one seed have equal traces."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []
        """What happened."""

    def add(self, time: float, host: str, what: str, text: str) -> None:
        """Take note of something."""
        self.events.append(TraceEvent(time, host, what, text))

    def packet(self, time: float, host: str, what: str, packet: Packet, why: str = "") -> None:
        """Take note of a packet, and of why it is lost."""
        digest = hashlib.blake2b(packet.payload, digest_size=DIGEST_SIZE).hexdigest() if packet.payload else "-"
        text = (
            f"{packet.kind} {packet.source} {packet.destination} "
            f"{packet.sequence} {packet.edge} {len(packet.payload)} {digest}{why and f' {why}'}"
        )
        self.events.append(TraceEvent(time, host, what, text))

    def __str__(self) -> str:
        """Return every event as a line."""
        return "".join(f"{event}\n" for event in self.events)

    def digest(self) -> str:
        """Return a hash of the whole record, in hex."""
        whole = hashlib.blake2b(digest_size=32)
        for event in self.events:
            whole.update(f"{event}\n".encode())
        return whole.hexdigest()
