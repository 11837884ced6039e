"""Streams of uTP (BEP 29): two of ours by links, and one of ours with a peer that is written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.joined_tables import FILLER, INCOMING, OPEN, Seeded, World
from tests.simulation.utp_by_hand import DATA, FIN, PEER, STATE, SYN, Hand

from librats._core.rudp_stream import RudpStream
from librats._core.utp import UtpTable
from librats._core.utp_packets import parse, serialise
from librats.errors import UsageError
from librats.rudp.constants import CloseCause

VECTORS = Path(__file__).parents[2] / "vectors" / "wire" / "utp_packets.json"
RECORDED: dict[str, bytes] = {
    case["id"]: bytes.fromhex(case["raw"]) for case in json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
}


class Pair:
    """Two ends, and a stream between them."""

    def __init__(
        self, *, seed: object = 0, delay: float = 0.01, far: dict[str, Any] | None = None, **link: Any
    ) -> None:
        self.world = World(seed)
        self.a = self.world.end("10.0.0.1", kind=UtpTable)
        self.b = self.world.end("10.0.0.2", kind=UtpTable, **(far or {}))
        self.world.join(self.a, self.b, delay=delay, **link)
        for end in (self.a, self.b):
            end.keeps_sent = True
        self.near = self.a.dial(self.b, tries=8)
        self.world.run(10, until=lambda: self.near.is_open and bool(self.b.streams))
        (self.far,) = self.b.streams

    def run(self, seconds: float = 1.0) -> None:
        self.a.wake()
        self.b.wake()
        self.world.run(seconds)

    def carry(self, size: int, seconds: float = 60.0) -> bytes:
        """Write so much at the near end, read it at the far one."""
        written, found = 0, b""
        until = self.world.now + seconds
        while len(found) < size and self.world.now < until:
            written += self.near.write(FILLER[written : min(size, written + 100_000)])
            self.run(0.01)
            found += self.far.take()
        return found


def test_a_stream_opens_carries_bytes_both_ways_and_ends() -> None:
    pair = Pair()
    assert (pair.near.is_dialer, pair.far.is_dialer, pair.near.is_extended) == (True, False, False)
    assert (pair.near.address, pair.far.address) == (pair.b.address, pair.a.address)
    pair.near.write(b"there")
    pair.run()
    pair.far.write(b"back")
    pair.run()
    assert (pair.far.take(), pair.near.take()) == (b"there", b"back")
    pair.near.finish()
    pair.run()
    assert (pair.far.has_ended, pair.near.has_ended) == (True, False)
    pair.far.write(b"last")
    pair.far.finish()
    pair.run()
    assert pair.near.take() == b"last"
    assert pair.near.has_ended
    assert {pair.near.cause, pair.far.cause} == {CloseCause.FINISHED}
    pair.run(3)
    assert (len(pair.a.table), len(pair.b.table)) == (0, 0)


def test_ids_and_numbers_are_those_of_libtorrent() -> None:
    pair = Pair()
    pair.near.write(b"hello")
    pair.run(0.1)
    pair.far.write(b"hello")
    pair.run(0.1)
    there = [parse(data) for _, data in pair.a.sent]
    back = [parse(data) for _, data in pair.b.sent]
    syn, state = there[0], back[0]
    assert (syn["kind"], state["kind"]) == (SYN, STATE)
    assert (state["conn_id"], state["ack"]) == (syn["conn_id"], syn["number"])
    assert {packet["conn_id"] for packet in there[1:]} == {(syn["conn_id"] + 1) & 0xFFFF}
    assert {packet["conn_id"] for packet in back} == {syn["conn_id"]}
    first, answer = (next(one for one in side if one["kind"] == DATA) for side in (there, back))
    assert (first["number"], first["ack"]) == ((syn["number"] + 1) & 0xFFFF, (state["number"] - 1) & 0xFFFF)
    assert (answer["number"], answer["ack"]) == (state["number"], first["number"])


def test_a_recorded_dial_of_libtorrent_is_answered() -> None:
    hand = Hand()
    assert hand.table.receive([(RECORDED["rec-001"], PEER)], hand.now) == []
    (answer,) = hand.heard()
    recorded = parse(RECORDED["rec-002"])
    assert {name: answer[name] for name in ("kind", "conn_id", "ack")} == {
        name: recorded[name] for name in ("kind", "conn_id", "ack")
    }
    hello = parse(RECORDED["rec-003"])
    hello["ack"] = (answer["number"] - 1) & 0xFFFF
    del hello["acked"]
    hand.table.receive([(serialise(**hello), PEER)], hand.now)
    ((stream, _),) = hand.table.events()
    assert stream.take().startswith(b"\x13BitTorrent protocol")


def test_a_syn_that_comes_again_is_answered_alike() -> None:
    hand = Hand()
    (first,) = hand.say(SYN, conn_id=7000)
    (again,) = hand.say(SYN, conn_id=7000)
    assert first["number"] == again["number"]
    assert len(hand.table) == 1
    assert hand.say(SYN, conn_id=7000, number=4444) == []


def test_the_time_on_the_way_is_told_back() -> None:
    hand = Hand()
    (answer,) = hand.say(SYN, conn_id=7000, timestamp=999_000_000)
    assert (answer["timestamp"], answer["timestamp_difference"]) == (1_000_000_000, 1_000_000)


def test_what_comes_behind_a_gap_is_told_by_a_mask_and_waits() -> None:
    hand = Hand()
    stream = hand.dial_in()
    hand.number += 1
    (answer,) = hand.say(DATA, payload=b"second")
    assert (answer["ack"], answer["acked"]) == (hand.number - 2, [hand.number])
    assert [(kind, len(mask)) for kind, mask in answer["extensions"]] == [(1, 4)]
    (answer,) = hand.say(DATA, number=hand.number + 39, payload=b"far")
    assert answer["acked"] == [hand.number, hand.number + 39]
    assert [(kind, len(mask)) for kind, mask in answer["extensions"]] == [(1, 8)]
    assert stream.take() == b""
    (answer,) = hand.say(DATA, number=hand.number - 1, payload=b"first")
    assert stream.take() == b"firstsecond"
    assert (answer["ack"], answer["acked"]) == (hand.number, [hand.number + 39])


def test_a_mask_as_libtorrent_writes_it_has_the_gap_sent_again() -> None:
    hand = Hand()
    stream = hand.dial_in()
    stream.write(bytes(5 * 1200))
    sent = hand.heard()
    assert [packet["kind"] for packet in sent] == [DATA] * 5
    first = sent[0]["number"]
    again = hand.say(STATE, ack=(first - 1) & 0xFFFF, extensions=[(1, b"\x0f")])
    assert [packet["number"] for packet in again] == [first]
    assert again[0]["payload"] == sent[0]["payload"]
    assert stream.statistics()["packets_lost"] == 1


def test_three_repeated_acknowledgements_have_the_gap_sent_again_where_there_are_no_masks() -> None:
    hand = Hand()
    stream = hand.dial_in()
    stream.write(bytes(5 * 1200))
    first = hand.heard()[0]["number"]
    answers = [hand.say(STATE, ack=(first - 1) & 0xFFFF) for _ in range(4)]
    assert [[packet["number"] for packet in answer] for answer in answers] == [[], [], [first], []]


def test_what_is_not_acknowledged_is_sent_again_and_given_up_at_last() -> None:
    hand = Hand()
    stream = hand.dial_in()
    stream.write(b"are you there?")
    (sent,) = hand.heard()
    again = hand.wait(200)
    assert {packet["number"] for packet in again if packet["kind"] == DATA} == {sent["number"]}
    assert 5 < len(again) < 20
    assert stream.cause == CloseCause.LOST


def test_an_end_behind_a_gap_waits_for_what_is_before_it() -> None:
    hand = Hand()
    stream = hand.dial_in()
    hand.say(FIN, number=hand.number + 1)
    assert not stream.has_ended
    hand.say(DATA, payload=b"bye")
    assert (stream.take(), stream.has_ended) == (b"bye", True)
    hand.say(DATA, number=hand.number + 2, payload=b"more")
    assert stream.take() == b""


# Windows and sizes.


def test_a_peer_gets_no_more_than_its_window_holds() -> None:
    hand = Hand(control="cubic")
    stream = hand.dial_in()
    hand.say(STATE, window=5000)
    stream.write(bytes(100_000))
    assert [len(packet["payload"]) for packet in hand.heard()] == [1200] * 4
    hand = Hand(control="cubic")
    stream = hand.dial_in()
    hand.say(STATE, window=1000)
    stream.write(bytes(100_000))
    assert [len(packet["payload"]) for packet in hand.heard()] == [1000]


def test_no_more_packets_are_on_their_way_than_a_peer_keeps_behind_a_gap() -> None:
    hand = Hand(control="cubic")
    stream = hand.dial_in()
    number = hand.theirs
    most = 0
    for _ in range(40):
        for _ in range(1500):
            hand.now += 0.0001  # so that they are not held up for the sake of an even pace
            stream.write(b"x")
            sent = hand.heard()
            number = (number + len(sent)) & 0xFFFF
        most = max(most, stream.statistics()["in_flight"] // 25)
        number = (number + len(hand.say(STATE, ack=number))) & 0xFFFF
    assert 900 < most <= 1000


def test_a_reader_that_does_not_read_stops_the_writer_and_starts_it_again() -> None:
    pair = Pair(far={"receive_buffer": 200_000, "receive_window": 100_000})
    written = 0
    for _ in range(200):
        written += pair.near.write(FILLER[written : written + 50_000])
        pair.run(0.05)
    assert pair.far.readable <= 100_000
    assert written < 500_000
    pair.run(120)
    assert pair.near.is_open
    got = b""
    while len(got) < written:
        got += pair.far.take()
        pair.run(0.05)
    assert got == FILLER[:written]


@pytest.mark.parametrize("seed", range(5))
def test_a_window_that_opens_again_is_heard_of_on_a_lossy_path(seed: int) -> None:
    pair = Pair(seed=seed, loss=0.25, far={"receive_buffer": 20_000, "receive_window": 20_000})
    assert pair.carry(200_000, seconds=600) == FILLER[:200_000]


@pytest.mark.parametrize(("mtu", "least"), [(1500, 1472), (1400, 1330), (1248, 1220)])
def test_packets_grow_as_far_as_the_path_takes_them(mtu: int, least: int) -> None:
    pair = Pair(mtu=mtu)
    assert pair.carry(1_000_000) == FILLER[:1_000_000]
    assert least <= pair.near.statistics()["datagram"] <= mtu - 28
    sizes = {len(data) for _, data in pair.a.sent}
    assert max(sizes) <= 1472


def test_where_a_path_carries_less_than_before_the_socket_is_to_fragment() -> None:
    pair = Pair()
    assert pair.carry(500_000) == FILLER[:500_000]
    assert isinstance(pair.a.table, UtpTable)
    assert pair.a.table.shrunk_at < 0
    pair.a.links[pair.b.address].mtu = 1300
    pair.near.write(FILLER[:100_000])
    pair.run(5)
    assert pair.world.now - 5 < pair.a.table.shrunk_at < pair.world.now
    pair.a.links[pair.b.address].mtu = 1500  # as it is for a socket that fragments
    pair.run(10)
    assert pair.far.take() == FILLER[:100_000]
    assert pair.near.statistics()["datagram"] == 1220


@pytest.mark.parametrize("seed", [116, 210, 326, 438])
def test_numbers_pass_their_end(seed: int) -> None:
    pair = Pair(seed=seed, loss=0.05, reordered=0.2, jitter=0.005)
    syn = parse(pair.a.sent[0][1])
    assert (syn["kind"], syn["number"] > 65_000) == (SYN, True)
    assert pair.carry(1_000_000) == FILLER[:1_000_000]


# Silence.


def test_silence_is_broken_after_25_seconds_and_ends_a_stream_after_300() -> None:
    hand = Hand()
    stream = hand.dial_in()
    said = hand.wait(299)
    assert [packet["kind"] for packet in said] == [STATE] * 11
    assert stream.is_open
    hand.wait(2)
    assert stream.cause == CloseCause.IDLE


def test_who_owes_what_is_before_a_gap_is_gone_after_a_minute_of_silence() -> None:
    hand = Hand()
    stream = hand.dial_in()
    hand.say(DATA, number=hand.number + 1, payload=b"second")
    hand.wait(59)
    assert stream.is_open
    hand.say(STATE)
    hand.wait(59)
    assert stream.is_open
    hand.wait(2)
    assert stream.cause == CloseCause.IDLE


def test_a_dial_without_an_answer_ends() -> None:
    hand = Hand()
    stream = hand.table.dial(PEER, hand.now)
    said = hand.heard() + hand.wait(10)
    assert [packet["kind"] for packet in said] == [SYN] * 3
    assert len({(packet["conn_id"], packet["number"]) for packet in said}) == 1
    assert stream.cause == CloseCause.NO_ANSWER


def test_who_is_given_up_is_told() -> None:
    pair = Pair()
    pair.near.write(b"hello")
    pair.run(0.1)
    pair.far.reset()
    pair.run(0.1)
    assert (pair.far.cause, pair.near.cause) == (CloseCause.LOCAL, CloseCause.RESET)


def test_an_idle_stream_keeps_little_memory() -> None:
    pair = Pair(loss=0.02)
    assert pair.carry(1_000_000) == FILLER[:1_000_000]
    pair.run(10)
    assert max(pair.near.statistics()["memory"], pair.far.statistics()["memory"]) < 3000


# Settings.


@pytest.mark.parametrize(
    "settings",
    [
        {"control": "none"},
        {"max_datagram": 1219},
        {"max_datagram": 1473},
        {"max_half_open": 0},
        {"max_streams": 0},
        {"receive_window": 2, "receive_buffer": 1},
        {"idle_timeout": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        UtpTable(Seeded(0), **settings)


def test_a_control_is_chosen_for_a_stream() -> None:
    pair = Pair()
    assert pair.near.control == "ledbat"
    pair.near.control = "model"
    assert pair.near.control == "model"
    pair.near.control = "ledbat"
    with pytest.raises(UsageError):
        pair.near.control = "none"


def test_the_control_of_utp_is_no_session_s() -> None:
    world = World()
    a, b = world.end("10.0.0.1"), world.end("10.0.0.2")
    world.join(a, b)
    stream = a.dial(b)
    world.run(1)
    assert stream.is_open
    with pytest.raises(UsageError):
        stream.control = "ledbat"


def test_both_families_are_carried() -> None:
    world = World()
    a, b = world.end("2001:db8::1", kind=UtpTable), world.end("2001:db8::2", kind=UtpTable)
    world.join(a, b)
    seen: dict[RudpStream, int] = {}
    b.on_event = lambda stream, bits: seen.update({stream: bits})
    stream = a.dial(b)
    world.run(1)
    stream.write(b"hello")
    a.wake()
    world.run(1)
    assert stream.is_open
    assert any(bits & ~(INCOMING | OPEN) for bits in seen.values())
    assert b.streams[0].take() == b"hello"


def test_repairs_that_are_lost_are_found_by_what_was_sent_later() -> None:
    hand = Hand(control="model")
    stream = hand.dial_in()
    stream.write(bytes(8 * 1200))
    first = hand.heard()[0]["number"]
    # All but the last two are lost, and so are their repairs, but for the last two of those.
    before = (first - 1) & 0xFFFF
    repairs = hand.say(STATE, ack=before, extensions=[(1, b"\x60")])
    assert [packet["number"] - first for packet in repairs] == [0, 1, 2, 3, 4, 5][: len(repairs)]
    assert len(repairs) > 4
    hand.now += 0.005
    arrived = sum(1 << packet["number"] - first - 1 for packet in repairs[-2:])
    again = hand.say(STATE, ack=before, extensions=[(1, bytes([0x60 | arrived]))])
    assert {packet["number"] - first for packet in again} >= {packet["number"] - first for packet in repairs[:-4]}
    assert stream.statistics()["timeouts"] == 0
