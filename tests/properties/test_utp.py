"""uTP over paths that lose, repeat, delay: every byte once and in order, or an end that both sides hear of."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.properties.test_rudp import Run, Side
from tests.simulation.joined_tables import CLOSED, END, FILLER, Link, Seeded, World, chances

from librats._core.utp import UtpTable
from librats._core.utp_packets import is_packet
from librats.types import Address

CONTROLS = ["ledbat", "model", "cubic", "yielding"]


class UtpRun(Run):
    """Two sides that speak uTP, the clock of one of them anywhere, a path between them, and what befalls it."""

    def __init__(self, seed: int, *, restarts: bool) -> None:
        self.chance = chances(seed)
        self.world = World(seed)
        self.mtu = self.chance.choice([1280, 1500, 9000])
        window = self.chance.choice([5000, 100_000, 1 << 20])
        self.a = self.world.end("10.0.0.1", kind=UtpTable, control=self.chance.choice(CONTROLS))
        self.b = self.world.end(
            "10.0.0.2", kind=UtpTable, receive_window=window, ahead=self.chance.choice([0, -999.5, 3000])
        )
        self.world.join(self.a, self.b)
        for link in (*self.a.links.values(), *self.b.links.values()):
            self.spoil(link)
        sizes = [self.chance.choice([0, 1, 1200, 30_000, 300_000]) for _ in range(2)]
        self.near = Side(self.a, sizes[0], self.chance)
        self.far = Side(self.b, sizes[1], self.chance)
        self.near.stream = self.a.dial(self.b, tries=8)
        self.keyed = self.moves = False
        self.restarts = restarts
        self.fresh = None
        self.silent = []

    def spoil(self, link: Link) -> None:
        super().spoil(link)
        link.mtu = self.mtu  # where it shrinks, a socket has to fragment


def run(seed: int, *, restarts: bool) -> UtpRun:
    case = UtpRun(seed, restarts=restarts)
    case.finish()
    case.check()
    return case


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32), st.booleans())
def test_every_byte_arrives_once_and_in_order_or_both_hear_of_the_end(seed: int, restarts: bool) -> None:
    run(seed, restarts=restarts)


def test_on_a_path_that_only_loses_everything_arrives() -> None:
    whole = 0
    for seed in range(30):
        case = run(seed, restarts=False)
        assert case.near.stream is not None
        assert case.near.stream.cause in {1, 4, 6}, seed
        whole += case.near.stream.cause == 1
    assert whole >= 25


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_great_many_runs() -> None:
    for seed in range(10_000):
        run(seed, restarts=seed % 5 == 0)


# Bytes from anybody.


@settings(max_examples=150)
@given(st.integers(0, 1 << 32))
def test_hostile_packets_never_harm_more_than_their_stream(seed: int) -> None:
    """Packets of a real stream, damaged, cut and joined, at tables that know it and that do not."""
    chance = chances(seed)
    world = World(seed)
    a, b = world.end("10.0.0.1", kind=UtpTable), world.end("10.0.0.2", kind=UtpTable)
    world.join(a, b, delay=0.001, loss=0.05)
    for end in (a, b):
        end.keeps_sent = True
    stream = a.dial(b)
    world.run(0.1)
    stream.write(FILLER[:20_000])
    a.wake()
    world.run(0.2)
    stranger = UtpTable(Seeded(seed), max_half_open=chance.choice([1, 5]))
    seen = [data for end in (a, b) for _, data in end.sent]
    heard = 0
    for _ in range(60):
        data = bytearray(chance.choice(seen))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 255, chance.randrange(256)])
        cut = bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data)
        source = Address("10.0.0.1" if chance.random() < 0.5 else "10.0.0.2", 4000)
        for table in (a.table, b.table, stranger):
            assert table.receive([(cut, source)], world.now) == ([] if is_packet(cut) else [(cut, source)])
            heard += len(table.transmit(world.now))
            table.events()
    assert len(stranger) <= 5
    for table in (a.table, b.table, stranger):
        table.handle_timer(world.now + 1)
        table.transmit(world.now + 1)
        for found, bits in table.events():
            assert bits & ~(CLOSED | END) >= 0
            found.take()
    assert heard < 2000


@settings(max_examples=100)
@given(st.integers(0, 1 << 32))
def test_who_guesses_disturbs_no_stream(seed: int) -> None:
    """Packets under the right address, with anything in them, from somebody who sees none of the stream's."""
    chance = chances(seed)
    world = World(seed)
    a, b = world.end("10.0.0.1", kind=UtpTable), world.end("10.0.0.2", kind=UtpTable)
    world.join(a, b, delay=0.01)
    stream = a.dial(b)
    world.run(0.1)
    stream.write(FILLER[:5000])
    a.wake()
    world.run(0.1)
    (far,) = b.streams
    for _ in range(300):
        forged = bytes([chance.choice([0x01, 0x11, 0x21, 0x31, 0x41]), 0]) + chance.randbytes(chance.choice([18, 30]))
        b.inbox.append((forged, a.address))
    stream.write(FILLER[5000:10_000])
    a.wake()
    b.wake()
    world.run(2)
    assert (stream.is_open, far.is_open) == (True, True)
    assert far.take() == FILLER[:10_000]
