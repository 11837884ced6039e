"""The session machine in librats 2 framing, against peers that break the protocol or make us hold much."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.runs import each
from tests.unit.session.joined import KEYS, byte_by_byte, random_pieces, whole
from tests.unit.session.librats2_node import (
    START,
    Link,
    Node,
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

from librats._core.aead import Cipher
from librats.config import MIN_MESSAGE_WINDOW, RatsConfig, SessionConfig
from librats.errors import PeerNotConnected
from librats.session.events import FileChunkReceived, Message
from librats.session.frames import FRAME_COST, Kind, Reason
from librats.session.librats2_wire import MAX_BLOCK, Identify, InnerType
from librats.session.shared_limits import SharedLimits

# What ends the session


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


BREAKS: dict[str, Callable[[Node], bytes]] = {
    "block of 0 bytes": lambda node: block(b""),
    "block shorter than a tag": lambda node: block(bytes(15)),
    "block of 19 bytes": lambda node: node.seal(b"\x01\0\0"),
    "inner message of 0 bytes": lambda node: node.seal(b""),
    "block over 64 MiB": lambda node: (MAX_BLOCK + 1).to_bytes(4),
    "block of 4 GiB": lambda node: b"\xff" * 4,
    "forged bit in the message": lambda node: flip(node.seal(app("data", b"x" * 40)), 10),
    "forged bit in the tag": lambda node: flip(node.seal(app("data", b"x" * 40)), -1 + 4 + 44 + 16),
    "truncated inside a block": lambda node: block(node.seal(app("data", b"x" * 40))[4:-1]),
    "random bytes": lambda node: block(bytes(100)),
    "replayed block": lambda node: node.seal(app("chat", b"1")) * 2,
    "skipped block": lambda node: (node.seal(app("chat", b"1")), node.seal(app("chat", b"2")))[1],
}


@pytest.mark.parametrize("cut", [whole, byte_by_byte], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("what", BREAKS)
def test_broken_link_is_given_up(what: str, cut: Callable[[bytes], Iterator[bytes]]) -> None:
    link = Link()
    assert told(link.hear(app("data", b"before"))) == [(Kind.BYTES, "data", b"before")]
    link.session.send_message(Kind.BYTES, b"data", b"not sent any more")
    link.session.ping(now=START)
    for piece in cut(BREAKS[what](link.node)):
        link.session.receive_data(piece, now=START)
    assert has_failed(link.session, Reason.PROTOCOL_ERROR)
    events = news_of(link.session)
    assert events[-1] == link.session.failed
    assert [payload for _, _, payload in told(events)] == ([b"1"] if what == "replayed block" else [])
    assert link.session.queued == link.session.control_queued == 0
    assert drain(link.session) == b""
    with pytest.raises(PeerNotConnected):
        link.session.send_message(Kind.BYTES, b"data", b"")
    link.session.receive_data(bytes(100), now=START)
    link.session.handle_timer(now=START + 1000)
    assert news_of(link.session) == []


def test_block_of_64_mib_is_waited_for() -> None:
    session = session_of()
    session.receive_data(MAX_BLOCK.to_bytes(4) + bytes(100), now=START)
    assert session.failed is None
    assert news_of(session) == []


def test_block_that_cannot_hold_a_permitted_message_is_refused_by_its_length() -> None:
    config = SessionConfig(max_message_size=100_000, max_json_size=1000)
    limit = 100_000 + 4 + 2 + 65535 + 16
    for size, broken in ((limit, False), (limit + 1, True)):
        session = session_of(config=config)
        session.receive_data(size.to_bytes(4), now=START)
        assert has_failed(session, Reason.PROTOCOL_ERROR) is broken


@pytest.mark.parametrize(("size", "broken"), [(100_000, False), (100_001, True)])
def test_the_longest_message_is_kept_to_the_byte(size: int, broken: bool) -> None:
    session = session_of(config=SessionConfig(max_message_size=100_000, max_json_size=1000), channel=as_bytes)
    block = Cipher(KEYS[1]).seal(bytes([InnerType.APP, 0, 0, 1]) + bytes(size))
    session.receive_data(len(block).to_bytes(4) + block, now=START)
    assert has_failed(session, Reason.PROTOCOL_ERROR) is broken


def test_a_failed_session_sends_nothing_more() -> None:
    session = session_of()
    session.fail(Reason.LIMIT, "enough")
    session.ping(now=START)
    assert not session.wants_to_send
    assert session.data_to_send(now=START) == b""


def test_lost_connection_is_told_once() -> None:
    session = session_of()
    session.receive_eof()
    session.receive_eof()
    assert session.failed is not None
    assert session.failed.code == Reason.LOST
    assert news_of(session) == [session.failed]


# What a peer can make us hold


def test_pings_whose_answers_are_not_read_end_the_session() -> None:
    link = Link()
    sent = 0
    while link.session.failed is None and sent < 100_000:
        link.hear(*[inner(InnerType.PING, b"\0" + bytes(8))] * 1000)
        assert link.session.control_queued < 1_100_000
        sent += 1000
    assert has_failed(link.session, Reason.LIMIT)
    assert link.session.control_queued == 0


@pytest.mark.parametrize("said", [inner(InnerType.CONTROL, Identify().encode()), inner(InnerType.PEX, b"\1\0\0\1")])
def test_news_that_nobody_takes_end_the_session(said: bytes) -> None:
    link = Link(SessionConfig(message_window=MIN_MESSAGE_WINDOW))
    sent = 0
    while link.session.failed is None and sent < 100_000:
        link.session.receive_data(link.node.seal(*[said] * 100), now=START)
        sent += 100
    assert has_failed(link.session, Reason.LIMIT)
    assert 4096 <= sent <= 4096 + MIN_MESSAGE_WINDOW // FRAME_COST + 100


TYPES = st.integers(0, 12) | st.integers(0, 255)

INNERS = st.builds(
    lambda kind, rest, payload: bytes([kind]) + rest + payload,
    TYPES,
    st.binary(min_size=3, max_size=3),
    st.binary(max_size=120) | st.binary(min_size=8, max_size=8).map(lambda token: b"\0" + token),
)


@given(st.lists(INNERS, max_size=20), st.integers(0, 1000))
def test_no_sealed_message_of_a_peer_breaks_the_session(inners: list[bytes], seed: int) -> None:
    link = Link(channel=lambda number: (Kind.BYTES, str(number)) if number % 2 else None)
    for piece in random_pieces(seed)(link.node.seal(*inners)):
        link.session.receive_data(piece, now=START)
    events = news_of(link.session)
    assert link.session.failed is None
    pings = [sent for sent in inners if sent[0] == InnerType.PING and len(sent) == 13]
    pongs = [sent for sent in pings if sent[4] == 0]
    assert link.said() == [inner(InnerType.PING, b"\x01" + sent[5:]) for sent in pongs]
    assert len(list(each(events))) + link.session.frames_skipped + len(pings) == len(inners)
    for message in only(Message, events):
        link.session.consumed(message.cost)
    for word in only(FileChunkReceived, events):
        link.session.consumed(word.cost)
    assert is_so(link.session.is_idle)


@given(st.lists(INNERS, max_size=5), st.binary(max_size=3))
def test_message_without_a_whole_head_breaks_the_session(inners: list[bytes], short: bytes) -> None:
    link = Link()
    link.hear(*inners)
    assert link.session.failed is None
    link.hear(short)
    assert has_failed(link.session, Reason.PROTOCOL_ERROR)


@given(st.binary(max_size=300))
def test_no_unsealed_bytes_are_taken_for_messages(data: bytes) -> None:
    session = session_of()
    session.receive_data(data, now=START)
    assert told(news_of(session)) == []
    assert session.failed is None or has_failed(session, Reason.PROTOCOL_ERROR)


def test_memory_that_all_peers_share_pauses_who_has_some_and_ends_who_only_grows() -> None:
    shared = SharedLimits(RatsConfig(max_memory=4 * 1024 * 1024, session=SessionConfig(message_window=64 << 20)))
    first, second = Link(shared=shared), Link(shared=shared)
    assert shared.memory.taken == 2 * 128 * 1024
    for _ in range(3):
        first.hear(inner(InnerType.TYPED, b"\0\1n" + b" " * 1_000_000 + b"1"))
    assert is_so(first.session.wants_pause)
    assert first.session.failed is None
    assert shared.memory.is_overdrawn
    second.session.receive_data((3_000_000).to_bytes(4) + bytes(1_000_000), now=START)
    assert second.session.failed is not None
    assert second.session.failed.code == Reason.LIMIT
    assert "the limit is max_memory=4194304 (RatsConfig)" in second.session.failed.message
    first.session.consumed(first.session.unhandled)
    assert not is_so(first.session.wants_pause)
    first.session.receive_eof()
    assert shared.memory.taken == 0
