from __future__ import annotations

import math

import pytest

from librats._core.stun import parse, serialise
from librats.ice.gathering import Mapped, ReflexiveGatherer
from librats.ice.mapping_keeper import LEAST, MOST, MappingKeeper
from librats.stun.constants import Attribute, MessageClass, Method
from librats.stun.mapping_habits import MappingHabits, MappingTimes
from librats.stun.transaction import Retransmission
from librats.testing.entropy import SeededEntropy
from librats.types import Address

SERVERS = [Address("192.0.2.1", 3478), Address("192.0.2.2", 3478)]
SIX = Address("2001:db8::1", 3478)
PACE = Retransmission(rto=0.1, rc=5, rm=10)


class Wire:
    """A gatherer, servers that answer or not, and a NAT whose mapping dies of silence."""

    def __init__(self, *alive: Address, lifetime: float = math.inf) -> None:
        self.now = 10.0
        self.gatherer = ReflexiveGatherer(SeededEntropy(1), pace=PACE)
        self.alive = set(alive)
        self.lifetime = lifetime
        self.ports: dict[int, int] = {}
        self.last: dict[int, float] = {}
        self.asked: list[tuple[float, int, Address]] = []
        self.found: list[Mapped] = []

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            for base, data, server in self.gatherer.datagrams_to_send():
                self.asked.append((self.now, base, server))
                if self.now - self.last.get(base, self.now) > self.lifetime or base not in self.ports:
                    self.ports[base] = self.ports.get(base, 40000 + 100 * base) + 1
                self.last[base] = self.now
                if server in self.alive:
                    self.answer(base, data, server)
            while (event := self.gatherer.next_event()) is not None:
                self.found.append(event)
            at = self.gatherer.next_timer()
            if at is None or at > end:
                self.now = end
                return
            self.now = max(self.now, at)
            self.gatherer.handle_timer(now=self.now)

    def answer(self, base: int, request: bytes, server: Address) -> None:
        host = "2001:db8::9" if ":" in server.host else "203.0.113.9"
        mapped = [(Attribute.XOR_MAPPED_ADDRESS, (host, self.ports[base]))]
        data = serialise(Method.BINDING, MessageClass.SUCCESS_RESPONSE, parse(request).transaction_id, mapped)
        assert self.gatherer.receive_datagram(data, server, now=self.now, base=base)


def test_every_server_is_asked_at_once_from_every_base_of_its_family() -> None:
    wire = Wire(*SERVERS, SIX)
    wire.gatherer.add_base(0, 4, now=wire.now)
    wire.gatherer.add_base(1, 6, now=wire.now)
    for server in (*SERVERS, SIX, SIX):
        wire.gatherer.add_server(server, now=wire.now)
    wire.gatherer.add_base(2, 4, now=wire.now)
    wire.run(0.05)
    assert sorted((base, server) for _, base, server in wire.asked) == [
        *((0, server) for server in SERVERS),
        (1, SIX),
        *((2, server) for server in SERVERS),
    ]
    assert wire.gatherer.is_over
    assert {(event.base, event.address.port) for event in wire.found} == {(0, 40001), (1, 40101), (2, 40201)}


def test_a_dead_server_delays_nobody_but_is_waited_for() -> None:
    wire = Wire(SERVERS[0])
    wire.gatherer.add_base(0, 4, now=wire.now)
    for server in SERVERS:
        wire.gatherer.add_server(server, now=wire.now)
    wire.run(0.01)
    assert (wire.gatherer.is_enough, wire.gatherer.is_over) == (True, False)
    wire.run(5)
    assert (wire.gatherer.is_enough, wire.gatherer.is_over) == (True, True)
    assert sum(server == SERVERS[1] for _, _, server in wire.asked) == PACE.rc


def test_only_so_many_servers_are_asked() -> None:
    wire = Wire()
    wire.gatherer.add_base(0, 4, now=wire.now)
    for number in range(100):
        wire.gatherer.add_server(Address(f"192.0.2.{number + 1}", 3478), now=wire.now)
    wire.run(0.01)
    assert len(wire.asked) == 16


def test_the_first_mapping_of_a_base_is_kept_and_longer_silences_are_tried() -> None:
    wire = Wire(*SERVERS)
    wire.gatherer.add_base(0, 4, now=wire.now)
    for server in SERVERS:
        wire.gatherer.add_server(server, now=wire.now)
    wire.run(0.01)
    before = len(wire.asked)
    wire.run(3600)
    times = [at for at, _, _ in wire.asked[before:]]
    assert times[0] - 10.0 == pytest.approx(15.0)
    assert times[-1] - times[-2] == pytest.approx(MOST)
    assert {server for _, _, server in wire.asked[before:]} == {SERVERS[0]}
    assert {event.before for event in wire.found} == {None}


def test_a_mapping_that_dies_is_told_and_kept_better() -> None:
    wire = Wire(SERVERS[0], lifetime=40)
    wire.gatherer.add_base(0, 4, now=wire.now)
    wire.gatherer.add_server(SERVERS[0], now=wire.now)
    wire.run(7200)
    changes = [event for event in wire.found if event.before is not None]
    assert len(changes) == 1
    assert changes[0].before == Address("203.0.113.9", 40001)
    assert changes[0].address == Address("203.0.113.9", 40002)
    keeper = wire.gatherer.keeper
    assert keeper.longest_outlived < 40 < keeper.shortest_lost
    assert keeper.interval < 40


def test_what_else_is_sent_puts_a_keep_alive_off() -> None:
    wire = Wire(SERVERS[0])
    wire.gatherer.add_base(0, 4, now=wire.now)
    wire.gatherer.add_server(SERVERS[0], now=wire.now)
    wire.run(10)
    wire.gatherer.sent_from(0, now=wire.now)
    before = len(wire.asked)
    wire.run(14)
    assert len(wire.asked) == before
    wire.run(2)
    assert len(wire.asked) == before + 1


def test_nothing_is_kept_where_that_is_not_wanted() -> None:
    wire = Wire(SERVERS[0])
    wire.gatherer.add_base(0, 4, now=wire.now)
    wire.gatherer.add_server(SERVERS[0], now=wire.now)
    wire.run(1)
    wire.gatherer.keeps = False
    before = len(wire.asked)
    wire.run(3600)
    assert len(wire.asked) == before
    assert wire.gatherer.next_timer() is None


def test_a_server_that_falls_silent_is_asked_on() -> None:
    wire = Wire(SERVERS[0])
    wire.gatherer.add_base(0, 4, now=wire.now)
    wire.gatherer.add_server(SERVERS[0], now=wire.now)
    wire.run(1)
    wire.alive.clear()
    wire.run(600)
    wire.alive.add(SERVERS[0])
    before = len(wire.asked)
    wire.run(60)
    assert len(wire.asked) > before
    assert wire.gatherer.keeper.shortest_lost == math.inf


def test_a_base_that_is_gone_is_asked_from_no_more() -> None:
    wire = Wire(SERVERS[0])
    wire.gatherer.add_base(0, 4, now=wire.now)
    wire.gatherer.add_server(SERVERS[1], now=wire.now)
    wire.run(0.05)
    wire.gatherer.remove_base(0)
    assert wire.gatherer.is_over
    before = len(wire.asked)
    wire.run(100)
    assert len(wire.asked) == before


def test_after_a_change_of_network_everybody_is_asked_again() -> None:
    wire = Wire(*SERVERS)
    wire.gatherer.add_base(0, 4, now=wire.now)
    wire.gatherer.add_server(SERVERS[0], now=wire.now)
    wire.run(1)
    wire.ports[0] = 50000
    wire.gatherer.ask_again(now=wire.now)
    wire.run(0.01)
    assert wire.found[-1].address.port == 50000
    assert wire.found[-1].before is None


def test_what_is_no_answer_is_left_to_others() -> None:
    wire = Wire()
    wire.gatherer.add_base(0, 4, now=wire.now)
    assert not wire.gatherer.receive_datagram(b"data", SERVERS[0], now=wire.now, base=0)


def test_the_interval_stays_within_bounds() -> None:
    keeper = MappingKeeper()
    for _ in range(50):
        keeper.outlived(keeper.interval)
    assert keeper.interval == MOST
    for _ in range(50):
        keeper.lost(keeper.interval)
    assert keeper.interval == LEAST


def test_a_keeper_begins_with_what_is_known_and_tells_of_mappings_that_are_gone() -> None:
    habits = MappingHabits(MappingTimes(outlived=20.0, lost=30.0))
    keeper = MappingKeeper(habits)
    assert keeper.interval == 18.0
    for _ in range(9):
        keeper.outlived(keeper.interval)
    assert keeper.interval == 18.0
    keeper.lost(keeper.interval)
    assert habits.times.lost == 18.0


def test_short_silences_prove_nothing() -> None:
    keeper = MappingKeeper()
    for _ in range(50):
        keeper.outlived(1.0)
    assert keeper.interval == 15.0
