"""Bulk data never stands in the way of what is small: counted in bytes that are ahead of it, not in time."""

from __future__ import annotations

import pytest
from tests.unit.session.joined import Pair

from librats._core.messages import Message, MessageRun
from librats.session.events import PongReceived, ReplyReceived
from librats.session.frames import Kind
from librats.session.machine import UNCROWDED_ROUND

KIB = 1024
ONE_BLOCK = 66 * KIB
"""What is sealed together can only be opened together: 64 KiB and a little."""


def ahead_of(pair: Pair, wanted: type, *, forward: bool = True) -> int:
    """Carry one round; return how many bytes of it came before the event that was wanted.

    The bytes of the round are fed a little at a time, so that the place of the event in it shows.
    """
    source, target = (pair.a, pair.b) if forward else (pair.b, pair.a)
    carried = 0
    for _ in range(4):
        data = source.session.data_to_send(now=pair.now)
        for at in range(0, len(data), 512):
            target.session.receive_data(data[at : at + 512], now=pair.now)
            events = list(target.session.take_events())
            if any(isinstance(event, wanted) for event in events):
                return carried + at
            target.session.take_events().clear()
        carried += len(data)
    raise AssertionError(f"{wanted.__name__} was not among the next {carried} bytes")


@pytest.fixture
def busy() -> Pair:
    """Two sides between which four streams carry as much as they can."""
    pair = Pair()
    streams = [pair.open_stream(f"bulk {number}".encode()) for number in range(4)]
    for ours, theirs in streams:
        ours.write(bytes(8 * KIB * KIB))
        ours.add_credit(8 * KIB * KIB)
        theirs._granted += 8 * KIB * KIB
    # What was in flight before is not of this side's choosing.
    for _ in range(3):
        data = pair.a.session.data_to_send(now=pair.now)
        assert len(data) > UNCROWDED_ROUND * 0.9
        pair.b.session.receive_data(data, now=pair.now)
        pair.b.collect()
    return pair


def test_a_message_goes_ahead_of_bulk_data(busy: Pair) -> None:
    busy.a.session.send_message(Kind.JSON, b"chat", b'"hi"')
    assert ahead_of(busy, MessageRun) < ONE_BLOCK


def test_so_does_the_last_of_many_messages(busy: Pair) -> None:
    for _ in range(20):
        busy.a.session.send_message(Kind.JSON, b"chat", b'"hi"')
    busy.a.session.send_message(Kind.JSON, b"last", b'"hi"')
    data = busy.a.session.data_to_send(now=busy.now)
    busy.b.session.receive_data(data[: ONE_BLOCK + KIB], now=busy.now)
    assert [message.name for message in busy.b.messages()][-1] == "last"


def test_a_request_goes_ahead_of_bulk_data(busy: Pair) -> None:
    busy.a.session.send_request((Kind.JSON, b"1"), b"ask", timeout=1.0, now=busy.now)
    assert ahead_of(busy, Message) < ONE_BLOCK


def test_a_ping_goes_ahead_of_bulk_data(busy: Pair) -> None:
    busy.a.session.ping(now=busy.now)
    data = busy.a.session.data_to_send(now=busy.now)
    busy.b.session.receive_data(data, now=busy.now)
    answer = busy.b.session.data_to_send(now=busy.now)
    assert len(answer) < KIB
    busy.a.session.receive_data(answer, now=busy.now)
    assert busy.a.of(PongReceived)


@pytest.mark.parametrize("size", [1, 60_000, 200_000, 5_000_000])
def test_a_reply_is_not_held_up_by_big_messages_nor_streams(busy: Pair, size: int) -> None:
    number = busy.b.session.send_request((Kind.JSON, b"1"), b"ask", timeout=1.0, now=busy.now)
    busy.move(forward=False)
    busy.a.session.send_message(Kind.BYTES, b"big", bytes(size))
    busy.a.session.send_reply(number, (Kind.JSON, b"2"))
    assert ahead_of(busy, ReplyReceived) < ONE_BLOCK


def test_a_new_stream_gets_its_turn_among_many(busy: Pair) -> None:
    small = busy.a.session.streams.open(b"small")
    for _ in range(2):
        busy.b.session.receive_data(busy.a.session.data_to_send(now=busy.now), now=busy.now)
    theirs = busy.b.accepted(busy.now)
    busy.a.session.receive_data(busy.b.session.data_to_send(now=busy.now), now=busy.now)
    assert small.accepted
    small.write(b"a little")
    carried = 0
    while not theirs.buffered:
        data = busy.a.session.data_to_send(now=busy.now)
        carried += len(data)
        busy.b.session.receive_data(data, now=busy.now)
        busy.b.collect()
    # A turn of 64 KiB for each of the four others, of which one may begin anew where a round ends, and its own round.
    assert carried <= 6 * UNCROWDED_ROUND
