"""A table of uTP, and a peer that is written by hand: what it says, and what is answered."""

from __future__ import annotations

from typing import Any

from tests.simulation.joined_tables import INCOMING, Seeded

from librats._core.rudp_stream import RudpStream
from librats._core.utp import UtpTable
from librats._core.utp_packets import parse, serialise
from librats.types import Address

DATA, FIN, STATE, RESET, SYN = range(5)
PEER = Address("192.0.2.7", 6881)


class Hand:
    """A table, and what a peer written by hand says to it and hears from it."""

    def __init__(self, **settings: Any) -> None:
        self.table = UtpTable(Seeded("hand"), **settings)
        self.now = 1000.0
        self.conn_id = 7000
        self.number = 100
        self.theirs = 0

    def say(self, kind: int, source: Address = PEER, **fields: Any) -> list[dict[str, Any]]:
        """Say something, and return what is answered."""
        values: dict[str, Any] = {"conn_id": self.conn_id + 1, "number": self.number, "ack": self.theirs}
        packet = serialise(kind, **(values | {"window": 1 << 20, "timestamp": 1} | fields))
        assert self.table.receive([(packet, source)], self.now) == []
        return self.heard()

    def heard(self) -> list[dict[str, Any]]:
        return [parse(data) for data, _ in self.table.transmit(self.now)]

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Let time go by, and return what is said meanwhile."""
        found = []
        stop = self.now + seconds
        while (due := self.table.next_timer()) is not None and due <= stop:
            self.now = max(self.now, due)
            self.table.handle_timer(self.now)
            self.table.events()
            found += self.heard()
        self.now = stop
        return found

    def dial_in(self) -> RudpStream:
        """Open a stream as the peer, and say hello on it."""
        (answer,) = self.say(SYN, conn_id=self.conn_id, window=0)
        assert (answer["kind"], answer["conn_id"], answer["ack"]) == (STATE, self.conn_id, self.number)
        self.theirs = (answer["number"] - 1) & 0xFFFF
        self.number += 1
        self.say(DATA, payload=b"hello")
        self.number += 1
        (stream,) = [stream for stream, bits in self.table.events() if bits & INCOMING]
        assert stream.take() == b"hello"
        self.wait(0.1)
        return stream
