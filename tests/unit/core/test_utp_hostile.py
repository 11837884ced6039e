"""uTP with peers that forge, flood, guess and refuse; they are written by hand."""

from __future__ import annotations

from typing import Any

from tests.simulation.utp_by_hand import DATA, PEER, RESET, STATE, SYN, Hand

from librats.rudp.constants import CloseCause
from librats.types import Address


def test_a_reset_needs_the_id_and_an_acknowledgement_of_what_was_sent() -> None:
    hand = Hand()
    stream = hand.dial_in()
    for fields in (
        {"conn_id": hand.conn_id + 2},
        {"ack": (hand.theirs + 1) & 0xFFFF},
        {"ack": (hand.theirs + 30_000) & 0xFFFF},
        {"ack": (hand.theirs - 2000) & 0xFFFF},
        {"source": Address(PEER.host, PEER.port + 1)},
    ):
        hand.say(RESET, **fields)
        assert stream.is_open, fields
    hand.say(RESET)
    assert stream.cause == CloseCause.RESET


def test_a_reset_under_the_id_that_the_peer_was_spoken_to_with_counts() -> None:
    hand = Hand()
    stream = hand.dial_in()
    stream.write(b"hello?")
    (sent,) = hand.heard()
    hand.say(RESET, conn_id=sent["conn_id"], ack=sent["number"])
    assert stream.cause == CloseCause.RESET


def test_a_refused_dial_is_told() -> None:
    hand = Hand()
    stream = hand.table.dial(PEER, hand.now)
    (syn,) = hand.heard()
    hand.say(RESET, conn_id=syn["conn_id"], ack=(syn["number"] + 1) & 0xFFFF)
    assert not stream.is_closed
    hand.say(RESET, conn_id=syn["conn_id"], ack=syn["number"])
    assert stream.cause == CloseCause.REFUSED


def test_data_that_overtakes_the_answer_to_a_syn_waits_for_it() -> None:
    hand = Hand()
    stream = hand.table.dial(PEER, hand.now)
    (syn,) = hand.heard()
    fields: dict[str, Any] = {"conn_id": syn["conn_id"], "ack": syn["number"]}
    assert hand.say(DATA, number=501, payload=b"second", **fields) == []
    hand.say(STATE, number=500, **fields)
    hand.say(DATA, number=501, payload=b"second", **fields)
    assert (stream.is_open, stream.readable) == (True, 0)
    hand.say(DATA, number=500, payload=b"first ", **fields)
    assert stream.take() == b"first second"


def test_what_acknowledges_what_was_never_sent_or_is_far_away_changes_nothing() -> None:
    hand = Hand()
    stream = hand.dial_in()
    before = hand.table.counters["forged"]
    assert hand.say(DATA, ack=(hand.theirs + 1) & 0xFFFF, payload=b"x") == []
    assert hand.say(DATA, ack=(hand.theirs - 1025) & 0xFFFF, payload=b"x") == []
    assert hand.say(DATA, number=(hand.number + 4096) & 0xFFFF, payload=b"x") == []
    assert hand.table.counters["forged"] == before + 3
    assert stream.readable == 0
    hand.say(DATA, payload=b"y")
    assert stream.take() == b"y"


def test_whoever_has_no_connection_is_told_so_and_no_more_than_64_times_in_20_milliseconds() -> None:
    hand = Hand()
    (answer,) = hand.say(DATA, conn_id=9, number=77, payload=b"?")
    assert (answer["kind"], answer["conn_id"], answer["ack"]) == (RESET, 9, 77)
    assert hand.say(RESET, conn_id=9) == []
    hand.now += 1
    assert sum(len(hand.say(DATA, conn_id=index, payload=b"?")) for index in range(500)) == 64


def test_an_address_that_is_not_proven_gets_one_packet_for_one() -> None:
    hand = Hand()
    assert len(hand.say(SYN, conn_id=7000)) == 1
    ((stream, _),) = hand.table.events()
    stream.write(bytes(50_000))
    assert hand.heard() == []
    assert hand.wait(30) == []


def test_of_a_flood_of_syns_only_so_many_are_kept_and_others_still_get_in() -> None:
    hand = Hand(max_half_open=100)
    kept = []
    for index in range(3000):
        source = Address(f"198.51.{index >> 8}.{index & 255}", 1000 + index)
        assert len(hand.say(SYN, source, conn_id=index)) == 1
        kept += [stream for stream, _ in hand.table.events()]
        if index == 1500:
            stream = hand.dial_in()
    assert len(hand.table) == 101
    assert stream.is_open
    assert sum(not stream.is_closed for stream in kept) == 100
    hand.say(DATA, payload=b"still here")
    assert stream.take() == b"still here"


def test_who_takes_nobody_or_is_full_refuses() -> None:
    for settings in ({"accepts": False}, {"max_streams": 1}):
        hand = Hand(**settings)
        dialled = hand.table.dial(PEER, hand.now)
        hand.heard()
        (answer,) = hand.say(SYN, conn_id=7000, number=5)
        assert not dialled.is_closed
        assert (answer["kind"], answer["conn_id"], answer["ack"]) == (RESET, 7000, 5)
