"""The compiled framing against the slow oracle, on random, damaged and hostile bytes."""

from __future__ import annotations

import random
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import framing as oracle
from tests.reference.runs import each

from librats._core.aead import Cipher
from librats._core.framing import BlockWriter, FrameQueue
from librats._core.messages import Message
from librats._core.unframing import BlockReader

KEY = bytes(range(32))
ROUND = 256 * 1024
KINDS = [*range(9), *range(0x10, 0x15), *range(0x20, 0x26), 0x30, 0x7F, 0xFF]

numbers = st.sampled_from([0, 1, 2, 255, 0xFFFFFFFF]) | st.integers(0, 0xFFFFFFFF)
names = st.text(max_size=8).map(str.encode) | st.binary(max_size=4)
sizes = st.sampled_from([0, 1, 3, 100, 65_510, 65_514, 65_515, 65_516, 131_030, 200_000])
payloads = st.binary(max_size=40) | st.builds(lambda size, fill: bytes([fill]) * size, sizes, st.integers(0, 255))
flags = st.integers(0, 255)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[int, bytes]:
    """Return a type and a body that has, mostly, the fields of that type."""
    kind = draw(st.sampled_from(KINDS))
    number = struct.pack(">I", draw(numbers))
    name = draw(names)
    short = draw(st.binary(max_size=30))
    shaped = {
        oracle.MESSAGE: bytes([len(name)]) + name + short,
        oracle.REQUEST: number + struct.pack(">I", draw(numbers)) + bytes([len(name)]) + name + short,
        oracle.STREAM_OPEN: number + number + bytes([len(name)]) + name,
        oracle.STREAM_WINDOW: number + number,
        oracle.PING: number + number,
        oracle.PONG: number + number,
        oracle.ACK: number + number,
        oracle.GO_AWAY: bytes([len(name)]) + name + short,
        oracle.REKEY: b"",
        oracle.FOLLOWS: (number * 6)[: len(short) % 2 * 24] * draw(st.sampled_from([1, 2, 64, 65])),
    }
    if kind in (oracle.ERROR, oracle.STREAM_RESET, oracle.STREAM_STOP):
        body = number + bytes([len(name)]) + name + short
    else:
        body = shaped.get(kind, number + short)
    if draw(st.integers(0, 9)) == 0:
        body = draw(st.binary(max_size=20))
    return kind, body


frames = st.builds(lambda kind_body, flag: oracle.frame(kind_body[0], flag, kind_body[1]), bodies(), flags)


def as_fields(frame: Message | tuple[object, ...]) -> tuple[object, ...]:
    if not isinstance(frame, Message):
        return frame
    if frame.request_id:
        return (2, frame.kind, frame.request_id, frame.timeout_ms, frame.name, frame.payload, frame.cost)
    return 1, frame.kind, frame.name, frame.payload, frame.cost


def check_alike(data: bytes, cuts: list[int], max_message: int) -> tuple[BlockReader, oracle.Reader]:
    """Let both read the same bytes, the compiled one in pieces, and compare all that can be seen of it."""
    expected = oracle.Reader(oracle.Sealer(KEY), max_message)
    expected.feed(data)
    reader = BlockReader(Cipher(KEY), max_message)
    got: list[tuple[object, ...]] = []
    at = 0
    for size in [*cuts, len(data)]:
        got += map(as_fields, each(reader.feed(data[at : at + size])))
        at += size
    assert got == expected.frames
    assert (reader.error is None) == (expected.refused is None), (reader.error, expected.refused)
    assert (reader.opened, reader.skipped) == (expected.opened, expected.skipped)
    assert reader.acknowledged == expected.acknowledged
    if expected.refused is None:
        assert reader.window_used == expected.window_used
    return reader, expected


@given(
    st.lists(st.lists(frames, max_size=6).map(b"".join), max_size=5),
    st.lists(st.integers(0, 90), max_size=6),
    st.sampled_from([10, 100, 1 << 20]),
)
def test_any_frames_are_read_as_the_oracle_reads_them(
    plaintexts: list[bytes], cuts: list[int], max_message: int
) -> None:
    sealer = oracle.Sealer(KEY)
    data = b""
    for plaintext in plaintexts:
        data += sealer.block(plaintext)
        if plaintext.endswith(b"\x23\x00\x00\x00"):
            sealer.rekey()
    check_alike(data, cuts, max_message)


@given(st.lists(st.binary(max_size=120), max_size=6), st.lists(st.integers(0, 90), max_size=6))
def test_any_plaintext_is_read_as_the_oracle_reads_it(plaintexts: list[bytes], cuts: list[int]) -> None:
    sealer = oracle.Sealer(KEY)
    check_alike(b"".join(map(sealer.block, plaintexts)), cuts, 1 << 20)


@given(st.binary(max_size=200), st.lists(st.integers(0, 90), max_size=6))
def test_any_bytes_of_the_wire_are_read_as_the_oracle_reads_them(data: bytes, cuts: list[int]) -> None:
    check_alike(data, cuts, 1 << 20)
    check_alike(b"\0\0\0" + data, cuts, 1 << 20)


Verb = tuple[str, int, int, int, bytes, bytes]
verbs: st.SearchStrategy[Verb] = st.tuples(
    st.sampled_from(["message", "request", "reply", "control"]),
    st.integers(0, 3),
    st.integers(1, 0xFFFFFFFF),
    numbers,
    st.text(max_size=8).map(str.encode),
    payloads,
)


@given(st.lists(verbs, max_size=25))
def test_any_frames_are_packed_as_the_oracle_packs_them(calls: list[Verb]) -> None:
    queue, replies = FrameQueue(), FrameQueue(replies=True)
    packed: list[bytes] = []
    packed_replies: list[bytes] = []
    for verb, flag, number, timeout_ms, name, payload in calls:
        if verb == "message":
            queue.add_message(flag, name, payload)
            packed += oracle.frames(oracle.MESSAGE, flag, oracle.message_body(name, payload))
        elif verb == "request":
            queue.add_request(flag, number, timeout_ms, name, payload)
            packed += oracle.frames(oracle.REQUEST, flag, oracle.request_body(number, timeout_ms, name, payload))
        elif verb == "reply":
            replies.add_id(oracle.REPLY, flag, number, payload)
            packed_replies += oracle.frames(oracle.REPLY, flag, struct.pack(">I", number) + payload)
        else:
            queue.add(oracle.HELLO, flag, payload[: oracle.MAX_BODY])
            packed.append(oracle.frame(oracle.HELLO, flag, payload[: oracle.MAX_BODY]))
    for one, expected in ((queue, packed), (replies, packed_replies)):
        assert len(one) == sum(map(len, expected))
        writer = BlockWriter(Cipher(KEY))
        writer.begin(8 << 20)
        writer.put_queue(one)
        sealer = oracle.Sealer(KEY)
        blocks = writer.finish()
        assert blocks == b"".join(map(sealer.block, oracle.plaintexts(expected)))
        reader, _ = check_alike(blocks, [], 1 << 20)
        assert reader.error is None


@given(
    st.lists(st.tuples(st.sampled_from("mcs"), st.integers(0, 90_000)), max_size=30),
    st.integers(65_539, ROUND),
    st.none() | st.integers(65_579, 200_000),
)
def test_rounds_of_any_size_carry_everything_in_order_and_within_the_credit(
    calls: list[tuple[str, int]], capacity: int, credit: int | None
) -> None:
    messages, control = FrameQueue(), FrameQueue()
    streams: list[bytes] = []
    wanted: list[int] = []
    for verb, size in calls:
        if verb == "m":
            messages.add_message(1, b"", bytes(size))
            wanted.append(size)
        elif verb == "c":
            control.add(oracle.HELLO, 0, bytes(size % 60_000))
        else:
            streams.append(bytes(size))
    writer = BlockWriter(Cipher(KEY))
    reader = oracle.Reader(oracle.Sealer(KEY), 1 << 20)
    stream, at = 0, 0
    for _ in range(500):
        writer.begin(capacity)
        before = reader.window_used
        writer.put_queue(control)
        spent = writer.put_queue(messages, -1 if credit is None else credit)
        while stream < len(streams):
            taken = writer.put_chunks(stream + 1, 1, [streams[stream]], at, len(streams[stream]) - at)
            if taken < 0:
                break
            at += taken
            if at == len(streams[stream]):
                stream, at = stream + 1, 0
        data = writer.finish()
        assert len(data) <= capacity
        reader.feed(data)
        assert reader.refused is None
        assert reader.window_used - before == spent
        assert credit is None or spent <= credit
        if not data:
            break
    assert len(messages) == len(control) == 0
    assert stream == len(streams)
    assert [len(frame[3]) for frame in reader.frames if frame[0] == oracle.MESSAGE] == wanted  # type: ignore[arg-type]
    sums = dict.fromkeys(range(1, len(streams) + 1), 0)
    ended = set()
    for frame in reader.frames:
        if frame[0] == oracle.STREAM_DATA:
            assert isinstance(frame[2], int)
            assert isinstance(frame[3], bytes)
            assert frame[2] not in ended
            sums[frame[2]] += len(frame[3])
            ended |= {frame[2]} if frame[1] else set()
    assert sums == {index + 1: len(data) for index, data in enumerate(streams)}
    assert len(ended) == len(streams)


# Fuzzing: truncated, flipped, spliced frames, sealed with the right key


def random_frames(source: random.Random) -> bytes:
    out = b""
    for _ in range(source.randrange(1, 8)):
        kind = source.choice(KINDS)
        number = struct.pack(">I", source.choice((1, 2, 7, 0xFFFFFFFF)))
        name = b"\4" + source.choice((b"name", b"eman", "\u00e9\u00e9".encode()))
        tail = source.randbytes(source.choice((0, 1, 4, 20)))
        body = {
            oracle.MESSAGE: name + tail,
            oracle.REQUEST: number + number + name + tail,
            oracle.FRAGMENT: b"\1\0" + name + tail,
            oracle.STREAM_OPEN: number + number + name,
            oracle.STREAM_WINDOW: number + number,
            oracle.PING: number + number,
            oracle.PONG: number + number,
            oracle.ACK: number + number,
            oracle.GO_AWAY: name + tail,
            oracle.FOLLOWS: number * 6,
        }.get(kind, number + name + tail)
        out += oracle.frame(kind, source.choice((0, 1, 2, 3, 255)), body)
    return out


def mutated(source: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(source.randrange(4)):
        at = source.randrange(len(out) + 1)
        action = source.randrange(5)
        if action == 0:
            del out[at:]
        elif action == 1 and at < len(out):
            out[at] ^= 1 << source.randrange(8)
        elif action == 2:
            out[at:at] = source.randbytes(source.randrange(1, 9))
        elif action == 3:
            del out[at : at + source.randrange(1, 9)]
        else:
            other = random_frames(source)
            out[at:] = other[source.randrange(len(other)) :]
    return bytes(out[: oracle.MAX_PLAINTEXT])


def fuzz(seed: int) -> tuple[int, int]:
    """Read one mutated conversation with both; returns how many frames came, and whether it was refused."""
    source = random.Random(seed)  # noqa: S311 - nothing here is a secret
    sealer = oracle.Sealer(KEY)
    blocks = []
    for _ in range(source.randrange(1, 6)):
        plaintext = random_frames(source)
        blocks.append(sealer.block(mutated(source, plaintext) if source.random() < 0.5 else plaintext))
    data = b"".join(blocks)
    cuts = [source.randrange(200) for _ in range(source.randrange(8))]
    reader, expected = check_alike(data, cuts, source.choice((20, 1000, 1 << 20)))
    return len(expected.frames), reader.error is not None


def test_mutated_frames_never_crash_and_are_read_as_the_oracle_reads_them() -> None:
    outcomes = [fuzz(seed) for seed in range(8000)]
    refused = sum(outcome[1] for outcome in outcomes)
    assert sum(outcome[0] for outcome in outcomes) > 24_000
    assert 800 < refused < 7900


@pytest.mark.long
@pytest.mark.timeout(600)
def test_mutated_frames_for_minutes() -> None:
    end = time.monotonic() + 120
    seed = 1_000_000
    while time.monotonic() < end:
        fuzz(seed)
        seed += 1
    assert seed > 1_010_000
