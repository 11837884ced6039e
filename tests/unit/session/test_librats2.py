"""The session machine in librats 2 framing: against recorded links, against itself, and against hostile peers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.session.joined import KEYS, byte_by_byte, random_pieces, whole
from tests.unit.session.librats2_node import (
    START,
    Link,
    app,
    as_bytes,
    block,
    drain,
    has_failed,
    inner,
    is_so,
    news_of,
    only,
    session_of,
    told,
)

from librats._core.messages import MessageRun
from librats.config import MIN_MESSAGE_WINDOW, SessionConfig
from librats.errors import PeerLacks, PeerNotConnected, UsageError
from librats.session.events import HelloReceived, IdentifyReceived, Message, PongReceived
from librats.session.frames import FRAME_COST, Kind, Reason
from librats.session.librats2 import Librats2Session
from librats.session.librats2_wire import MAX_BLOCK, Identify, InnerType, channel_id

VECTORS = Path(__file__).parents[2] / "vectors" / "librats2"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return content


TRANSCRIPTS: list[dict[str, Any]] = read("noise_live_transcripts")["cases"]
RECORDED: list[dict[str, Any]] = read("app_typed_ping_control")["frames"]


# Against what librats 2 sent


def test_both_roles_are_recorded() -> None:
    assert [case["role"] for case in TRANSCRIPTS] == ["client is initiator", "client is responder"]
    assert all(len(case["frames"]) == 6 for case in TRANSCRIPTS)


def say(session: Librats2Session, frame: dict[str, Any]) -> None:
    """Have the session send what a recorded frame holds."""
    payload = bytes.fromhex(frame["payload"])
    if frame["type"] == InnerType.CONTROL:
        session.send_hello(Identify.decode(payload).encode())
    elif frame["type"] == InnerType.TYPED:
        end = 2 + int.from_bytes(payload[:2])
        session.send_message(Kind.JSON, payload[2:end], payload[end:])
    else:
        assert frame["type"] == InnerType.APP
        session.send_message(Kind.BYTES, name_of(frame["channel"]), payload)


def name_of(number: int) -> bytes:
    """Return a name whose channel has that number; the transcripts keep only the number."""
    return next(name for name in map(str, range(1_000_000)) if channel_id.__wrapped__(name) == number).encode()


@pytest.mark.parametrize("case", TRANSCRIPTS, ids=lambda case: case["role"])
@pytest.mark.parametrize("cut", [whole, byte_by_byte], ids=["whole", "byte by byte"])
def test_recorded_link_is_read(case: dict[str, Any], cut: Callable[[bytes], Iterator[bytes]]) -> None:
    keys = bytes.fromhex(case["k_client_to_node"]), bytes.fromhex(case["k_node_to_client"])
    session = session_of(keys, channel=as_bytes)
    frames = [frame for frame in case["frames"] if frame["dir"] == "node->client"]
    for piece in cut(b"".join(bytes.fromhex(frame["cipher_block"]) for frame in frames)):
        session.receive_data(piece, now=START)
    identify, *messages = news_of(session)
    assert isinstance(identify, IdentifyReceived)
    assert identify.identify.encode().hex() == frames[0]["payload"]
    assert identify.identify.observed is not None
    assert identify.identify.observed.port == 0
    assert told(messages) == [
        (Kind.BYTES, "8448", b"abc"),
        (Kind.JSON, "greet-ack", b'{"k":[1,2]}'),
    ]
    assert session.frames_skipped == 0
    assert session.failed is None


@pytest.mark.parametrize("case", TRANSCRIPTS, ids=lambda case: case["role"])
def test_same_bytes_are_sent_as_on_the_recorded_link(case: dict[str, Any]) -> None:
    keys = bytes.fromhex(case["k_client_to_node"]), bytes.fromhex(case["k_node_to_client"])
    session = session_of(keys)
    for frame in case["frames"]:
        if frame["dir"] == "client->node":
            say(session, frame)
            assert drain(session).hex() == frame["cipher_block"]


def test_recorded_plaintext_frames_are_read_and_written() -> None:
    link = Link(channel=as_bytes)
    events = link.hear(*[bytes.fromhex(frame["block"])[4:] for frame in RECORDED if frame["dir"] == "node->client"])
    assert told(events) == [
        (Kind.BYTES, "23520", b"hello"),
        (Kind.BYTES, "8448", b"abc"),
        (Kind.JSON, "greet", b'{"text":"hi","n":[1,2.5,true,null],"s":"\\u0001\\""}'),
    ]
    pings = [bytes.fromhex(frame["payload"]) for frame in RECORDED[-2:]]
    assert link.said() == [inner(InnerType.PING, b"\x01" + payload[1:]) for payload in pings]
    for frame in RECORDED:
        if frame["dir"] == "client->node" and frame["type"] != InnerType.PING:
            say(link.session, frame)
            assert [block(said).hex() for said in link.said()] == [frame["block"]]


# Two of them


@pytest.mark.parametrize("cut", [whole, byte_by_byte, random_pieces(1)])
def test_all_kinds_arrive_in_order_both_ways(cut: Callable[[bytes], Iterator[bytes]]) -> None:
    ends = session_of(), session_of(KEYS[::-1])
    sent = [
        (Kind.JSON, "greet", b'{"a":1}'),
        (Kind.BYTES, "data", bytes(range(256)) * 5),
        (Kind.TEXT, "chat", "grüße".encode()),
        (Kind.JSON, "", b"null"),
        (Kind.BYTES, "data", b""),
        (Kind.JSON, "ñ" * 100, b"[]"),
    ]
    for source, target in (ends, ends[::-1]):
        for kind, name, payload in sent:
            source.send_message(kind, name.encode(), payload)
        for piece in cut(drain(source)):
            target.receive_data(piece, now=START)
        events = news_of(target)
        assert told(events) == sent
        assert [event.cost for event in only(Message, events)] == [FRAME_COST + len(sent_[2]) for sent_ in sent]
        assert source.messages_sent == target.messages_received == len(sent)
        assert source.bytes_sent == target.bytes_received > 0


def test_many_messages_leave_in_rounds_and_arrive_complete() -> None:
    source, target = session_of(), session_of(KEYS[::-1])
    payloads = [bytes([index]) * 100_000 for index in range(10)]
    for payload in payloads:
        source.send_message(Kind.BYTES, b"data", payload)
    rounds = list(iter(lambda: source.data_to_send(now=START), b""))
    assert len(rounds) == 4
    for data in rounds:
        target.receive_data(data, now=START)
    assert [payload for _, _, payload in told(news_of(target))] == payloads


def test_driver_buffer_is_read() -> None:
    link = Link()
    data = link.node.seal(app("data", b"x" * 1000))
    link.session.get_buffer()[: len(data)] = data
    link.session.buffer_updated(len(data), now=START)
    assert told(news_of(link.session)) == [(Kind.BYTES, "data", b"x" * 1000)]


# What is passed over


@pytest.mark.parametrize(
    "ignored",
    [
        pytest.param(app("unheard", b"x"), id="channel without handler"),
        pytest.param(inner(InnerType.APP, b"x"), id="channel 0"),
        *[pytest.param(inner(kind, b"x" * 50), id=f"type {kind}") for kind in (0, 3, 6, 8, 9, 10, 42, 128, 255)],
        *[pytest.param(inner(kind, b""), id=f"type {kind}, empty") for kind in (0, 2, 3, 5, 7, 255)],
        pytest.param(inner(InnerType.CONTROL, b"\x02\0\0\0\0\0"), id="identify of another version"),
        pytest.param(inner(InnerType.CONTROL, b"\x01\0\0\0"), id="identify that breaks off"),
        pytest.param(inner(InnerType.PING, b"\0" + bytes(7)), id="ping of 8 bytes"),
        pytest.param(inner(InnerType.PING, b"\0" + bytes(9)), id="ping of 10 bytes"),
        pytest.param(inner(InnerType.TYPED, b"\0"), id="half a length"),
        pytest.param(inner(InnerType.TYPED, b"\0\x06greet"), id="name that breaks off"),
        pytest.param(inner(InnerType.TYPED, b"\xff\xffgreet{}"), id="longest name, missing"),
        pytest.param(inner(InnerType.TYPED, b"\0\x02\xff\xfe{}"), id="name that is no UTF-8"),
    ],
)
def test_message_nobody_understands_is_skipped(ignored: bytes) -> None:
    link = Link()
    events = link.hear(ignored, app("data", b"behind it"))
    assert told(events) == [(Kind.BYTES, "data", b"behind it")]
    assert len(events) == 1
    assert link.session.frames_skipped == 1
    assert link.session.failed is None
    assert link.said() == []


@pytest.mark.parametrize("flags", [0x01, 0x02, 0x40, 0x55, 0x80, 0xFF])
def test_flags_mean_nothing_and_the_channel_only_with_app(flags: int) -> None:
    link = Link()
    events = link.hear(
        app("chat", b"x", flags=flags),
        inner(InnerType.TYPED, b"\0\x01n{}", flags=flags, channel=7),
        inner(InnerType.CONTROL, Identify(listen_port=5).encode(), flags=flags, channel=7),
        inner(InnerType.PING, b"\0tokentok", flags=flags, channel=7),
    )
    assert told(events) == [(Kind.TEXT, "chat", b"x"), (Kind.JSON, "n", b"{}")]
    assert only(IdentifyReceived, events) == [IdentifyReceived(Identify(listen_port=5))]
    assert link.said() == [inner(InnerType.PING, b"\x01tokentok")]


def test_empty_payloads_are_messages() -> None:
    events = Link().hear(app("data", b""), inner(InnerType.TYPED, b"\0\0"), inner(InnerType.TYPED, b"\0\x01n"))
    assert told(events) == [(Kind.BYTES, "data", b""), (Kind.JSON, "", b""), (Kind.JSON, "n", b"")]


def test_identify_may_come_again() -> None:
    first, second = Identify(listen_port=1), Identify(listen_port=2, transports=3)
    events = Link().hear(inner(InnerType.CONTROL, first.encode()), inner(InnerType.CONTROL, second.encode()))
    assert events == [IdentifyReceived(first), IdentifyReceived(second)]


# Pings


def test_ping_is_answered_with_its_token_and_ours_is_timed() -> None:
    ends = session_of(), session_of(KEYS[::-1])
    token = ends[0].ping(now=START)
    assert ends[0].control_queued == 4 + 4 + 9
    ends[1].receive_data(drain(ends[0]), now=START)
    assert news_of(ends[1]) == []
    ends[0].receive_data(drain(ends[1]), now=START + 0.25)
    assert news_of(ends[0]) == [PongReceived(token, 0.25)]
    assert ends[0].round_trip.smoothed == 0.25


@pytest.mark.parametrize("tag", [1, 2, 255])
def test_answer_to_no_ping_of_ours_tells_nothing(tag: int) -> None:
    link = Link()
    assert link.hear(inner(InnerType.PING, bytes([tag]) + bytes(8))) == []
    assert link.said() == []
    assert link.session.round_trip.smoothed is None


def test_pings_are_sent_at_their_interval() -> None:
    link = Link(SessionConfig(ping_interval=15.0))
    sent = []
    for _ in range(4):
        due = link.session.next_timer()
        link.session.handle_timer(now=due - 0.001)
        assert link.said() == []
        link.session.handle_timer(now=due)
        sent += [(due, len(link.said()))]
    assert sent == [(START, 1), (START + 15, 1), (START + 30, 1), (START + 45, 1)]


def test_silent_peer_is_kept_until_it_has_once_answered_a_ping() -> None:
    link = Link(SessionConfig(ping_interval=15.0, idle_timeout=45.0))
    late = START + 10_000
    link.session.handle_timer(now=late)
    assert not has_failed(link.session, Reason.TIMEOUT)
    (ping,) = link.said()
    (pong,) = link.hear(inner(InnerType.PING, b"\x01" + ping[5:]), now=late + 1)
    assert isinstance(pong, PongReceived)
    link.session.handle_timer(now=late + 1 + 44.9)
    assert not has_failed(link.session, Reason.TIMEOUT)
    link.hear(app("chat", b"any message counts"), now=late + 40)
    link.session.handle_timer(now=late + 40 + 44.9)
    assert not has_failed(link.session, Reason.TIMEOUT)
    assert link.session.next_timer() == late + 40 + 45
    link.session.handle_timer(now=late + 40 + 45)
    assert has_failed(link.session, Reason.TIMEOUT)


# Verbs and accounts


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda s: s.send_request((Kind.JSON, b"1"), b"n", timeout=1.0, now=START), id="request"),
        pytest.param(lambda s: s.send_reply(1, (Kind.JSON, b"1")), id="reply"),
        pytest.param(lambda s: s.send_error(1, "handler_error", "no"), id="error"),
        pytest.param(lambda s: s.send_datagram(Kind.BYTES, b"x"), id="datagram"),
        pytest.param(lambda s: s.streams.open(b"name"), id="stream"),
    ],
)
def test_what_librats_2_has_no_message_for_is_refused(call: Callable[[Librats2Session], object]) -> None:
    session = session_of()
    with pytest.raises(PeerLacks):
        call(session)
    assert is_so(session.wants_to_send) is False
    assert is_so(session.is_idle)


def test_no_streams_and_no_requests_are_counted() -> None:
    session = session_of()
    session.streams.flush_changes()
    session.requests.cancel(1)
    assert not session.requests.is_wanted(1)
    assert (session.streams.count, session.streams.sending, session.requests.count) == (0, False, 0)
    assert session.replies_queued == 0


def test_hello_is_our_identify_and_counts_as_answered() -> None:
    link = Link()
    link.session.send_hello(Identify(listen_port=7).encode())
    assert news_of(link.session) == [HelloReceived(b"{}")]
    assert link.said() == [inner(InnerType.CONTROL, Identify(listen_port=7).encode())]


def test_hello_is_told_before_messages_that_came_first() -> None:
    link = Link()
    link.session.receive_data(link.node.seal(app("chat", b"early")), now=START)
    link.session.send_hello(Identify().encode())
    assert [type(event) for event in link.session.take_events()] == [HelloReceived, MessageRun]


def test_identify_and_pings_overtake_messages() -> None:
    link = Link()
    link.session.send_message(Kind.BYTES, b"data", b"x")
    link.session.send_hello(Identify().encode())
    link.session.ping(now=START)
    assert [said[0] for said in link.said()] == [InnerType.CONTROL, InnerType.PING, InnerType.APP]


def test_pause_is_wanted_at_the_window_and_not_when_handled() -> None:
    link = Link(SessionConfig(message_window=MIN_MESSAGE_WINDOW))
    half = b"x" * (MIN_MESSAGE_WINDOW // 2 - FRAME_COST)
    (first,) = only(Message, link.hear(app("data", half)))
    assert is_so(link.session.wants_pause) is False
    assert is_so(link.session.is_idle) is False
    (second,) = only(Message, link.hear(app("data", half)))
    assert is_so(link.session.wants_pause)
    link.hear(app("unheard", half))
    link.session.consumed(first.cost)
    assert is_so(link.session.wants_pause) is False
    link.session.consumed(second.cost)
    assert is_so(link.session.is_idle)


def test_queued_bytes_are_counted_until_they_leave() -> None:
    session = session_of()
    assert is_so(session.is_idle)
    assert is_so(session.wants_to_send) is False
    session.send_message(Kind.BYTES, b"data", b"x" * 10)
    session.send_message(Kind.JSON, b"name", b"{}")
    assert session.queued == (4 + 4 + 10) + (4 + 4 + 2 + 4 + 2)
    assert session.control_queued == 0
    session.send_hello(bytes(6))
    assert session.control_queued == 4 + 4 + 6
    assert is_so(session.wants_to_send)
    assert is_so(session.is_idle) is False
    drain(session)
    assert session.queued == session.control_queued == 0
    assert is_so(session.is_idle)
    assert is_so(session.wants_to_send) is False


def test_after_going_away_nothing_is_sent_but_what_was_queued() -> None:
    link = Link()
    link.session.send_message(Kind.BYTES, b"data", b"last")
    link.session.go_away(Reason.CLOSED)
    with pytest.raises(PeerNotConnected):
        link.session.send_message(Kind.BYTES, b"data", b"too late")
    assert link.said() == [app("data", b"last")]
    assert link.session.failed is None


def test_size_is_held_to_what_both_sides_take() -> None:
    config = SessionConfig(max_message_size=100_000, max_json_size=1000)
    assert session_of(config=config).takes(100_000)
    with pytest.raises(UsageError):
        session_of(config=config).check_size(100_001)
    assert session_of().takes(MAX_BLOCK - 1024)
    assert not session_of().takes(MAX_BLOCK)
