"""Streams over paths that lose, repeat, delay: every byte once and in order, or an end that both sides hear of."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.simulation.joined_tables import CLOSED, END, FILLER, INCOMING, End, Link, Seeded, World, chances

from librats._core.rudp import RudpTable
from librats._core.rudp_stream import RudpStream
from librats.runtime.rudp import FIRST_BYTE_TIMEOUT
from librats.types import Address

PATTERN = chances(7).randbytes(1 << 20)
KEYS = bytes(range(32)), bytes(range(32, 64))


class Side:
    """Writes a pattern in pieces, reads in pieces, finishes, and checks what it reads."""

    def __init__(self, end: End, size: int, chance: random.Random) -> None:
        self.end, self.size, self.chance = end, size, chance
        self.written = self.read = 0
        self.stream: RudpStream | None = None
        self.has_finished = False

    def go_on(self) -> None:
        stream = self.stream
        if stream is None:
            return
        if stream.is_open and self.written < self.size:
            piece = self.chance.choice([1, 100, 1200, 5000, 100_000])
            self.written += stream.write(PATTERN[self.written : min(self.size, self.written + piece)])
        if self.written == self.size and not self.has_finished:
            self.has_finished = True
            stream.finish()
        got = stream.take(self.chance.choice([-1, 1, 1000, 50_000]))
        assert got == PATTERN[self.read : self.read + len(got)]
        self.read += len(got)
        self.end.wake()


class Run:
    """Two sides, a path between them, and what befalls it."""

    def __init__(self, seed: int, *, extended: bool, keyed: bool, restarts: bool) -> None:
        self.chance = chances(seed)
        self.world = World(seed)
        control = self.chance.choice(["model", "cubic", "yielding"])
        cookie_after = self.chance.choice([0, 1024])
        self.a = self.world.end("10.0.0.1", control=control, extended=extended)
        self.b = self.world.end("10.0.0.2", control=control, cookie_after=cookie_after)
        self.world.join(self.a, self.b)
        for link in (*self.a.links.values(), *self.b.links.values()):
            self.spoil(link)
        sizes = [self.chance.choice([0, 1, 1200, 30_000, 300_000]) for _ in range(2)]
        self.near = Side(self.a, sizes[0], self.chance)
        self.far = Side(self.b, sizes[1], self.chance)
        self.near.stream = self.a.dial(self.b, tries=8)
        self.keyed = keyed and extended
        self.restarts = restarts
        self.moves = self.keyed and self.chance.random() < 0.5
        self.fresh: End | None = None
        self.silent: list[tuple[RudpStream, float]] = []

    def spoil(self, link: Link) -> None:
        chance = self.chance
        link.delay = chance.choice([0.0005, 0.01, 0.1])
        link.loss = chance.choice([0.0, 0.01, 0.1, 0.3])
        link.copied = chance.choice([0.0, 0.05])
        link.reordered = chance.choice([0.0, 0.1, 0.5])
        link.jitter = chance.choice([0.001, 0.05])
        link.rate = chance.choice([1e6, 1e7])
        link.queue = chance.choice([15_000, 1e9])
        link.mtu = chance.choice([1280, 1500, 9000])

    def agree(self) -> None:
        near, far = self.near.stream, self.far.stream
        if near is not None and far is not None and near.is_open and not far.is_closed:
            self.keyed = False
            near.set_key(*KEYS)
            far.set_key(KEYS[1], KEYS[0])

    def finish(self, seconds: float = 600) -> None:
        stop = self.world.now + seconds
        next_event = self.world.now + self.chance.uniform(0.5, 5)
        while self.world.now < stop:
            if self.far.stream is None and self.b.streams:
                self.far.stream = self.b.streams[0]
            if self.keyed:
                self.agree()
            else:
                self.near.go_on()
                self.far.go_on()
            self.a.wake()
            self.part_with_silent()
            self.world.run(self.chance.choice([0.005, 0.05]))
            if self.world.now > next_event:
                next_event = self.world.now + self.chance.uniform(0.5, 20)
                self.befall()
            if self.is_over():
                return

    def befall(self) -> None:
        if self.restarts and self.far.stream is not None and self.chance.random() < 0.3:
            self.restarts = False
            fresh = self.fresh = self.world.end("10.0.0.2", kind=type(self.b.table))
            fresh.links = self.b.links
            fresh.on_event = self.hear_fresh
            self.b.is_up = False
        elif self.moves:
            self.move()
        else:
            self.spoil(self.chance.choice([*self.a.links.values(), *self.b.links.values()]))

    def hear_fresh(self, stream: RudpStream, what: int) -> None:
        """Take a stream that a Syn opens which was on its way while the other side began anew."""
        if what & INCOMING:
            self.silent.append((stream, self.world.now + FIRST_BYTE_TIMEOUT))

    def part_with_silent(self) -> None:
        """Do as ports and sessions do with a stream without a beginning, of which the dialer may expect something."""
        while self.fresh is not None and self.silent and self.silent[0][1] <= self.world.now:
            stream, _ = self.silent.pop(0)
            if not stream.is_closed:
                stream.reset()
                self.fresh.wake()

    def move(self) -> None:
        """The NAT before the dialer begins anew: its packets have another source from now on."""
        old = next(iter(self.b.links))
        new = Address("10.9.9.9", self.chance.randrange(1, 60_000))
        self.b.links[new] = self.b.links.pop(old)
        deliver = type(self.world).deliver

        def translated(data: bytes, source: Address, target: Address) -> None:
            here = self.a.address
            deliver(self.world, data, new if source == here else source, here if target == new else target)

        self.world.deliver = translated  # type: ignore[method-assign]

    def is_over(self) -> bool:
        near, far = self.near.stream, self.far.stream
        if near is None or not near.is_closed or near.readable:
            return False
        return far is None or not self.b.is_up or (far.is_closed and not far.readable)

    def check(self) -> None:
        near, far = self.near, self.far
        assert self.is_over(), "neither everything nor an end"
        assert near.stream is not None
        if near.stream.cause == 1 and self.b.is_up:
            assert far.read == near.size
            assert near.read == far.size
        if far.stream is not None and far.stream.cause == 1:
            assert far.read + far.stream.readable == near.size


def run(seed: int, *, extended: bool, keyed: bool, restarts: bool) -> Run:
    case = Run(seed, extended=extended, keyed=keyed, restarts=restarts)
    case.finish()
    case.check()
    return case


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32), st.booleans(), st.booleans(), st.booleans())
def test_every_byte_arrives_once_and_in_order_or_both_hear_of_the_end(
    seed: int, extended: bool, keyed: bool, restarts: bool
) -> None:
    run(seed, extended=extended, keyed=keyed, restarts=restarts)


def test_on_a_path_that_only_loses_everything_arrives() -> None:
    for seed in range(30):
        case = run(seed, extended=seed % 3 > 0, keyed=seed % 3 > 1, restarts=False)
        assert case.near.stream is not None
        assert case.near.stream.cause in {1, 4, 6}, seed


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_great_many_runs() -> None:
    for seed in range(20_000):
        run(seed, extended=seed % 4 > 0, keyed=seed % 2 > 0, restarts=seed % 5 == 0)


# Bytes from anybody.


@settings(max_examples=200)
@given(st.integers(0, 1 << 32))
def test_hostile_packets_never_harm_more_than_their_stream(seed: int) -> None:
    """Packets of a real session, damaged, cut and joined, at tables that know it and that do not."""
    chance = chances(seed)
    world = World(seed)
    a, b = world.end("10.0.0.1", extended=chance.random() < 0.7), world.end("10.0.0.2")
    world.join(a, b, delay=0.001, loss=0.05)
    for end in (a, b):
        end.keeps_sent = True
    stream = a.dial(b)
    world.run(0.1)
    stream.write(FILLER[:20_000])
    a.wake()
    world.run(0.2)
    stranger = RudpTable(entropy=Seeded(seed), cookie_after=chance.choice([0, 5]))
    seen = [data for end in (a, b) for _, data in end.sent]
    heard = 0
    for _ in range(60):
        data = bytearray(chance.choice(seen))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 255, chance.randrange(256)])
        cut = bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data)
        if not cut or not 0x10 <= cut[0] <= 0x16:
            continue
        source = Address("10.0.0.1" if chance.random() < 0.5 else "10.0.0.2", 4000)
        for table in (a.table, b.table, stranger):
            assert table.receive([(cut, source)], world.now) == []
            heard += len(table.transmit(world.now))
            table.events()
    for table in (a.table, b.table, stranger):
        table.handle_timer(world.now + 1)
        table.transmit(world.now + 1)
        for found, bits in table.events():
            assert bits & ~(CLOSED | END) >= 0
            found.take()
    assert heard < 100_000
