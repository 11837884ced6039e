"""What an introducer carries of the sessions of others, and what ends that."""

from __future__ import annotations

from typing import Any

import pytest

from librats.config import CarryLimits
from librats.errors import ConfigError, DecodeError
from librats.introduce.carried import CarriedStream
from librats.introduce.carrying import MOST_OWED, Carrying
from librats.introduce.notices import Notice, Op
from librats.introduce.parcels import FIRST_CREDIT, MAX_PIECE, WINDOW, CarryEnd, Parcel, ParcelKind

ANN, BOB, EVE = "aa" * 32, "bb" * 32, "ee" * 32
INTRODUCED = {(ANN, number): (BOB, 100 + number) for number in range(20)} | {(EVE, 1): (BOB, 201)}

Told = list[tuple[str, Notice]]


def carrier(**limits: Any) -> Carrying:
    return Carrying(lambda caller, number: INTRODUCED.get((caller, number)), {BOB}.__contains__, CarryLimits(**limits))


def data(octets: bytes, number: int = 1, op: Op = Op.CARRY) -> Notice:
    return Notice(op, number, letter=Parcel(ParcelKind.DATA, octets).encode())


def credit(size: int, number: int = 101, op: Op = Op.CARRY_BACK) -> Notice:
    return Notice(op, number, letter=Parcel(ParcelKind.CREDIT, credit=size).encode())


def ends(told: Told) -> list[tuple[str, str]]:
    parcels = [(to, Parcel.decode(notice.letter)) for to, notice in told]
    return [(to, parcel.code) for to, parcel in parcels if parcel.kind is ParcelKind.END]


def credits(told: Told, to: str) -> int:
    return sum(Parcel.decode(notice.letter).credit for who, notice in told if who == to)


def test_bytes_are_passed_both_ways_under_each_sides_number() -> None:
    here = carrier()
    assert here.take(ANN, data(b"hello"), now=0) == [(BOB, data(b"hello", 101, Op.CARRIED))]
    assert here.take(BOB, data(b"back", 101, Op.CARRY_BACK), now=0) == [(ANN, data(b"back", 1, Op.CARRIED_BACK))]
    assert here.counters["carried"] == 1
    assert here.counters["carried_bytes"] == 9
    assert len(here) == 1


def test_nothing_is_carried_to_whom_no_offer_was_passed_or_who_takes_none() -> None:
    here = Carrying(lambda _, number: INTRODUCED.get((ANN, number)), lambda _: False)
    assert ends(here.take(ANN, data(b"x", 1), now=0)) == [(ANN, CarryEnd.NOT_CARRIED)]
    assert here.take(ANN, data(b"x", 77), now=0) == []
    assert here.take(BOB, data(b"x", 101, Op.CARRY_BACK), now=0) == []
    assert here.take(ANN, Notice(Op.CARRY, 1, letter=b"\x07"), now=0) == []
    assert (here.counters["not_carried"], here.counters["strays"]) == (1, 3)
    assert len(here) == 0


def test_nobody_meddles_with_a_session_of_others() -> None:
    here = carrier()
    here.take(ANN, data(b"hello"), now=0)
    assert here.take(EVE, data(b"x", 101, Op.CARRY_BACK), now=0) == []
    assert here.take(EVE, data(b"x", 2), now=0) == []
    assert here.take(ANN, data(b"x", 101, Op.CARRY_BACK), now=0) == []


def test_a_session_ends_with_its_bytes() -> None:
    here = carrier(bytes=1000)
    here.take(ANN, data(bytes(600)), now=0)
    here.take(BOB, data(bytes(400), 101, Op.CARRY_BACK), now=0)
    told = here.take(ANN, data(b"x"), now=0)
    assert ends(told) == [(ANN, CarryEnd.BYTES), (BOB, CarryEnd.BYTES)]
    assert "1000 bytes" in Parcel.decode(told[0][1].letter).words
    assert (len(here), here.counters["carry_bytes"], here.counters["carried_bytes"]) == (0, 1, 1000)


def test_a_session_ends_with_its_time() -> None:
    here = carrier(seconds=5)
    here.take(ANN, data(b"x", 1), now=0)
    here.take(ANN, data(b"x", 2), now=1)
    assert here.next_timer() == 5
    assert here.handle_timer(now=4.9) == []
    assert ends(here.handle_timer(now=5)) == [(ANN, CarryEnd.TIME), (BOB, CarryEnd.TIME)]
    assert here.next_timer() == 6
    assert ends(here.take(ANN, data(b"x", 2), now=6)) == [(ANN, CarryEnd.TIME), (BOB, CarryEnd.TIME)]
    assert here.next_timer() is None
    assert here.counters["carry_time"] == 2


def test_so_many_sessions_are_carried_at_once() -> None:
    here = carrier(at_once=3, at_once_per_caller=2)
    assert ends(here.take(ANN, data(b"x", 1), now=0)) == ends(here.take(ANN, data(b"x", 2), now=0)) == []
    assert ends(here.take(ANN, data(b"x", 3), now=0)) == [(ANN, CarryEnd.CROWDED)]
    assert ends(here.take(EVE, data(b"x", 1), now=0)) == []
    here.left(EVE)
    assert ends(here.take(ANN, Notice(Op.CARRY, 1, letter=Parcel(ParcelKind.END).encode()), now=0)) == [
        (BOB, CarryEnd.CLOSED)
    ]
    assert ends(here.take(ANN, data(b"x", 3), now=0)) == []
    assert here.counters["carry_at_once"] == 1


def test_all_together_are_as_many_as_are_carried() -> None:
    here = carrier(at_once=1)
    here.take(ANN, data(b"x", 1), now=0)
    assert ends(here.take(EVE, data(b"x", 1), now=0)) == [(EVE, CarryEnd.CROWDED)]


def test_a_side_sends_no_more_than_it_was_let() -> None:
    here = carrier(bytes=1 << 30)
    for _ in range(FIRST_CREDIT // MAX_PIECE):
        assert len(here.take(ANN, data(bytes(MAX_PIECE)), now=0)) == 1
    assert credits(here.take(BOB, credit(MAX_PIECE), now=0), ANN) == MAX_PIECE
    assert len(here.take(ANN, data(bytes(MAX_PIECE)), now=0)) == 1
    assert ends(here.take(ANN, data(b"x"), now=0)) == [(ANN, CarryEnd.OVERRUN), (BOB, CarryEnd.OVERRUN)]


def test_a_side_is_let_send_no_sooner_than_the_rate_of_its_session_allows() -> None:
    here = carrier(bytes=1 << 30, rate=10_000.0)
    here.take(ANN, data(b"x"), now=0)
    let = credits(here.take(BOB, credit(WINDOW), now=0), ANN)
    assert let == WINDOW  # that much goes ahead
    assert credits(here.take(BOB, credit(WINDOW), now=0), ANN) == 0
    assert here.counters["held_back"] == 1
    now, let = 0.0, 0
    while now < 4:
        now = here.next_timer() or pytest.fail("it waits for nothing")
        let += credits(here.handle_timer(now=now), ANN)
    assert let == pytest.approx(40_000, abs=5000)


def test_all_sessions_together_keep_to_a_rate_and_each_has_its_part() -> None:
    here = carrier(bytes=1 << 30, rate=1e9, total_rate=50_000.0)
    numbers = (1, 2)
    for number in numbers:
        here.take(ANN, data(b"x", number), now=0)
        here.take(BOB, credit(WINDOW * 4, 100 + number), now=0)
        here.take(BOB, credit(WINDOW * 4, 100 + number), now=0)
    let = dict.fromkeys(numbers, 0)
    now = 0.0
    while now < 6:
        now = here.next_timer() or pytest.fail("it waits for nothing")
        for _, notice in here.handle_timer(now=now):
            let[notice.number] += Parcel.decode(notice.letter).credit
    assert sum(let.values()) == pytest.approx(300_000, abs=60_000)
    assert min(let.values()) > 0.3 * sum(let.values())


def test_who_does_not_read_has_its_session_ended() -> None:
    here = carrier()
    [(to, notice)] = here.take(ANN, data(b"x"), now=0)
    assert ends(here.stuck(to, notice)) == [(ANN, CarryEnd.SLOW), (BOB, CarryEnd.SLOW)]
    assert here.stuck(to, notice) == []


@pytest.mark.parametrize(("who", "other"), [(ANN, BOB), (BOB, ANN)])
def test_who_leaves_ends_its_sessions(who: str, other: str) -> None:
    here = carrier()
    here.take(ANN, data(b"x", 1), now=0)
    here.take(ANN, data(b"x", 2), now=0)
    assert ends(here.left(who)) == [(other, CarryEnd.GONE)] * 2
    assert len(here) == 0
    assert here.left(who) == []


def test_an_end_of_one_side_is_told_to_the_other_in_no_words_of_its_own() -> None:
    here = carrier()
    here.take(ANN, data(b"x"), now=0)
    lie = Parcel(ParcelKind.END, code=CarryEnd.BYTES, words="so it says")
    [(to, notice)] = here.take(BOB, Notice(Op.CARRY_BACK, 101, letter=lie.encode()), now=0)
    assert (to, Parcel.decode(notice.letter).code, Parcel.decode(notice.letter).words) == (ANN, CarryEnd.CLOSED, "")


@pytest.mark.parametrize("parcel", [b"", b"\0", b"\x01abc", b"\x02", b"\x02\x05ab", b"\x02\x01\xff", b"\x09x"])
def test_what_is_no_parcel_is_refused(parcel: bytes) -> None:
    with pytest.raises(DecodeError):
        Parcel.decode(parcel)


def test_the_bytes_of_parcels_are_those_of_the_specification() -> None:
    assert Parcel(ParcelKind.DATA, b"\xaa").encode() == b"\0\xaa"
    assert Parcel(ParcelKind.CREDIT, credit=65536).encode() == b"\x01\0\x01\0\0"
    assert Parcel(ParcelKind.END, code="carry_time", words="over").encode() == b"\x02\x0acarry_timeover"
    with pytest.raises(DecodeError):
        Parcel.decode(b"\0" + bytes(MAX_PIECE + 1))


def test_a_stream_sends_what_it_is_let_and_no_more() -> None:
    one = CarriedStream()
    one.write(bytes(100_000))
    assert sum(len(parcel.data) for parcel in one.parcels_to_send()) == FIRST_CREDIT
    assert one.unsent == 100_000 - FIRST_CREDIT
    one.receive(Parcel(ParcelKind.CREDIT, credit=10))
    assert [len(parcel.data) for parcel in one.parcels_to_send()] == [10]


def test_a_stream_that_gets_more_than_it_lets_is_over() -> None:
    one = CarriedStream()
    for _ in range(FIRST_CREDIT // MAX_PIECE):
        one.receive(Parcel(ParcelKind.DATA, bytes(MAX_PIECE)))
    assert [one.ended] == [None]
    one.receive(Parcel(ParcelKind.DATA, b"x"))
    assert one.ended == Parcel(ParcelKind.END, code=CarryEnd.OVERRUN, words="more came than was let")


def test_limits_that_make_no_sense_are_named() -> None:
    with pytest.raises(ConfigError, match="rate"):
        CarryLimits(rate=0)


def test_what_a_side_lets_the_other_send_is_heard_up_to_a_bound() -> None:
    here = carrier(bytes=1 << 30, rate=1e9, total_rate=1e9)
    here.take(ANN, data(b"x"), now=0)
    let = credits(here.take(BOB, credit(0xFFFFFFFF), now=0), ANN)
    for now in range(1, 100):
        let += credits(here.handle_timer(now=now), ANN)
    assert let == MOST_OWED
