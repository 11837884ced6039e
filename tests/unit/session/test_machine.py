"""The life of a session: keys that change, pings, silence, goodbye, and a hostile wire."""

from __future__ import annotations

import pytest
from tests.reference import framing as oracle
from tests.unit.session.joined import KEYS, Pair, Side, errors_of, read_all

from librats.config import SessionConfig
from librats.errors import PeerNotConnected
from librats.session.events import (
    Event,
    GoAwayReceived,
    Message,
    PongReceived,
    SessionFailed,
    StreamChanged,
    StreamOpened,
)
from librats.session.frames import Kind, Reason
from librats.session.machine import UNCROWDED_ROUND
from librats.session.state import FIRST_PING

# Change of key


def test_keys_change_by_count_in_both_directions_in_the_middle_of_streams() -> None:
    pair = Pair(SessionConfig(rekey_messages=3))
    ours, theirs = pair.open_stream()
    data = bytes(range(256)) * 20_000
    ours.write(data)
    theirs.write(data[::-1])
    there, back = bytearray(), bytearray()
    while len(there) < len(data) or len(back) < len(data):
        pair.settle()
        there += read_all(theirs, now=pair.now)
        back += read_all(ours, now=pair.now)
    assert there == data
    assert back == data[::-1]
    for forward in (True, False):
        reader = oracle.Reader(oracle.Sealer(KEYS[not forward]), 1 << 20)
        reader.feed(b"".join(pair.carried[forward]))
        assert reader.refused is None
        assert reader.sealer.key != KEYS[not forward]
        changes = sum(frame[0] == oracle.REKEY for frame in reader.frames)
        assert changes >= reader.opened // 20
        assert changes > 3


def test_a_key_changes_even_where_every_round_is_full() -> None:
    pair = Pair(SessionConfig(rekey_messages=2, stream_window=8 << 20))
    ours, _ = pair.open_stream()
    ours.write(bytes(8 << 20))
    for _ in range(10):
        data = pair.a.session.data_to_send(now=pair.now)
        assert UNCROWDED_ROUND - 64 <= len(data) <= UNCROWDED_ROUND
        pair.b.session.receive_data(data, now=pair.now)
        pair.carried[True].append(data)
    reader = oracle.Reader(oracle.Sealer(KEYS[0]), 1 << 20)
    reader.feed(b"".join(pair.carried[True]))
    assert sum(frame[0] == oracle.REKEY for frame in reader.frames) >= 9
    assert errors_of(pair.b) == []


def test_a_key_changes_by_time_but_only_with_traffic() -> None:
    pair = Pair(SessionConfig(rekey_interval=100.0))
    pair.a.session.send_message(Kind.BYTES, b"", b"1")
    pair.settle()
    pair.now += 99.0
    pair.a.session.send_message(Kind.BYTES, b"", b"2")
    pair.settle()
    pair.now += 1.0
    assert pair.a.session.data_to_send(now=pair.now) == b""
    pair.a.session.send_message(Kind.BYTES, b"", b"3")
    pair.settle()
    pair.now += 50.0
    pair.a.session.send_message(Kind.BYTES, b"", b"4")
    pair.settle()
    assert [message.payload for message in pair.b.messages()] == [b"1", b"2", b"3", b"4"]
    reader = oracle.Reader(oracle.Sealer(KEYS[0]), 1 << 20)
    reader.feed(b"".join(pair.carried[True]))
    kinds = [frame[0] for frame in reader.frames if frame[0] in (oracle.MESSAGE, oracle.REKEY)]
    assert kinds == [oracle.MESSAGE, oracle.MESSAGE, oracle.REKEY, oracle.MESSAGE, oracle.MESSAGE]


# Pings and silence


def test_pings_measure_the_round_trip() -> None:
    pair = Pair()
    token = pair.a.session.ping(now=pair.now)
    pair.move(forward=True)
    pair.now += 0.25
    pair.move(forward=False)
    assert pair.a.of(PongReceived) == [PongReceived(token, 0.25)]
    pair.a.session.ping(now=pair.now)
    pair.now += 0.05
    pair.settle()
    assert pair.a.session.round_trip.smoothed == pytest.approx(0.25 - 0.2 / 8)


def test_a_pong_that_nobody_asked_for_tells_nothing() -> None:
    pair = Pair()
    sealer = oracle.Sealer(KEYS[0])
    pair.b.session.receive_data(sealer.block(oracle.frame(oracle.PONG, 0, b"12345678")), now=pair.now)
    assert pair.b.collect() == []
    assert pair.b.session.round_trip.smoothed is None


def test_many_pings_at_once_are_all_answered() -> None:
    pair = Pair()
    tokens = [pair.a.session.ping(now=pair.now) for _ in range(500)]
    pair.settle()
    assert [pong.token for pong in pair.a.of(PongReceived)] == tokens


def test_pings_without_answer_are_bounded() -> None:
    pair = Pair()
    for _ in range(5000):
        pair.a.session.ping(now=pair.now)
    assert len(pair.a.session.round_trip._sent) == 1024


def test_the_timer_pings_soon_and_then_at_its_interval() -> None:
    pair = Pair(SessionConfig(ping_interval=10.0, idle_timeout=30.0))
    pair.a.session.handle_timer(now=pair.now)
    assert not pair.a.session.wants_to_send
    start = pair.now = pair.now + FIRST_PING
    assert pair.a.session.next_timer() == start
    pair.a.session.handle_timer(now=pair.now)
    pair.settle()
    assert len(pair.a.of(PongReceived)) == 1
    assert pair.a.session.next_timer() == start + 10.0
    pair.now += 9.0
    pair.a.session.handle_timer(now=pair.now)
    assert not pair.a.session.wants_to_send
    pair.now += 1.0
    pair.a.session.handle_timer(now=pair.now)
    pair.settle()
    assert len(pair.a.of(PongReceived)) == 2
    pair.a.session.send_request((Kind.JSON, b"1"), b"", timeout=3.0, now=pair.now)
    assert pair.a.session.next_timer() == pair.now + 3.0


def test_a_silent_peer_is_lost_and_every_byte_puts_that_off() -> None:
    pair = Pair(SessionConfig(ping_interval=10.0, idle_timeout=30.0))
    pair.now += 29.0
    pair.b.session.ping(now=pair.now)
    pair.move(forward=False)
    pair.now += 29.0
    pair.a.session.handle_timer(now=pair.now)
    assert errors_of(pair.a) == []
    pair.now += 1.0
    pair.a.session.handle_timer(now=pair.now)
    assert pair.a.of(SessionFailed) == [SessionFailed(Reason.TIMEOUT, "nothing was heard for 30 s")]
    assert pair.a.session.data_to_send(now=pair.now) == b""
    pair.a.session.handle_timer(now=pair.now + 100.0)
    assert len(pair.a.of(SessionFailed)) == 1


# Goodbye


def test_goodbye_goes_behind_everything_that_is_queued() -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    ours.write(bytes(200_000))
    for _ in range(3):
        pair.a.session.send_message(Kind.BYTES, b"m", bytes(300_000))
    pair.a.session.go_away(Reason.CLOSED, "bye")
    pair.a.session.go_away(Reason.CLOSED, "twice")
    with pytest.raises(PeerNotConnected, match="closed"):
        pair.a.session.send_message(Kind.BYTES, b"m", b"")
    pair.settle()
    assert pair.b.of(GoAwayReceived) == [GoAwayReceived("closed", "bye")]
    assert len(pair.b.messages()) == 3
    assert theirs.buffered == 200_000
    reader = oracle.Reader(oracle.Sealer(KEYS[0]), 1 << 20)
    reader.feed(b"".join(pair.carried[True]))
    assert reader.frames[-1] == (oracle.GO_AWAY, 0, "closed", "bye")


def test_goodbye_goes_behind_streams_that_take_many_rounds() -> None:
    pair = Pair(SessionConfig(stream_window=8 << 20))
    ours, theirs = pair.open_stream()
    ours.write(bytes(2 << 20))
    pair.a.session.go_away(Reason.CLOSED, "bye")
    pair.settle()
    reader = oracle.Reader(oracle.Sealer(KEYS[0]), 1 << 20)
    reader.feed(b"".join(pair.carried[True]))
    assert reader.frames[-1] == (oracle.GO_AWAY, 0, "closed", "bye")
    assert theirs.buffered == 2 << 20


def test_goodbye_waits_for_messages_that_the_window_holds_back() -> None:
    pair = Pair(SessionConfig(message_window=128 * 1024))
    for _ in range(3):
        pair.a.session.send_message(Kind.BYTES, b"m", bytes(60_000))
    pair.a.session.go_away(Reason.CLOSED)
    pair.settle()
    assert pair.b.of(GoAwayReceived) == []
    pair.b.session.consumed(pair.b.messages()[0].cost)
    pair.settle()
    assert len(pair.b.messages()) == 3
    assert pair.b.of(GoAwayReceived) == [GoAwayReceived("closed", "")]
    assert not pair.a.session.wants_to_send


def test_an_answer_still_leaves_after_the_peers_goodbye() -> None:
    pair = Pair()
    number = pair.a.session.send_request((Kind.JSON, b"1"), b"ask", timeout=None, now=pair.now)
    pair.a.session.go_away(Reason.SUPERSEDED)
    pair.settle()
    pair.b.session.send_reply(number, (Kind.JSON, b"2"))
    pair.settle()
    assert pair.a.session.requests.count == 0


def test_giving_up_tells_the_peer_and_drops_what_was_queued() -> None:
    pair = Pair()
    pair.a.session.send_message(Kind.BYTES, b"m", bytes(1000))
    pair.a.session.fail(Reason.LIMIT, "enough")
    pair.a.session.fail(Reason.LIMIT, "twice")
    pair.a.session.go_away(Reason.CLOSED, "too late")
    pair.settle()
    assert pair.b.of(GoAwayReceived) == [GoAwayReceived("limit", "enough")]
    assert pair.b.messages() == []
    assert pair.a.of(SessionFailed) == [SessionFailed("limit", "enough")]
    with pytest.raises(PeerNotConnected, match="enough"):
        pair.a.session.send_datagram(Kind.BYTES, b"")


def test_nothing_is_taken_after_the_session_is_given_up() -> None:
    pair = Pair()
    pair.b.session.fail(Reason.LIMIT, "enough")
    pair.b.collect()
    pair.a.session.send_message(Kind.BYTES, b"m", b"late")
    pair.move(forward=True)
    assert pair.b.messages() == []
    pair.b.session.receive_eof()
    assert len(pair.b.of(SessionFailed)) == 1


# A hostile wire


def conversation() -> list[bytes]:
    """Return the blocks of one direction, each sealed on its own."""
    pair = Pair()
    pair.a.session.send_hello(b"{}")
    pair.move(forward=True)
    pair.a.session.send_message(Kind.BYTES, b"m", b"one")
    pair.move(forward=True)
    ours = pair.a.session.streams.open(b"s")
    pair.move(forward=True)
    theirs = pair.b.accepted()
    pair.move(forward=False)
    ours.write(b"stream")
    ours.write_eof()
    pair.move(forward=True)
    pair.a.session.send_request((Kind.TEXT, b"two"), b"ask", timeout=1.0, now=pair.now)
    pair.move(forward=True)
    assert theirs.at_end
    assert len(pair.carried[True]) == 5
    return pair.carried[True]


def told(data: bytes) -> tuple[list[tuple[object, ...]], Side]:
    """Return what a fresh machine makes of bytes from the wire, without the failure itself."""
    pair = Pair()
    pair.b.session.receive_data(data, now=pair.now)
    out = [plain(event) for event in pair.b.collect() if not isinstance(event, SessionFailed)]
    return [event for event in out if event is not None], pair.b


def plain(event: Event) -> tuple[object, ...] | None:
    """Return an event as values that can be compared; None where it comes of a failure."""
    if isinstance(event, Message):
        return event.kind, event.name, event.payload, event.request_id, event.timeout_ms
    if isinstance(event, StreamOpened):
        return "opened", event.stream.number, event.stream.name
    if isinstance(event, StreamChanged):
        return None
    return (event,)


def test_every_flipped_bit_is_detected_and_nothing_wrong_is_delivered() -> None:
    blocks = conversation()
    data = b"".join(blocks)
    right, side = told(data)
    assert errors_of(side) == []
    assert len(right) == 4
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        # A length that grew may wait for bytes that never come: the next ones show it.
        got, side = told(bytes(damaged) + bytes(70_000))
        assert side.session.failed is not None, bit
        assert got == right[: len(got)], bit
        assert len(got) < len(right), bit


def test_truncation_is_noticed_at_the_end_and_delivers_only_what_is_right() -> None:
    data = b"".join(conversation())
    right, _ = told(data)
    for size in range(len(data)):
        got, side = told(data[:size])
        assert got == right[: len(got)]
        assert errors_of(side) == []
        side.session.receive_eof()
        assert side.session.failed == SessionFailed("lost", "the connection was lost")


def test_replay_reordering_omission_and_splicing_are_detected() -> None:
    blocks = conversation()
    right, _ = told(b"".join(blocks))
    other_direction = oracle.Sealer(KEYS[1])
    count = len(blocks)
    orders: list[list[bytes]] = []
    for i in range(count):
        orders.append(blocks[: i + 1] + blocks[i:])  # replayed at once
        orders.append([*blocks, blocks[i]])  # replayed at the end
        orders.append([*blocks[:i], other_direction.block(oracle.frame(oracle.HELLO, 0, b"")), *blocks[i:]])
        orders += [[*blocks[:i], *blocks[i + 1 : j + 1], blocks[i], *blocks[j + 1 :]] for j in range(i + 1, count)]
    orders += [blocks[:i] + blocks[i + 1 :] for i in range(count - 1)]
    for i in range(count):
        for j in range(count):
            if i != j:
                middle = len(blocks[i]) // 2
                orders.append([*blocks[:i], blocks[i][:middle] + blocks[j][middle:], *blocks[i + 1 :]])
    assert len(orders) > 40
    for order in orders:
        got, side = told(b"".join(order) + bytes(70_000))
        assert side.session.failed is not None
        assert side.session.failed.code == Reason.PROTOCOL_ERROR
        assert got == right[: len(got)]


def test_the_other_sides_key_does_not_open_what_it_sealed() -> None:
    pair = Pair()
    pair.a.session.send_message(Kind.BYTES, b"", b"to b")
    data = pair.a.session.data_to_send(now=pair.now)
    pair.a.session.receive_data(data, now=pair.now)
    assert errors_of(pair.a) == ["a block does not authenticate"]


def test_the_buffer_interface_and_the_plain_one_are_the_same() -> None:
    pair = Pair()
    pair.a.session.send_message(Kind.BYTES, b"m", bytes(300_000))
    while data := pair.a.session.data_to_send(now=pair.now):
        at = 0
        while at < len(data):
            buffer = pair.b.session.get_buffer()
            size = min(len(buffer), len(data) - at)
            buffer[:size] = data[at : at + size]
            buffer.release()
            pair.b.session.buffer_updated(size, now=pair.now)
            at += size
    assert [len(message.payload) for message in pair.b.messages()] == [300_000]
    assert pair.b.session.bytes_received == pair.a.session.bytes_sent
    event = pair.b.session.next_event()
    assert event is None
