"""Streams between two machines: data, credit both ways, and every way in which they end."""

from __future__ import annotations

import struct

import pytest
from tests.reference import framing as oracle
from tests.unit.session.joined import KEYS, Cut, Pair, byte_by_byte, errors_of, random_pieces, read_all, whole

from librats.config import SessionConfig
from librats.errors import ClosedError, RemoteError, UsageError
from librats.session.events import StreamOpened
from librats.session.frames import Reason
from librats.session.machine import UNCROWDED_ROUND
from librats.session.streams import StreamState

KIB = 1024
WINDOW = 64 * KIB
FIXED = SessionConfig(stream_window=WINDOW, max_stream_window=WINDOW)


def pattern(size: int) -> bytes:
    return (b"".join(struct.pack(">I", index) for index in range(size // 4 + 1)))[:size]


def stream_frame(kind: int, number: int, rest: bytes = b"", flags: int = 0) -> bytes:
    return oracle.frame(kind, flags, struct.pack(">I", number) + rest)


@pytest.mark.parametrize("cut", [whole, random_pieces(3), byte_by_byte])
def test_a_stream_carries_bytes_both_ways_and_each_end_ends_one_way(cut: Cut) -> None:
    pair = Pair(FIXED, cut=cut)
    ours, theirs = pair.open_stream("\u00e9/1".encode())
    assert (theirs.name, theirs.number) == ("\u00e9/1", 1)
    assert [theirs.incoming, ours.incoming] == [True, False]
    there = pattern(3 * WINDOW + 17) if cut is not byte_by_byte else pattern(20_000)
    back = there[::-1]
    ours.write(there)
    ours.write_eof()
    assert pair.pump(ours, theirs) == there
    assert [theirs.at_end, ours.at_end] == [True, False]
    theirs.write(back)
    theirs.write_eof()
    assert pair.pump(theirs, ours) == back
    assert ours.at_end
    assert ours.dead
    assert theirs.dead
    assert pair.a.session.streams.count == pair.b.session.streams.count == 0
    assert errors_of(pair.a, pair.b) == []
    assert pair.a.session.is_idle


@pytest.mark.parametrize("first", ["opener", "acceptor"])
def test_half_close_works_in_both_orders(first: str) -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    one, two = (ours, theirs) if first == "opener" else (theirs, ours)
    one.write(b"question")
    one.write_eof()
    one.write_eof()
    pair.settle()
    assert (read_all(two, now=pair.now), two.at_end, one.at_end, one.dead) == (b"question", True, False, False)
    with pytest.raises(ClosedError):
        one.write(b"more")
    two.write(b"answer")
    two.write_eof()
    pair.settle()
    assert (read_all(one, now=pair.now), one.at_end, one.dead, two.dead) == (b"answer", True, True, True)


def test_an_empty_stream_ends_too() -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    ours.write(b"")
    ours.write_eof()
    theirs.write_eof()
    pair.settle()
    assert ours.at_end
    assert theirs.at_end
    assert ours.dead
    assert theirs.dead


def test_what_is_written_before_the_peer_agrees_waits_for_it() -> None:
    pair = Pair()
    ours = pair.a.session.streams.open(b"s")
    ours.write(b"early")
    ours.write_eof()
    pair.settle()
    assert pair.b.of(StreamOpened)[0].stream.buffered == 0
    theirs = pair.b.accepted()
    pair.settle()
    assert read_all(theirs, now=pair.now) == b"early"
    assert theirs.at_end


def test_what_the_acceptor_writes_before_it_agrees_leaves_when_it_does() -> None:
    pair = Pair()
    ours = pair.a.session.streams.open(b"s")
    pair.settle()
    theirs = pair.b.of(StreamOpened)[0].stream
    theirs.write(b"greeting")
    pair.settle()
    assert ours.buffered == 0
    theirs.accept(pair.now)
    pair.settle()
    assert read_all(ours, now=pair.now) == b"greeting"


def test_reading_takes_any_piece_and_small_writes_are_put_together() -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    data = pattern(50_000)
    at = 0
    for size in (1, 2, 3, 2047, 2048, 2049, 10_000, 1, 1, 1):
        ours.write(data[at : at + size])
        at += size
        pair.settle()
    assert len(theirs._unread) <= 6
    received = bytearray()
    for limit in (1, 1, 5, 100, 2000, 7, 100_000, 3, 100_000, 100_000, 100_000, 100_000, 100_000, 100_000):
        piece = theirs.read(limit, now=pair.now)
        assert isinstance(piece, bytes)
        assert len(piece) <= limit
        received += piece
    assert received == data[:at]
    assert theirs.buffered == 0


def test_partly_read_data_is_merged_and_read_to_the_end() -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    ours.write(b"abcdef")
    pair.settle()
    assert theirs.read(2, now=pair.now) == b"ab"
    ours.write(b"ghi")
    pair.settle()
    ours.write(b"jkl")
    pair.settle()
    assert theirs.read(3, now=pair.now) == b"cde"
    assert read_all(theirs, now=pair.now) == b"fghijkl"
    assert theirs.read(10, now=pair.now) == read_all(theirs, now=pair.now) == b""


def test_crumbs_take_little_memory() -> None:
    pair = Pair()
    _, theirs = pair.open_stream()
    sealer = oracle.Sealer(KEYS[0], 1)
    for _ in range(10):
        block = b"".join(stream_frame(oracle.STREAM_DATA, 1, b"ab") for _ in range(4000))
        pair.b.session.receive_data(sealer.block(block), now=pair.now)
    assert errors_of(pair.b) == []
    assert theirs.buffered == 80_000
    assert len(theirs._unread) <= 4
    assert read_all(theirs, now=pair.now) == b"ab" * 40_000


# Credit


def test_a_reader_that_does_not_read_holds_the_writer_back() -> None:
    pair = Pair(FIXED)
    ours, theirs = pair.open_stream()
    ours.write(pattern(200 * KIB))
    pair.settle()
    assert (theirs.buffered, ours.queued, ours.credit) == (WINDOW, 200 * KIB - WINDOW, 0)
    first = theirs.read(WINDOW // 2 - 1, now=pair.now)
    pair.settle()
    assert theirs.buffered == WINDOW // 2 + 1  # less than half is not worth a frame
    second = theirs.read(1, now=pair.now)
    pair.settle()
    assert theirs.buffered == WINDOW
    assert first + second + pair.pump(ours, theirs) == pattern(200 * KIB)


def test_the_acceptors_writing_is_held_back_too() -> None:
    pair = Pair(FIXED, SessionConfig())
    ours, theirs = pair.open_stream()
    theirs.write(bytes(300 * KIB))
    ours.write(bytes(300 * KIB))
    pair.settle()
    assert ours.buffered == WINDOW
    assert theirs.buffered == 256 * KIB


def test_a_stream_that_is_held_back_holds_no_other_back() -> None:
    pair = Pair(FIXED)
    stuck, _ = pair.open_stream()
    free, free_there = pair.open_stream()
    stuck.write(bytes(1 << 20))
    free.write(pattern(1 << 20))
    assert pair.pump(free, free_there) == pattern(1 << 20)
    assert stuck.queued == (1 << 20) - WINDOW


def test_streams_take_turns() -> None:
    pair = Pair(SessionConfig(stream_window=1 << 20))
    streams = [pair.open_stream() for _ in range(4)]
    for ours, _ in streams:
        ours.write(bytes(1 << 20))
    pair.move(forward=True, rounds=4)
    shares = [theirs.buffered for _, theirs in streams]
    assert sum(shares) > 4 * UNCROWDED_ROUND - 4096
    assert max(shares) - min(shares) <= 64 * KIB


@pytest.mark.parametrize("over", [0, 1])
def test_the_window_is_kept_to_the_byte(over: int) -> None:
    pair = Pair(FIXED)
    pair.open_stream()
    sealer = oracle.Sealer(KEYS[0], 1)
    for size in (WINDOW // 2, WINDOW // 2 + over):
        pair.b.session.receive_data(sealer.block(stream_frame(oracle.STREAM_DATA, 1, bytes(size))), now=pair.now)
    assert errors_of(pair.b) == (["stream 1: more than its window"] if over else [])


def test_the_window_counts_what_nobody_reads_any_more() -> None:
    pair = Pair(FIXED)
    _, theirs = pair.open_stream()
    theirs.stop_reading()
    sealer = oracle.Sealer(KEYS[0], 1)
    block = stream_frame(oracle.STREAM_DATA, 1, bytes(WINDOW // 2))
    for _ in range(2):
        pair.b.session.receive_data(sealer.block(block), now=pair.now)
    assert errors_of(pair.b) == []
    assert theirs.buffered == 0
    pair.b.session.receive_data(sealer.block(block), now=pair.now)
    assert errors_of(pair.b) == ["stream 1: more than its window"]


def test_credit_beyond_reason_ends_the_session() -> None:
    pair = Pair()
    pair.open_stream()
    sealer = oracle.Sealer(KEYS[0], 1)
    window = stream_frame(oracle.STREAM_WINDOW, 1, b"\xff" * 4)
    pair.b.session.receive_data(sealer.block(window * 255), now=pair.now)
    assert errors_of(pair.b) == []
    pair.b.session.receive_data(sealer.block(window * 2), now=pair.now)
    assert errors_of(pair.b) == ["stream 1: credit beyond reason"]


def measured(config: SessionConfig, rtt: float) -> tuple[Pair, StreamState, StreamState]:
    """Return two machines whose responder has measured that round trip, and a stream."""
    pair = Pair(config)
    ours, theirs = pair.open_stream()
    pair.b.session.ping(now=pair.now)
    pair.now += rtt
    pair.settle()
    assert pair.b.session.round_trip.smoothed == pytest.approx(rtt)
    return pair, ours, theirs


def drive(pair: Pair, ours: StreamState, theirs: StreamState, pause: float) -> None:
    for _ in range(12):
        ours.write(bytes(2 * theirs.window))
        pair.settle()
        pair.now += pause
        read_all(theirs, now=pair.now)
        pair.settle()


def test_a_window_grows_where_the_round_trip_asks_for_it_up_to_its_limit() -> None:
    pair, ours, theirs = measured(SessionConfig(stream_window=WINDOW, max_stream_window=4 * WINDOW), rtt=1.0)
    drive(pair, ours, theirs, pause=1.0)
    assert theirs.window == 4 * WINDOW
    assert errors_of(pair.a, pair.b) == []


def test_a_window_stays_where_the_reader_is_the_slow_one() -> None:
    pair, ours, theirs = measured(SessionConfig(stream_window=WINDOW, max_stream_window=4 * WINDOW), rtt=1.0)
    drive(pair, ours, theirs, pause=10.0)
    assert theirs.window == WINDOW


def test_a_big_window_grows_only_by_the_shortest_round_trip() -> None:
    big = 8 << 20
    pair, ours, theirs = measured(SessionConfig(stream_window=big, max_stream_window=4 * big), rtt=1.0)
    drive(pair, ours, theirs, pause=2.0)
    assert theirs.window == big
    drive(pair, ours, theirs, pause=1.0)
    assert theirs.window == 4 * big


def test_windows_stop_growing_at_what_all_streams_may_hold() -> None:
    config = SessionConfig(stream_window=WINDOW, max_stream_window=16 * WINDOW, max_buffered=5 * WINDOW)
    pair, ours, theirs = measured(config, rtt=1.0)
    other_ours, other_theirs = pair.open_stream()
    drive(pair, ours, theirs, pause=1.0)
    drive(pair, other_ours, other_theirs, pause=1.0)
    assert theirs.window + other_theirs.window <= 5 * WINDOW
    assert theirs.window == 4 * WINDOW
    ours.abort(Reason.RESET, "")
    pair.settle()
    drive(pair, other_ours, other_theirs, pause=1.0)
    assert other_theirs.window == 4 * WINDOW


# Ends


def test_a_reset_ends_both_directions_and_keeps_what_was_read_before() -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    ours.write(b"before")
    pair.settle()
    ours.write(bytes(10_000))
    ours.abort(Reason.RESET, "enough")
    ours.abort(Reason.RESET, "twice")
    pair.settle()
    assert ours.dead
    assert theirs.dead
    assert read_all(theirs, now=pair.now) == b"before"
    assert theirs.read_error is not None
    assert isinstance(theirs.read_error.exception(), RemoteError)
    assert str(theirs.read_error.exception()) == "enough [reset]"
    with pytest.raises(RemoteError):
        theirs.write(b"x")
    with pytest.raises(ClosedError):
        ours.write(b"x")
    assert 1 in pair.a.changed()
    assert 1 in pair.b.changed()
    assert pair.a.session.streams.count == pair.b.session.streams.count == 0


def test_a_refused_stream_tells_why() -> None:
    pair = Pair()
    ours = pair.a.session.streams.open(b"s")
    pair.settle()
    pair.b.of(StreamOpened)[0].stream.abort(Reason.NO_HANDLER, "no handler for 's'")
    pair.settle()
    assert not ours.accepted
    assert ours.read_error is not None
    assert (ours.read_error.code, ours.read_error.local) == ("no_handler", False)
    assert pair.a.session.streams.count == 0


def test_a_reader_that_stops_makes_the_writer_end() -> None:
    pair = Pair(FIXED)
    ours, theirs = pair.open_stream()
    ours.write(bytes(1 << 20))
    pair.settle()
    theirs.stop_reading(Reason.CLOSED, "seen enough")
    theirs.stop_reading()
    assert theirs.buffered == 0
    pair.settle()
    assert ours.queued == 0
    assert theirs.at_end
    with pytest.raises(RemoteError, match="seen enough"):
        ours.write(b"more")
    theirs.write(b"the other direction goes on")
    pair.settle()
    assert read_all(ours, now=pair.now) == b"the other direction goes on"
    theirs.write_eof()
    pair.settle()
    assert ours.dead
    assert theirs.dead


def test_a_stop_that_crosses_the_end_is_harmless() -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    ours.write(b"all")
    ours.write_eof()
    theirs.stop_reading()
    pair.settle()
    assert ours.sending_done
    assert ours.write_error is not None
    assert theirs.at_end
    assert errors_of(pair.a, pair.b) == []


@pytest.mark.parametrize(
    "packed",
    [
        stream_frame(oracle.STREAM_DATA, 1, b"late"),
        stream_frame(oracle.STREAM_WINDOW, 1, bytes(4)),
        stream_frame(oracle.STREAM_RESET, 1, b"\x05resetwords"),
        stream_frame(oracle.STREAM_STOP, 1, b"\x06closed"),
    ],
)
def test_frames_of_a_stream_that_is_gone_are_ignored(packed: bytes) -> None:
    pair = Pair()
    _, theirs = pair.open_stream()
    theirs.abort(Reason.RESET, "")
    for target, key in ((pair.b, KEYS[0]), (pair.a, KEYS[1])):
        ahead = 1
        if target is pair.a:
            pair.settle()
            ahead = sum(len(data) > 0 for data in pair.carried[False])
            assert pair.a.session.streams.count == 0
        target.session.receive_data(oracle.Sealer(key, ahead).block(packed), now=pair.now)
        assert errors_of(target) == []


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (kind, number)
        for kind in (oracle.STREAM_DATA, oracle.STREAM_WINDOW, oracle.STREAM_RESET, oracle.STREAM_STOP)
        for number in (0, 3, 2, 4, 0xFFFFFFFF)
        if (kind, number) != (oracle.STREAM_WINDOW, 0)  # the window of messages
    ],
)
def test_frames_of_a_stream_that_never_was_end_the_session(kind: int, number: int) -> None:
    pair = Pair()
    pair.open_stream()
    packed = stream_frame(kind, number, bytes(4))
    pair.b.session.receive_data(oracle.Sealer(KEYS[0], 1).block(packed), now=pair.now)
    assert errors_of(pair.b) == [f"a frame of stream {number}, which was never opened"]


@pytest.mark.parametrize("number", [0, 2, 1])
def test_an_opening_with_a_wrong_number_ends_the_session(number: int) -> None:
    pair = Pair()
    pair.open_stream()
    packed = stream_frame(oracle.STREAM_OPEN, number, bytes(4) + b"\x01s")
    pair.b.session.receive_data(oracle.Sealer(KEYS[0], 1).block(packed), now=pair.now)
    assert errors_of(pair.b) == [f"a new stream with the number {number}"]


def test_data_behind_the_end_ends_the_session() -> None:
    pair = Pair()
    pair.open_stream()
    packed = stream_frame(oracle.STREAM_DATA, 1, b"", flags=1) + stream_frame(oracle.STREAM_DATA, 1, b"x")
    pair.b.session.receive_data(oracle.Sealer(KEYS[0], 1).block(packed), now=pair.now)
    assert errors_of(pair.b) == ["stream 1: data behind its end"]


def test_more_streams_than_the_limit_are_refused_until_one_is_gone() -> None:
    pair = Pair(SessionConfig(max_incoming_streams=2))
    first, _ = pair.open_stream()
    pair.open_stream()
    third = pair.a.session.streams.open(b"s")
    pair.settle()
    assert third.read_error is not None
    assert third.read_error.code == "limit"
    theirs = pair.b.session.streams.open(b"s")  # one's own do not count
    pair.settle()
    pair.a.accepted()
    pair.settle()
    assert theirs.accepted
    first.abort(Reason.RESET, "")
    pair.settle()
    fourth, _ = pair.open_stream()
    assert fourth.number == 7


def test_a_session_runs_out_of_stream_numbers_cleanly() -> None:
    pair = Pair()
    for side, last in ((pair.a, 2**32 - 3), (pair.b, 2**32 - 2)):
        side.session.streams._next_number = last
        assert side.session.streams.open(b"s").number == last
        with pytest.raises(UsageError, match="used up"):
            side.session.streams.open(b"s")


def test_the_loss_of_the_session_ends_every_stream() -> None:
    pair = Pair()
    streams = [pair.open_stream()[0] for _ in range(3)]
    streams[0].write(bytes(10))
    pair.a.collect()
    pair.a.events.clear()
    pair.a.session.receive_eof()
    assert all(stream.dead and stream.read_error is not None for stream in streams)
    assert sorted(pair.a.changed()) == [1, 3, 5]
    assert pair.a.session.data_to_send(now=pair.now) == b""


def test_what_arrived_whole_can_be_read_after_the_session_is_lost() -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    ours.write(b"the whole answer")
    ours.write_eof()
    pair.settle()
    pair.b.session.receive_eof()
    assert theirs.read(100, now=pair.now) == b"the whole answer"
    assert theirs.at_end
    assert theirs.read_error is None
