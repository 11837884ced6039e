"""The short way of JSON messages: queued as by the long way, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.runs import each

from librats._core.aead import Cipher
from librats._core.byte_queue import ByteQueue
from librats._core.framing import BlockWriter, FrameQueue
from librats._core.inner import InnerQueue, InnerReader, InnerWriter
from librats._core.messages import json_nests_deeper
from librats._core.shortcut import Shortcut, encode_within
from librats._core.unframing import BlockReader

KEY = bytes(32)
ROOM = 1 << 20
MAX_SIZE = 100
MAX_DEPTH = 3

names = st.text("aü€😀", max_size=300)
values = st.recursive(st.none() | st.integers() | st.text(max_size=40), lambda inner: st.lists(inner, max_size=3))


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def opened(queue: ByteQueue, beside: ByteQueue | None = None, room: int = ROOM) -> Shortcut:
    shortcut = Shortcut(queue, beside, encode, MAX_SIZE, MAX_DEPTH)
    shortcut.open(room)
    return shortcut


def told(queue: FrameQueue) -> list[tuple[int, str, bytes]]:
    writer = BlockWriter(Cipher(KEY))
    writer.begin(ROOM)
    writer.put_queue(queue)
    return [(m.kind, m.name, m.payload) for m in each(BlockReader(Cipher(KEY), ROOM).feed(writer.finish()))]


@given(st.lists(st.tuples(names, values), max_size=5))
def test_what_it_takes_is_what_the_long_way_queues(messages: list[tuple[str, Any]]) -> None:
    queue, long_way = FrameQueue(), FrameQueue()
    shortcut = opened(queue)
    count = 0
    for name, value in messages:
        text = encode(value)
        fits = len(name.encode()) <= 255 and len(text) <= MAX_SIZE and not json_nests_deeper(text, MAX_DEPTH)
        assert shortcut.take(name, value) == fits
        if fits:
            long_way.add_message(0, name.encode(), text)
            count += 1
    assert told(queue) == told(long_way)
    assert shortcut.taken == count


def test_a_librats_2_queue_gets_typed_messages() -> None:
    queue = InnerQueue()
    assert opened(queue).take("grüße", [1])
    [run] = InnerReader(None, ROOM, lambda number: None).feed(InnerWriter(None).seal(queue, InnerQueue(), 1))
    assert [(m.kind, m.name, m.payload) for m in each([run])] == [(0, "grüße", b"[1]")]


@pytest.mark.parametrize(
    ("name", "value"), [(b"name", 1), ("\ud800", 1), (None, 1), ("x", object()), ("x", "y" * 99), ("x", [[[[]]]])]
)
def test_what_cannot_be_sent_is_left_to_the_long_way(name: Any, value: Any) -> None:
    queue = FrameQueue()
    shortcut = opened(queue)
    assert not shortcut.take(name, value)
    assert (len(queue), shortcut.taken) == (0, 0)


def test_an_encoder_that_gives_no_bytes_is_not_believed() -> None:
    shortcut = Shortcut(FrameQueue(), None, bytearray, MAX_SIZE, MAX_DEPTH)  # type: ignore[arg-type]
    shortcut.open(ROOM)
    assert not shortcut.take("x", b"1")


def test_nothing_is_taken_before_it_is_opened_nor_after_it_was_closed() -> None:
    queue = FrameQueue()
    shortcut = Shortcut(queue, None, encode, MAX_SIZE, MAX_DEPTH)
    assert not shortcut.take("x", 1)
    shortcut.open(ROOM)
    assert shortcut.take("x", 1)
    shortcut.close()
    assert not shortcut.take("x", 1)
    assert told(queue) == [(0, "x", b"1")]


def test_a_full_queue_takes_nothing_and_what_waits_beside_it_counts() -> None:
    queue, beside = FrameQueue(), FrameQueue(replies=True)
    shortcut = opened(queue, beside, room=15)
    assert [shortcut.take("x", 1) for _ in range(4)] == [True, True, True, False]
    queue.clear()
    beside.add_message(0, b"y", b"23456789")
    assert [shortcut.take("x", 1) for _ in range(3)] == [True, False, False]


def test_a_value_that_closes_it_while_it_is_encoded_is_not_taken() -> None:
    queue = FrameQueue()

    def closing(value: Any) -> bytes:
        shortcut.close()
        return b"1"

    shortcut = Shortcut(queue, None, closing, MAX_SIZE, MAX_DEPTH)
    shortcut.open(ROOM)
    assert not shortcut.take("x", 1)
    assert len(queue) == 0


def test_it_tells_how_much_waits_in_both_queues() -> None:
    queue, beside = FrameQueue(), FrameQueue(replies=True)
    shortcut = opened(queue, beside)
    assert shortcut.queued == 0
    assert shortcut.take("x", 1)
    beside.add(0x20, 0, b"12345678")
    assert shortcut.queued == len(queue) + len(beside) > len(queue)


@given(values)
def test_a_value_within_the_limits_is_encoded(value: Any) -> None:
    text = encode(value)
    fits = len(text) <= MAX_SIZE and not json_nests_deeper(text, MAX_DEPTH)
    assert encode_within(encode, value, MAX_SIZE, MAX_DEPTH) == (text if fits else None)


@pytest.mark.parametrize("form", [bytearray(b"1"), "1", None])
def test_only_bytes_are_a_text(form: object) -> None:
    assert encode_within(lambda value: form, 1, MAX_SIZE, MAX_DEPTH) is None  # type: ignore[arg-type, return-value]


def test_what_cannot_be_encoded_has_no_text() -> None:
    assert encode_within(encode, object(), MAX_SIZE, MAX_DEPTH) is None
