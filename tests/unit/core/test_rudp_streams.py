"""Streams over datagrams, joined in virtual time: opening, closing, buffers, limits, what is ours beside librats 2."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from tests.simulation.joined_tables import (
    CLOSED,
    DATAGRAM,
    END,
    FILLER,
    INCOMING,
    MOVED,
    OPEN,
    READABLE,
    WRITABLE,
    End,
    Pump,
    Seeded,
    World,
)

from librats._core.rudp import RudpTable
from librats._core.rudp_packets import parse, serialise
from librats._core.rudp_stream import RudpStream
from librats.errors import ConfigError, UsageError
from librats.rudp.config import DialTries, RudpConfig
from librats.rudp.constants import CloseCause, CongestionControl, PacketKind, StreamEvent
from librats.types import Address

KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))
BOTH = pytest.mark.parametrize("extended", [True, False], ids=["ours", "librats2"])


class Pair:
    """Two ends, and a stream between them."""

    def __init__(self, *, extended: bool = True, seed: object = 0, delay: float = 0.01, **link: Any) -> None:
        self.world = World(seed)
        self.a = self.world.end("10.0.0.1", extended=extended)
        self.b = self.world.end("10.0.0.2")
        self.world.join(self.a, self.b, delay=delay, **link)
        self.events: dict[RudpStream, int] = {}
        for end in (self.a, self.b):
            end.on_event = self.note
        self.near = self.a.dial(self.b)
        self.world.run(1.0, until=lambda: self.near.is_open and bool(self.b.streams))
        (self.far,) = self.b.streams

    def note(self, stream: RudpStream, bits: int) -> None:
        self.events[stream] = self.events.get(stream, 0) | bits

    def run(self, seconds: float = 1.0) -> None:
        self.a.wake()
        self.b.wake()
        self.world.run(seconds)

    def agree(self) -> None:
        """Exchange a first message each way, and set the keys, as a handshake does."""
        self.near.write(b"hello")
        self.run(0.1)
        assert self.far.take() == b"hello"
        self.near.set_key(KEY, OTHER_KEY)
        self.far.set_key(OTHER_KEY, KEY)
        self.run(0.2)
        assert self.near.is_agreed
        assert self.far.is_agreed


@BOTH
def test_a_stream_opens_carries_bytes_both_ways_and_ends(extended: bool) -> None:
    pair = Pair(extended=extended)
    assert (pair.near.is_extended, pair.far.is_extended) == (extended, extended)
    assert pair.near.number + 1 == pair.far.number
    assert pair.near.address == pair.b.address
    assert pair.far.address == pair.a.address
    assert pair.near.write(b"there") == 5
    assert pair.far.write(b"back") == 4
    pair.run()
    assert (pair.far.readable, pair.far.take(2), pair.far.take()) == (5, b"th", b"ere")
    buffer = bytearray(3)
    assert (pair.near.read_into(buffer), bytes(buffer), pair.near.take()) == (3, b"bac", b"k")
    pair.near.finish()
    assert (pair.near.write(b"more"), pair.near.writable) == (0, 0)
    pair.run()
    assert (pair.far.has_ended, pair.near.has_ended) == (True, False)
    assert pair.far.write(b"last") == 4
    pair.far.finish()
    pair.run()
    assert pair.near.take() == b"last"
    assert pair.near.has_ended
    assert {pair.near.cause, pair.far.cause} == {CloseCause.FINISHED}
    assert pair.events[pair.far] & (INCOMING | OPEN | READABLE | END | CLOSED)
    pair.run(3)
    assert (len(pair.a.table), len(pair.b.table)) == (0, 0)


def test_the_names_of_what_is_told_are_those_of_the_machine() -> None:
    assert [StreamEvent.INCOMING, StreamEvent.OPEN, StreamEvent.READABLE, StreamEvent.WRITABLE] == [1, 2, 4, 8]
    assert [StreamEvent.END, StreamEvent.CLOSED] == [END, CLOSED]
    assert [StreamEvent.MOVED, StreamEvent.DATAGRAM] == [MOVED, DATAGRAM]


@BOTH
def test_a_reset_ends_both_sides_at_once(extended: bool) -> None:
    pair = Pair(extended=extended)
    pair.near.write(b"lost")
    pair.near.reset()
    assert pair.near.cause == CloseCause.LOCAL
    pair.run(0.1)
    assert pair.far.cause == CloseCause.RESET
    assert (len(pair.a.table), len(pair.b.table)) == (0, 0)


def test_a_stream_that_nobody_holds_is_given_up() -> None:
    pair = Pair()
    pair.a.streams.clear()
    pair.events.clear()
    del pair.near
    gc.collect()
    pair.run(0.1)
    assert pair.far.cause == CloseCause.RESET


@BOTH
def test_a_finished_stream_that_nobody_holds_hands_over_its_last_bytes(extended: bool) -> None:
    pair = Pair(extended=extended)
    pair.near.write(FILLER[:200_000])
    pair.near.finish()
    pair.a.streams.clear()
    pair.events.clear()
    del pair.near
    gc.collect()
    pair.run(3)
    assert pair.far.take() == FILLER[:200_000]
    assert pair.far.has_ended
    pair.run(4)
    assert len(pair.a.table) == 0


@BOTH
def test_a_reader_that_does_not_read_stops_the_writer_and_starts_it_again(extended: bool) -> None:
    pair = Pair(extended=extended)
    written = 0
    for _ in range(200):
        written += pair.near.write(FILLER[written % 256 :])
        pair.run(0.05)
    waiting = pair.far.readable
    assert 1_000_000 < waiting <= (1 << 20 if extended else 1025 * 1200)
    assert written < waiting + 6_000_000
    assert pair.near.writable == 0
    got = bytearray()
    for _ in range(400):
        got += pair.far.take()
        pair.run(0.05)
    assert len(got) == written
    assert pair.events[pair.near] & WRITABLE
    pattern = FILLER[:256]
    assert got == pattern * (written // 256) + pattern[: written % 256]


@pytest.mark.parametrize("lost", [0.3, 0.6])
def test_a_window_that_opens_again_is_heard_of_on_a_lossy_path(lost: float) -> None:
    pair = Pair()
    while pair.near.write(FILLER):
        pair.run(0.3)
    for link in (pair.a.links[pair.b.address], pair.b.links[pair.a.address]):
        link.loss = lost
    before = pair.far.statistics()["bytes_received"]
    pair.far.take()
    pair.run(20)
    assert pair.far.statistics()["bytes_received"] > before


def test_numbers_and_offsets_pass_their_ends() -> None:
    for extended in (True, False):
        pair = Pair(extended=extended, seed=extended)
        pair.run()
        edge = (1 << 32) - 40
        pair.near.renumber(edge, edge - 7, edge - 1000, edge - 90_000)
        pair.far.renumber(edge - 7, edge, edge - 90_000, edge - 1000)
        pair.a.links[pair.b.address].loss = 0.05
        data = FILLER[:250_000]
        assert pair.near.write(data[:150_000]) == 150_000
        assert pair.far.write(data) == len(data)
        pair.run(0.5)
        pair.near.write(data[150_000:])
        got = bytearray()
        for _ in range(100):
            pair.run(0.1)
            got += pair.far.take()
        assert got == data


def test_unreliable_datagrams_go_beside_the_stream() -> None:
    pair = Pair()
    assert pair.near.max_datagram == 1200
    assert pair.near.send_datagram(b"one")
    assert pair.near.send_datagram(bytes(1200))
    assert not pair.near.send_datagram(bytes(1201))
    pair.run()
    assert pair.far.take_datagrams() == [b"one", bytes(1200)]
    assert pair.far.take_datagrams() == []
    assert pair.events[pair.far] & DATAGRAM
    for _ in range(1000):
        pair.near.send_datagram(bytes(1000))
    pair.run()
    assert 0 < len(pair.far.take_datagrams()) <= 66
    assert not Pair(extended=False).near.send_datagram(b"librats 2 has none")


def test_lost_datagrams_stay_lost() -> None:
    pair = Pair()
    pair.run()
    pair.a.links[pair.b.address].loss = 1.0
    pair.near.send_datagram(b"gone")
    pair.run(0.3)
    pair.a.links[pair.b.address].loss = 0.0
    pair.near.send_datagram(b"here")
    pair.run(5)
    assert pair.far.take_datagrams() == [b"here"]


def test_packets_grow_as_far_as_the_path_takes_them() -> None:
    for mtu, wanted in ((1500, 1472), (1280, 1220), (9000, 8932), (1 << 16, 65487)):
        pair = Pair(mtu=mtu, delay=0.001)
        pump = Pump(pair.a, pair.b, 30_000_000)
        pair.world.run(10)
        assert pump.arrived == 30_000_000
        assert pump.stream.statistics()["datagram"] in range(wanted - 32, wanted + 32)


def test_packets_shrink_where_the_path_takes_less() -> None:
    pair = Pair(mtu=9000, delay=0.01, rate=1e7)
    pump = Pump(pair.a, pair.b)
    pair.world.run(3)
    assert pump.stream.statistics()["datagram"] > 8000
    pair.a.links[pair.b.address].mtu = 1500
    before = pump.arrived
    pair.world.run(12)
    assert pump.stream.statistics()["datagram"] <= 1472
    assert pump.arrived > before + 20_000_000


def test_an_idle_stream_keeps_little_memory() -> None:
    pair = Pair()
    pair.near.write(FILLER[:200_000])
    pair.run()
    pair.far.take()
    assert pair.near.statistics()["memory"] > 100_000
    pair.run(5)
    assert pair.near.statistics()["memory"] < 6_000
    assert pair.far.statistics()["memory"] < 6_000


@BOTH
def test_how_long_an_end_is_silent_can_be_said_at_any_time_but_librats2_hears_as_often_as_ever(extended: bool) -> None:
    def sent_in(seconds: float) -> int:
        before = pair.a.table.counters["sent"]
        pair.run(seconds)
        return pair.a.table.counters["sent"] - before

    pair = Pair(extended=extended)
    if extended:
        pair.agree()
    pair.run(5)
    usual = sent_in(300)
    pair.a.table.speak_within(20.0)
    assert (sent_in(300) < usual) is extended
    pair.run(1)
    pair.a.table.speak_within(4.0)
    assert sent_in(4.5) >= 1
    assert sent_in(300) > 1.5 * usual
    assert pair.near.is_open


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings in ({"control": "none"}, {"max_datagram": 100}, {"max_streams": 0}, {"idle_timeout": 0}):
        with pytest.raises(UsageError):
            RudpTable(entropy=Seeded(1), **settings)
        with pytest.raises(ConfigError):
            RudpConfig(**settings)
    with pytest.raises(ConfigError):
        RudpConfig(receive_window=1 << 27)
    table = RudpConfig(control=CongestionControl.CUBIC, max_streams=1).new_table(Seeded(1))
    with pytest.raises(UsageError):
        table.dial(Address("not an address", 1), 0.0)
    with pytest.raises(UsageError):
        table.speak_within(0.0)
    stream = table.dial(Address("192.0.2.1", 1), 0.0, **vars_of(DialTries.punch()))
    assert stream.control == "cubic"
    stream.control = "yielding"
    assert stream.control == "yielding"
    with pytest.raises(UsageError):
        table.dial(Address("192.0.2.1", 1), 0.0)
    with pytest.raises(UsageError):
        stream.set_key(KEY, KEY)


def vars_of(tries: DialTries) -> dict[str, Any]:
    return {"tries": tries.tries, "wait": tries.wait, "doubling": tries.doubling}


def test_a_table_gives_up_all_at_once() -> None:
    pair = Pair()
    pair.a.table.reset_all()
    pair.run(0.1)
    assert pair.far.cause == CloseCause.RESET
    assert len(pair.a.table) == 0


# Floods.


def syn(number: int, cookie: bytes = b"") -> bytes:
    return serialise(PacketKind.SYN, conn_id=number, number=1, window=1024, payload=cookie)


def test_forged_dials_are_bounded_and_never_answered_with_more() -> None:
    table = RudpTable(entropy=Seeded(1), max_streams=50, cookie_after=20)
    now = 0.0
    held = []
    for index in range(3000):
        now += 0.001
        source = Address(f"203.0.{index % 250}.{index % 200 + 1}", 1000 + index)
        sent = syn(5000 + 2 * index)
        table.receive([(sent, source)], now)
        answers = table.transmit(now)
        assert len(answers) <= 1
        assert all(target == source and len(data) * 4 <= len(sent) * 5 for data, target in answers)
        held += table.events()
    assert len(table) == 20
    assert table.counters["retries"] > 2000
    silent = 0
    for _ in range(100):
        due = table.next_timer()
        if due is None:
            break
        now = max(now, due)
        table.handle_timer(now)
        silent += len(table.transmit(now))
        held += table.events()
    assert silent == 0
    assert len(table) == 0


def test_a_cookie_opens_for_its_address_and_number_only_and_for_a_while() -> None:
    table = RudpTable(entropy=Seeded(1), cookie_after=0)
    here, there = Address("203.0.113.1", 5), Address("203.0.113.2", 5)

    def answer(data: bytes, source: Address, now: float) -> dict[str, object]:
        table.receive([(data, source)], now)
        ((sent, target),) = table.transmit(now)
        assert target == source
        return parse(sent)

    retry = answer(syn(9), here, 0.0)
    cookie = retry["payload"]
    assert isinstance(cookie, bytes)
    assert (retry["kind"], retry["conn_id"], len(cookie)) == (PacketKind.RETRY, 8, 4)
    assert answer(syn(9, cookie), there, 1.0)["kind"] == PacketKind.RETRY
    assert answer(syn(10, cookie), here, 1.0)["kind"] == PacketKind.RETRY
    assert answer(syn(9, cookie), here, 61.0)["kind"] == PacketKind.RETRY
    cookie = answer(syn(11), here, 62.0)["payload"]
    assert isinstance(cookie, bytes)
    assert answer(syn(11, cookie), here, 91.0)["kind"] == PacketKind.ACK


def test_answers_to_strangers_are_limited() -> None:
    table = RudpTable(entropy=Seeded(1))
    data = serialise(PacketKind.DATA, conn_id=77, number=5, payload=b"x")
    answers = 0
    for index in range(1000):
        table.receive([(data, Address("203.0.113.1", index + 1))], 0.00001 * index)
        answers += len(table.transmit(0.00001 * index))
    assert answers == 64
    table.receive([(data, Address("203.0.113.1", 1))], 0.021)
    assert len(table.transmit(0.021)) == 1


def test_who_sends_less_than_a_reset_gets_none() -> None:
    table = RudpTable(entropy=Seeded(1))
    table.receive([(bytes.fromhex("160000031122334400000001"), Address("203.0.113.1", 1))], 0.0)
    assert table.transmit(0.0) == []


def test_an_unproven_address_gets_one_packet_for_one() -> None:
    table = RudpTable(entropy=Seeded(1))
    source = Address("203.0.113.9", 9)
    table.receive([(syn(9), source)], 0.0)
    ((stream, _),) = table.events()
    assert len(table.transmit(0.0)) == 1
    assert stream.write(FILLER[:50_000]) == 50_000
    assert table.transmit(0.0) == []
    table.receive([(serialise(PacketKind.DATA, conn_id=9, number=2, window=1024, payload=b"m"), source)], 0.1)
    assert len(table.transmit(0.1)) == 1
    now = 0.1
    while now < 40:
        now += 0.05
        table.handle_timer(now)
        assert table.transmit(now) == []
    assert isinstance(stream, RudpStream)


def test_a_full_table_refuses() -> None:
    world = World()
    a, b = world.end("10.0.0.1"), world.end("10.0.0.2", accepts=False)
    world.join(a, b)
    stream = a.dial(b)
    world.run(1)
    assert stream.cause == CloseCause.REFUSED


def test_an_end_that_forgot_tells_so() -> None:
    pair = Pair()
    pair.world.ends[pair.b.address] = End(pair.world, pair.b.address)
    pair.world.ends[pair.b.address].links = pair.b.links
    pair.near.write(b"anybody?")
    pair.run()
    assert pair.near.cause == CloseCause.RESET


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::7", "fe80::1%3"])
def test_addresses_of_both_families_are_kept(host: str) -> None:
    table, other = RudpTable(Seeded(1)), RudpTable(Seeded(2))
    address = Address(host, 4000)
    flow = table.flow_of_address(address)
    assert len(flow) == 40
    assert table.address_of_flow(flow) == address
    assert other.address_of_flow(flow) == address


@pytest.mark.parametrize("address", [("192.0.2.1", 0), ("192.0.2.1", 65536), ("example.org", 1), ("fe80::1%x", 1), ()])
def test_what_is_no_address_is_refused(address: Any) -> None:
    with pytest.raises(UsageError):
        RudpTable(Seeded(1)).flow_of_address(address)
    with pytest.raises(UsageError):
        RudpTable(Seeded(1)).address_of_flow(b"short")


def test_listeners_hear_of_their_streams_and_one_that_fails_stops_no_other() -> None:
    near, far = Address("192.0.2.1", 4000), Address("192.0.2.2", 4000)
    a, b = (RudpTable(entropy=Seeded(name)) for name in "ab")
    dialled = [a.dial(far, 0.0) for _ in range(3)]
    incoming: list[RudpStream] = []

    def exchange(now: float) -> None:
        for _ in range(4):
            b.receive([(data, near) for data, _ in a.transmit(now)], now)
            a.receive([(data, far) for data, _ in b.transmit(now)], now)

    exchange(0.0)
    b.tell(lambda stream, bits: incoming.append(stream), lambda who, error: pytest.fail(str(error)))
    heard: list[int] = []
    failures: list[tuple[object, str]] = []
    unheard: list[tuple[RudpStream, int]] = []

    def fail(bits: int) -> None:
        raise ValueError("no")

    incoming[0].listener, incoming[1].listener = fail, heard.append
    for stream in dialled:
        stream.write(b"hello")
    exchange(0.1)
    b.tell(lambda stream, bits: unheard.append((stream, bits)), lambda who, error: failures.append((who, str(error))))
    assert failures == [(fail, "no")]
    assert [bits & READABLE for bits in heard] == [READABLE]
    assert [(stream, bits & READABLE) for stream, bits in unheard] == [(incoming[2], READABLE)]
    assert b.events() == []
