"""The compiled inner messages of librats 2: what is written and read, what is refused, and the memory behind it."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tests.reference import inner as oracle
from tests.reference.framing import Sealer
from tests.reference.runs import each

from librats._core.aead import Cipher
from librats._core.inner import InnerQueue, InnerReader, InnerWriter, channel_number
from librats._core.messages import Message, MessageRun
from librats.errors import LocalProtocolError

KEY = bytes(range(32))
MIB = 1 << 20
MAX_MESSAGE = MIB
VECTORS = Path(__file__).parents[2] / "vectors" / "librats2"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def as_bytes(number: int) -> tuple[int, str]:
    return 1, str(number)


def make_reader(*, plain: bool = False, max_message: int = MAX_MESSAGE) -> InnerReader:
    return InnerReader(None if plain else Cipher(KEY), max_message, as_bytes)


def sealed(*inners: bytes) -> bytes:
    sealer = Sealer(KEY)
    return b"".join(map(sealer.block, inners))


def fields(news: list[Message | MessageRun | tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [(n.kind, n.name, n.payload) if isinstance(n, Message) else n for n in each(news)]


# Writing


@pytest.mark.parametrize("case", read("frames")["cases"], ids=lambda case: f"type {case['type']}")
def test_recorded_inner_messages_are_written_and_read(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["payload"])
    block = bytes.fromhex(case["plaintext_block"])
    assert block[4:] == bytes.fromhex(case["inner"])
    reader = make_reader(plain=True)
    news = fields(reader.feed(block))
    if case["type"] == oracle.APP:
        assert news == [(1, str(case["channel"]), payload)]
    elif case["type"] == oracle.TYPED:
        assert news == [(0, "greet", b"{}")]
    elif case["type"] == oracle.PING:
        assert news == [(oracle.PING, payload)]
    else:
        assert (news, reader.skipped) == ([], 1)
    assert reader.error is None
    if case["flags"] == 0:
        queue = InnerQueue()
        queue.add(case["type"], payload, case["channel"])
        assert InnerWriter(None).seal(queue, InnerQueue(), 1) == block
        if case["type"] == oracle.TYPED:
            queue.add_typed(b"greet", b"{}")
            assert InnerWriter(None).seal(queue, InnerQueue(), 1) == block


def test_every_recorded_channel_has_its_number() -> None:
    cases = read("channels")["cases"]
    assert len(cases) == 168
    for name, number in cases:
        assert channel_number(name.encode()) == oracle.channel_number(name.encode()) == number
        queue = InnerQueue()
        queue.add_app(name.encode(), b"x")
        assert InnerWriter(None).seal(queue, InnerQueue(), 1)[6:8] == number.to_bytes(2)


def test_urgent_messages_go_first_and_others_up_to_the_limit() -> None:
    urgent, messages = InnerQueue(), InnerQueue()
    for text in (b"1", b"2", b"3"):
        messages.add_typed(b"n", text)
    assert len(messages) == 36
    urgent.add(oracle.PING, bytes(9))
    urgent.add(oracle.CONTROL, b"")
    writer = InnerWriter(Cipher(KEY))
    first = writer.seal(urgent, messages, 13)
    assert (len(urgent), len(messages), writer.sealed) == (0, 12, 4)
    assert messages.taken == 24
    second = writer.seal(urgent, messages, 13)
    assert writer.seal(urgent, messages, 13) == b""
    inners = [oracle.inner(oracle.PING, bytes(9)), oracle.inner(oracle.CONTROL, b"")]
    inners += [oracle.typed(b"n", text) for text in (b"1", b"2", b"3")]
    assert first + second == sealed(*inners)


def test_a_message_longer_than_the_limit_goes_alone() -> None:
    messages = InnerQueue()
    messages.add_app(b"data", b"x" * 100_000)
    messages.add_app(b"data", b"y")
    assert len(InnerWriter(Cipher(KEY)).seal(InnerQueue(), messages, 1000)) == 4 + 4 + 100_000 + 16
    assert len(messages) == 4 + 4 + 1


@pytest.mark.parametrize("payload", [b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]])
def test_any_buffer_is_queued(payload: bytes | bytearray | memoryview) -> None:
    queue = InnerQueue()
    queue.add_typed(b"n", payload)
    queue.add_app(b"n", payload)
    queue.add(9, payload)
    channel = oracle.channel_number(b"n")
    expected = [oracle.typed(b"n", b"abc"), oracle.inner(1, b"abc", channel=channel), oracle.inner(9, b"abc")]
    assert InnerWriter(None).seal(queue, InnerQueue(), 1) == b"".join(map(oracle.plain_block, expected))


def test_what_fits_no_block_is_not_queued() -> None:
    queue = InnerQueue()
    with pytest.raises(ValueError, match="type has at most"):
        queue.add_typed(b"n" * 65536, b"")
    with pytest.raises(ValueError, match="do not fit a block"):
        queue.add_app(b"n", bytes(64 * MIB - 19))
    with pytest.raises((TypeError, BufferError)):
        queue.add_app(b"n", "text")  # type: ignore[arg-type]
    assert len(queue) == 0
    queue.add_app(b"n", bytes(64 * MIB - 20))
    assert len(InnerWriter(Cipher(KEY)).seal(InnerQueue(), queue, 1)) == 4 + 64 * MIB
    assert len(queue) == 0


def test_a_used_up_counter_is_told_and_nothing_is_lost() -> None:
    queue = InnerQueue()
    queue.add_app(b"n", b"x")
    with pytest.raises(LocalProtocolError, match="used up"):
        InnerWriter(Cipher(KEY, 2**64 - 1)).seal(InnerQueue(), queue, 1)
    assert len(queue) == 4 + 4 + 1


def test_clearing_drops_what_waits() -> None:
    queue = InnerQueue()
    queue.add_app(b"n", b"x" * 100_000)
    queue.clear()
    assert len(queue) == 0
    assert InnerWriter(Cipher(KEY)).seal(queue, queue, 1) == b""


# Reading


def test_runs_of_one_type_and_changes_of_type_are_told_apart() -> None:
    names = [b"a", b"a", "ü".encode(), b"", b"a", "ü".encode()]
    reader = make_reader()
    news = reader.feed(sealed(*[oracle.typed(name, str(index).encode()) for index, name in enumerate(names)]))
    assert fields(news) == [(0, name.decode(), str(index).encode()) for index, name in enumerate(names)]
    assert (reader.messages, reader.others, reader.window_used) == (6, 0, 6 * 65)
    assert [n.cost for n in each(news) if isinstance(n, Message)] == [65] * 6


def test_messages_of_one_name_and_kind_come_in_runs_that_end_with_the_batch() -> None:
    channels = {1: (1, "a"), 2: (2, "a")}
    reader = InnerReader(None, MAX_MESSAGE, channels.get)
    blocks = [oracle.plain_block(oracle.inner(1, b"x", channel=channel)) for channel in (1, 1, 2, 2, 1)]
    blocks += [oracle.plain_block(oracle.inner(2, b"")), blocks[0], oracle.plain_block(oracle.typed(b"a", b"0"))]
    runs = [run for run in reader.feed(b"".join(blocks)) if isinstance(run, MessageRun)]
    assert [(run.kind, run.name, len(run)) for run in runs] == [
        *((1, "a", 2), (2, "a", 2), (1, "a", 1), (1, "a", 1), (0, "a", 1))
    ]
    (first,), (second,) = reader.feed(blocks[0] * 2), reader.feed(blocks[0] * 3)
    assert isinstance(first, MessageRun)
    assert isinstance(second, MessageRun)
    assert (len(first), len(second), second.cost) == (2, 3, 3 * 65)


def test_a_name_that_is_no_text_is_skipped_between_others() -> None:
    reader = make_reader()
    news = reader.feed(sealed(oracle.typed(b"a", b"1"), oracle.typed(b"\xff", b"2"), oracle.typed(b"a", b"3")))
    assert fields(news) == [(0, "a", b"1"), (0, "a", b"3")]
    assert (reader.skipped, reader.error) == (1, None)


def test_a_handler_that_comes_between_two_batches_is_heard() -> None:
    channels: dict[int, tuple[int, str]] = {}
    reader = InnerReader(None, MAX_MESSAGE, channels.get)
    block = oracle.plain_block(oracle.inner(1, b"x", channel=7))
    assert reader.feed(block * 3) == []
    assert reader.skipped == 3
    channels[7] = (2, "words")
    assert fields(reader.feed(block)) == [(2, "words", b"x")]


def test_what_the_lookup_of_a_channel_raises_comes_out() -> None:
    def broken(number: int) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        InnerReader(None, MAX_MESSAGE, broken).feed(oracle.plain_block(oracle.inner(1, b"x", channel=7)))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("size", "fine"), [(0, False), (3, False), (4, True)])
def test_an_inner_message_has_four_bytes(size: int, plain: bool, fine: bool) -> None:
    reader = make_reader(plain=plain)
    body = bytes(size)
    reader.feed(oracle.plain_block(body) if plain else sealed(body))
    assert (reader.error is None) == fine
    assert reader.skipped == fine


def test_nothing_is_read_behind_what_breaks_the_protocol() -> None:
    reader = make_reader()
    good = sealed(oracle.inner(1, b"x", channel=3))
    assert len(reader.feed(good + b"\xff\xff\xff\xff" + good)) == 1
    assert reader.error == "a block of 4294967295 bytes"
    assert reader.feed(good) == []
    assert reader.buffer_size <= 4096 * 2


# Memory


def test_a_block_of_64_mib_is_read_and_its_memory_given_back() -> None:
    size = 64 * MIB - 4 - 16
    reader = make_reader(max_message=64 * MIB)
    data = sealed(oracle.inner(1, bytes(size), channel=3))
    assert len(data) == 4 + 64 * MIB
    ((kind, name, payload),) = fields(reader.feed(data))
    assert (kind, name, payload == bytes(size)) == (1, "3", True)
    assert reader.buffer_size <= 128 * MIB
    assert len(reader.get_buffer()) == 256 * 1024
    reader.trim()
    reader.received(0)
    reader.trim()
    assert reader.buffer_size == 0


def test_an_announced_block_takes_no_more_memory_than_twice_what_has_come() -> None:
    reader = make_reader(max_message=64 * MIB)
    tracemalloc.start()
    try:
        reader.feed((64 * MIB).to_bytes(4))
        for have in range(0, 3 * MIB, 64 * 1024):
            reader.feed(bytes(64 * 1024))
            assert reader.buffer_size <= max(4096, 2 * (have + 64 * 1024 + 4))
        assert tracemalloc.get_traced_memory()[0] < 7 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [1, 3, 1000, 65_536])
def test_big_and_small_blocks_arrive_in_any_pieces(piece: int) -> None:
    sizes = [0, 1, 5000, 70_000, 10, 300_000, 1] if piece > 1 else [0, 1, 5000, 3]
    data = sealed(*[oracle.inner(1, bytes([index]) * size, channel=5) for index, size in enumerate(sizes)])
    reader = make_reader()
    news = []
    for start in range(0, len(data), piece):
        part = data[start : start + piece]
        while part:
            buffer = reader.get_buffer()
            taken = min(len(buffer), len(part))
            buffer[:taken] = part[:taken]
            news += fields(reader.received(taken))
            part = part[taken:]
    assert news == [(1, "5", bytes([index]) * size) for index, size in enumerate(sizes)]
