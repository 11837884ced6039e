"""Messages and requests between two machines: content, order, big ones among small ones, and the message window."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.reference import framing as oracle
from tests.unit.session.joined import KEYS, Cut, Pair, byte_by_byte, errors_of, random_pieces, read_all, whole

from librats.config import MIN_MESSAGE_WINDOW, SessionConfig
from librats.errors import PeerNotConnected, UsageError
from librats.session.events import (
    DatagramReceived,
    FollowsReceived,
    HelloReceived,
    Message,
    PongReceived,
    ReplyReceived,
)
from librats.session.frames import FrameType, Kind, Reason
from librats.session.machine import Session

SMALL_WINDOW = SessionConfig(message_window=MIN_MESSAGE_WINDOW)


def request(pair: Pair, payload: bytes = b"question", *, timeout: float | None = 10.0) -> int:
    return pair.a.session.send_request((Kind.BYTES, payload), b"ask", timeout=timeout, now=pair.now)


@pytest.mark.parametrize("cut", [whole, byte_by_byte, random_pieces(1), random_pieces(2)])
def test_everything_arrives_however_the_wire_cuts_it(cut: Cut) -> None:
    pair = Pair(cut=cut)
    a, b = pair.a.session, pair.b.session
    a.send_hello(b"{}")
    a.send_message(Kind.JSON, b"chat", b'"hi"')
    a.send_message(Kind.TEXT, "\u00e9".encode(), b"text")
    a.send_message(Kind.BYTES, b"", bytes(70_000))
    a.send_datagram(Kind.BYTES, b"datagram")
    number = request(pair)
    pair.settle()
    assert [event.payload for event in pair.b.of(HelloReceived)] == [b"{}"]
    assert [event.payload for event in pair.b.of(DatagramReceived)] == [b"datagram"]
    assert [(m.kind, m.name, m.payload, m.request_id, m.timeout_ms) for m in pair.b.messages()] == [
        (Kind.JSON, "chat", b'"hi"', 0, 0),
        (Kind.TEXT, "\u00e9", b"text", 0, 0),
        (Kind.BYTES, "", bytes(70_000), 0, 0),
        (Kind.BYTES, "ask", b"question", number, 10_000),
    ]
    b.send_reply(number, (Kind.JSON, b"42"))
    pair.settle()
    assert pair.a.of(ReplyReceived) == [ReplyReceived(number, Kind.JSON, b"42")]
    assert (a.messages_sent, b.messages_received, b.messages_sent, a.messages_received) == (4, 4, 1, 1)
    assert (a.bytes_sent, b.bytes_sent) == (b.bytes_received, a.bytes_received)
    assert errors_of(pair.a, pair.b) == []


@pytest.mark.parametrize("ends", [lambda session: session.go_away("done"), lambda session: session.fail("bad", "")])
def test_the_shortcut_queues_messages_until_the_session_ends(ends: Callable[[Session], None]) -> None:
    pair = Pair()
    session = pair.a.session
    assert not session.shortcut.take("x", 0)
    session.shortcut.open(1000)
    session.send_message(Kind.JSON, b"x", b"1")
    assert session.shortcut.take("x", 2)
    assert session.messages_sent == 2
    pair.settle()
    assert [(m.kind, m.name, m.payload) for m in pair.b.messages()] == [(0, "x", b"1"), (0, "x", b"2")]
    ends(session)
    assert not session.shortcut.take("x", 3)
    assert session.queued == 0


def test_order_is_kept_across_big_and_small_messages() -> None:
    pair = Pair()
    sizes = [1, 500_000, 2, 65_510, 65_511, 65_512, 0, 3, 1_000_000, 4] * 3
    for index, size in enumerate(sizes):
        pair.a.session.send_message(Kind.BYTES, str(index).encode(), bytes(size))
    received: list[Message] = []
    while len(received) < len(sizes):
        assert pair.move(forward=True) > 0
        for event in pair.b.collect():
            assert isinstance(event, Message)
            received.append(event)
            pair.b.session.consumed(event.cost)
        pair.move(forward=False)
    assert [(message.name, len(message.payload)) for message in received] == [
        (str(index), size) for index, size in enumerate(sizes)
    ]


def test_what_messages_follow_comes_between_those_before_and_those_behind_it() -> None:
    pair = Pair()
    session = pair.a.session
    links = ((b"a" * 16, 3), (b"b" * 16, 1 << 40))
    session.send_message(Kind.BYTES, b"before", bytes(200_000))
    session.send_follows(links)
    session.send_message(Kind.BYTES, b"behind", b"")
    pair.settle()
    assert session.messages_in_order == 2
    events = [event for event in pair.b.events if isinstance(event, Message | FollowsReceived)]
    assert [getattr(event, "name", event) for event in events] == ["before", FollowsReceived(links, 64 + 48), "behind"]


def test_what_messages_follow_takes_of_the_window_until_it_has_been_dealt_with() -> None:
    pair = Pair(SMALL_WINDOW)
    for _ in range(2 * MIN_MESSAGE_WINDOW // (64 + 24)):
        pair.a.session.send_follows([(b"a" * 16, 3)])
    pair.settle()
    first = pair.b.of(FollowsReceived)
    assert (MIN_MESSAGE_WINDOW - 88) // 88 <= len(first) <= MIN_MESSAGE_WINDOW // 88
    assert pair.b.session.unhandled == 88 * len(first)
    assert not pair.b.session.is_idle
    pair.b.session.consumed(88 * len(first))
    assert pair.b.session.unhandled == 0
    pair.settle()
    assert len(pair.b.of(FollowsReceived)) > len(first)


def test_the_links_used_last_are_the_ones_followed() -> None:
    pair = Pair()
    pair.a.session.send_follows([(number.to_bytes(16), number) for number in range(100)])
    pair.settle()
    assert pair.b.of(FollowsReceived)[0].links == tuple((number.to_bytes(16), number) for number in range(36, 100))


def test_replies_streams_and_pings_pass_a_big_message_on_the_wire() -> None:
    pair = Pair()
    pair.a.session.send_message(Kind.BYTES, b"big", bytes(3_000_000))
    stream = pair.a.session.streams.open(b"s")
    pair.move(forward=True, rounds=1)
    theirs = pair.b.accepted()
    pair.move(forward=False)
    stream.write(b"stream data")
    pair.b.session.send_request((Kind.JSON, b"1"), b"ask", timeout=None, now=pair.now)
    pair.move(forward=False)
    (question,) = pair.a.messages()
    pair.a.session.send_reply(question.request_id, (Kind.JSON, b"2"))
    pair.a.session.ping(now=pair.now)
    pair.move(forward=True, rounds=1)
    assert read_all(theirs, now=pair.now) == b"stream data"
    assert pair.b.of(ReplyReceived) == [ReplyReceived(question.request_id, Kind.JSON, b"2")]
    pair.move(forward=False)
    assert len(pair.a.of(PongReceived)) == 1
    assert pair.b.messages() == []
    pair.settle()
    assert [len(message.payload) for message in pair.b.messages()] == [3_000_000]


@pytest.mark.parametrize(("count", "size"), [(4, 5_000_000), (400, 2000)])
def test_replies_leave_room_for_messages_and_streams(count: int, size: int) -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    for _ in range(count):
        request(pair)
    pair.settle()
    for message in pair.b.messages():
        pair.b.session.send_reply(message.request_id, (Kind.BYTES, bytes(size)))
    pair.b.session.send_message(Kind.BYTES, b"meanwhile", bytes(50_000))
    theirs.write(bytes(50_000))
    pair.move(forward=False, rounds=1)
    assert [message.name for message in pair.a.messages()] == ["meanwhile"]
    assert ours.buffered == 50_000
    assert len(pair.a.of(ReplyReceived)) < count
    pair.settle()
    assert [len(reply.payload) for reply in pair.a.of(ReplyReceived)] == [size] * count


def test_a_flood_of_messages_leaves_room_for_a_stream() -> None:
    pair = Pair()
    ours, theirs = pair.open_stream()
    for _ in range(1000):
        pair.a.session.send_message(Kind.BYTES, b"flood", bytes(1000))
    ours.write(bytes(200_000))
    pair.move(forward=True, rounds=1)
    assert theirs.buffered >= 64 * 1024
    assert len(pair.b.messages()) >= 64


# Sizes


def test_sizes_are_checked_against_both_sides() -> None:
    pair = Pair(SessionConfig(), SessionConfig(max_message_size=2000, max_json_size=1000))
    pair.a.session.check_size(2000)
    pair.b.session.check_size(2000)
    for side in (pair.a, pair.b):
        with pytest.raises(UsageError, match=r"max_message_size \(2000\)"):
            side.session.check_size(2001)


def test_a_longer_message_than_was_agreed_ends_the_session() -> None:
    pair = Pair(SessionConfig(), SessionConfig(max_message_size=2000, max_json_size=1000))
    with pytest.raises(UsageError, match="max_message_size"):
        pair.a.session.send_message(Kind.BYTES, b"", bytes(2001))
    packed = oracle.frame(oracle.MESSAGE, Kind.BYTES, oracle.message_body(b"", bytes(2001)))
    pair.b.session.receive_data(oracle.Sealer(KEYS[0]).block(packed), now=pair.now)
    assert errors_of(pair.b) == ["a message longer than 2000 bytes"]
    assert pair.b.messages() == []


def test_a_datagram_longer_than_a_frame_is_refused_here() -> None:
    pair = Pair()
    pair.a.session.send_datagram(Kind.BYTES, bytes(65_515))
    with pytest.raises(UsageError, match="65515"):
        pair.a.session.send_datagram(Kind.BYTES, bytes(65_516))
    pair.settle()
    assert [len(event.payload) for event in pair.b.of(DatagramReceived)] == [65_515]


def test_datagrams_keep_their_kind_and_an_unknown_kind_is_dropped() -> None:
    pair = Pair()
    sealer = oracle.Sealer(KEYS[0])
    packed = b"".join(oracle.frame(oracle.DATAGRAM, flags, b"x") for flags in (0, 1, 2, 3, 0xFE))
    pair.b.session.receive_data(sealer.block(packed), now=pair.now)
    assert [event.kind for event in pair.b.of(DatagramReceived)] == [Kind.JSON, Kind.BYTES, Kind.TEXT, Kind.TEXT]
    assert errors_of(pair.b) == []


# The message window


def test_a_peer_that_does_not_handle_is_held_back_and_nothing_else_is() -> None:
    pair = Pair(SMALL_WINDOW)
    ours, theirs = pair.open_stream()
    for _ in range(10):
        pair.a.session.send_message(Kind.BYTES, b"m", bytes(50_000))
    pair.settle()
    cost = 50_000 + 2 + 64
    assert [message.cost for message in pair.b.messages()] == [cost, cost]
    assert pair.a.session.queued == 8 * (50_000 + 2 + 4)
    ours.write(b"stream")
    question = pair.b.session.send_request((Kind.JSON, b"1"), b"ask", timeout=None, now=pair.now)
    pair.settle()
    pair.a.session.send_reply(question, (Kind.JSON, b"2"))
    pair.a.session.ping(now=pair.now)
    pair.settle()
    assert read_all(theirs, now=pair.now) == b"stream"
    assert len(pair.b.of(ReplyReceived)) == 1
    assert len(pair.a.of(PongReceived)) == 1
    assert len(pair.b.messages()) == 2
    handled = 0
    while handled < 10:
        assert len(pair.b.messages()) > handled
        pair.b.session.consumed(pair.b.messages()[handled].cost)
        handled += 1
        pair.settle()
    assert pair.a.session.queued == 0
    assert errors_of(pair.a, pair.b) == []


def test_a_message_bigger_than_the_window_passes_through_it() -> None:
    pair = Pair(SMALL_WINDOW)
    pair.a.session.send_message(Kind.BYTES, b"big", bytes(1_000_000))
    pair.a.session.send_message(Kind.BYTES, b"next", bytes(60_000))
    pair.settle()
    (big,) = pair.b.messages()
    assert len(big.payload) == 1_000_000
    assert big.cost > MIN_MESSAGE_WINDOW
    assert pair.a.session.queued <= 60_009
    pair.b.session.consumed(big.cost)
    pair.settle()
    assert [message.name for message in pair.b.messages()] == ["big", "next"]


@pytest.mark.parametrize("size", [0, 1, 100, 32_700, 65_000, 65_513, 65_514, 200_000])
def test_no_size_of_message_gets_stuck_in_the_smallest_window(size: int) -> None:
    pair = Pair(SMALL_WINDOW)
    for _ in range(12):
        pair.a.session.send_message(Kind.BYTES, b"", bytes(size))
        pair.settle()
        for event in pair.b.events:
            assert isinstance(event, Message)
            pair.b.session.consumed(event.cost)
        pair.b.events.clear()
    pair.settle()
    assert pair.b.session.messages_received == 12
    assert pair.a.session.is_idle
    assert pair.b.session.is_idle


@pytest.mark.parametrize("over", [0, 1])
def test_the_window_is_kept_to_the_byte(over: int) -> None:
    pair = Pair(SMALL_WINDOW)
    sealer = oracle.Sealer(KEYS[0])
    for size in (MIN_MESSAGE_WINDOW // 2 - 64 - 20, MIN_MESSAGE_WINDOW // 2 - 64 + 20 + over):
        assert errors_of(pair.b) == []
        packed = oracle.frame(oracle.MESSAGE, 1, bytes(size))
        pair.b.session.receive_data(sealer.block(packed), now=pair.now)
    assert errors_of(pair.b) == (["more messages than the window allows"] if over else [])
    assert pair.b.session.failed is None or pair.b.session.failed.code == Reason.PROTOCOL_ERROR


def test_an_asker_that_reads_slowly_is_held_back() -> None:
    pair = Pair(SMALL_WINDOW)
    for _ in range(200):
        request(pair, bytes(10_000))
    most = 0
    for _ in range(180):
        pair.move(forward=True)
        for event in pair.b.collect():
            if isinstance(event, Message):
                pair.b.session.send_reply(event.request_id, (Kind.BYTES, bytes(50_000)))
                pair.b.session.consumed(event.cost)
        most = max(most, pair.b.session.queued)
        pair.move(forward=False, rounds=1)
    assert most <= 13 * 50_008 + MIN_MESSAGE_WINDOW
    assert len(pair.a.of(ReplyReceived)) == 200


def test_credit_beyond_reason_ends_the_session() -> None:
    pair = Pair()
    sealer = oracle.Sealer(KEYS[0])
    window = oracle.frame(FrameType.STREAM_WINDOW, 0, bytes(4) + b"\xff" * 4)
    pair.b.session.receive_data(sealer.block(window * 255), now=pair.now)
    assert errors_of(pair.b) == []
    pair.b.session.receive_data(sealer.block(window * 2), now=pair.now)
    assert errors_of(pair.b) == ["credit beyond reason"]


# Breaches


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (oracle.frame(2, 0, oracle.request_body(5, 0, b"", b"")) * 2, "sent twice"),
        (oracle.frame(0x24, 0, bytes(4097)), "hello that is too long"),
        (oracle.frame(0x20, 0, bytes(7)), "eight bytes"),
    ],
)
def test_a_breach_ends_the_session_and_is_told_to_the_peer(packed: bytes, why: str) -> None:
    pair = Pair()
    sealer = oracle.Sealer(KEYS[0])
    pair.b.session.receive_data(sealer.block(packed), now=pair.now)
    assert any(why in error for error in errors_of(pair.b))
    reader = oracle.Reader(oracle.Sealer(KEYS[1]), 1 << 20)
    reader.feed(pair.b.session.data_to_send(now=pair.now))
    assert reader.frames[-1][0] == oracle.GO_AWAY
    assert reader.frames[-1][2] == "protocol_error"
    with pytest.raises(PeerNotConnected):
        pair.b.session.send_message(Kind.JSON, b"", b"")


def test_a_reply_of_unknown_kind_ends_the_session() -> None:
    pair = Pair()
    request(pair)
    pair.a.session.receive_data(
        oracle.Sealer(KEYS[1]).block(oracle.frame(oracle.REPLY, 3, (1).to_bytes(4))), now=pair.now
    )
    assert errors_of(pair.a) == ["a reply of unknown kind"]


def test_a_peer_that_pings_without_reading_is_given_up() -> None:
    pair = Pair()
    sealer = oracle.Sealer(KEYS[0])
    block = oracle.frame(oracle.PING, 0, b"12345678") * 5000
    for _ in range(17):
        assert errors_of(pair.b) == []
        pair.b.session.receive_data(sealer.block(block), now=pair.now)
        pair.now += 1  # within the rate
    for _ in range(2):
        pair.b.session.receive_data(sealer.block(block), now=pair.now)
    assert errors_of(pair.b) == ["the peer asks without reading the answers"]


def test_events_that_nobody_takes_are_bounded() -> None:
    pair = Pair(SMALL_WINDOW)
    sealer = oracle.Sealer(KEYS[0])
    block = oracle.frame(oracle.DATAGRAM, 1, b"") * 16_000
    for _ in range(6):
        pair.b.session.receive_data(sealer.block(block), now=pair.now)
    assert errors_of(pair.b) == ["the peer sends more than can be taken in"]


def test_only_the_first_hello_and_the_first_go_away_are_told() -> None:
    pair = Pair()
    sealer = oracle.Sealer(KEYS[0])
    packed = oracle.frame(oracle.HELLO, 0, b"{}") * 3 + oracle.frame(oracle.GO_AWAY, 0, b"\x06closedbye") * 3
    pair.b.session.receive_data(sealer.block(packed), now=pair.now)
    assert len(pair.b.collect()) == 2
    assert errors_of(pair.b) == []
