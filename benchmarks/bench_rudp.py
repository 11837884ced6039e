"""The engine of streams over datagrams alone: two tables joined in memory, beside a bare loop in Python."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.conftest import Stage

from librats._core.rudp import RudpTable
from librats._core.rudp_stream import RudpStream
from librats.cli.measuring.contest import Contender, Contest, Target, at_least
from librats.cli.measuring.sealing import operations_rate
from librats.rudp.constants import StreamEvent
from librats.runtime.entropy import SystemEntropy
from librats.types import Address

ROUNDS = 5
HERE, THERE = Address("192.0.2.1", 4000), Address("192.0.2.2", 4000)
PIECE = bytes(262_144)
TICK = 0.0002
# A slice, a header and a dictionary for each packet: what a machine in Python could not do without.
FLOOR = "a loop in Python"


class Joined:
    """Two tables, and a stream that carries as much as it can."""

    def __init__(self, *, size: int, keyed: bool, extended: bool = True) -> None:
        self.now = 1000.0
        self.a = RudpTable(entropy=SystemEntropy(), max_datagram=size, extended=extended)
        self.b = RudpTable(entropy=SystemEntropy(), max_datagram=size)
        self.near = self.a.dial(THERE, self.now)
        self.streams: list[RudpStream] = []
        self.buffer = bytearray(1 << 20)
        self.packets = 0
        while not (self.streams and self.near.is_open):
            self.round()
        if keyed:
            first, second = bytes(32), bytes(range(32))
            self.near.set_key(first, second)
            self.streams[0].set_key(second, first)
        for _ in range(200):
            self.round()

    def round(self) -> None:
        self.now += TICK
        if self.near.is_open:
            self.near.write(PIECE)
        out = self.a.transmit(self.now)
        self.packets += len(out)
        self.b.receive([(data, HERE) for data, _ in out], self.now)
        for stream, bits in self.b.events():
            if bits & StreamEvent.INCOMING:
                self.streams.append(stream)
        for stream in self.streams:
            while stream.read_into(self.buffer):
                pass
        self.a.receive([(data, THERE) for data, _ in self.b.transmit(self.now)], self.now)
        self.a.events()
        for table in (self.a, self.b):
            due = table.next_timer()
            if due is not None and due <= self.now:
                table.handle_timer(self.now)

    def carry(self, packets: int) -> None:
        until = self.packets + packets
        while self.packets < until:
            self.round()


def loop_in_python(size: int) -> Callable[[], object]:
    """Return what cuts a megabyte into packets with headers and joins it again, by a dictionary of numbers."""
    data = bytes(1 << 20)
    step = size - 20

    def run() -> object:
        way: dict[int, bytes] = {}
        for number, at in enumerate(range(0, len(data), step)):
            way[number] = b"\x16\0\0\1" + number.to_bytes(8) + at.to_bytes(4) + data[at : at + step]
        return b"".join(way.pop(number)[16:] for number in sorted(way))

    return run


def hold(stage: Stage, figure: str, *, size: int, keyed: bool, target: Target, extended: bool = True) -> None:
    joined = Joined(size=size, keyed=keyed, extended=extended)
    packets = (1 << 20) // (size - 20) + 1
    contest = Contest(
        figure,
        "packets/s",
        [
            Contender("librats", lambda: operations_rate(lambda: joined.carry(packets), stage.scaled(200), packets)),
            Contender(FLOOR, lambda: operations_rate(loop_in_python(size), stage.scaled(200), packets)),
        ],
    )
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside(FLOOR, target))


def bench_packets_of_librats_2(stage: Stage) -> None:
    hold(stage, "packets of librats 2", size=1220, keyed=False, extended=False, target=at_least(0.5))


def bench_packets_with_a_tag(stage: Stage) -> None:
    hold(stage, "packets of 1472 bytes with a tag", size=1472, keyed=True, target=at_least(0.2))


def bench_packets_without_a_tag(stage: Stage) -> None:
    hold(stage, "packets of 1472 bytes without a tag", size=1472, keyed=False, target=at_least(0.5))
