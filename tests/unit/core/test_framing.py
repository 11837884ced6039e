"""The compiled framing: layout byte for byte, refusals, room and credit to the byte."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from tests.reference import framing as oracle
from tests.reference.runs import each

from librats._core.aead import Cipher
from librats._core.framing import BlockWriter, FrameQueue
from librats._core.messages import Message, MessageRun
from librats._core.unframing import BlockReader
from librats.errors import LocalProtocolError

KEY = bytes(range(32))
ROUND = 256 * 1024
MAX_MESSAGE = 1 << 20


def make_reader() -> BlockReader:
    return BlockReader(Cipher(KEY), MAX_MESSAGE)


def sealed(*packed: bytes) -> bytes:
    """Seal frames as one block with counter 0."""
    return oracle.Sealer(KEY).block(b"".join(packed))


def written(fill: Callable[[BlockWriter], object], capacity: int = ROUND) -> bytes:
    writer = BlockWriter(Cipher(KEY))
    writer.begin(capacity)
    fill(writer)
    return writer.finish()


def plaintexts_of(blocks: bytes) -> list[bytes]:
    """Open blocks with the oracle's cipher."""
    sealer, out, at = oracle.Sealer(KEY), [], 0
    while at < len(blocks):
        (size,) = struct.unpack_from(">I", blocks, at)
        out.append(sealer.open(blocks[at + 4 : at + 4 + size]))
        at += 4 + size
    return out


def only_message(frames: list[Message | MessageRun | tuple[object, ...]]) -> Message:
    (frame,) = each(frames)
    assert isinstance(frame, Message)
    return frame


# Packing


def test_queue_packs_each_kind_of_frame_as_the_oracle_does() -> None:
    queue = FrameQueue()
    queue.add(oracle.PING, 0, b"12345678")
    queue.add_id(oracle.CANCEL, 0, 0x01020304, b"")
    queue.add_message(2, b"chat", bytearray(b"hello"))
    queue.add_request(1, 0xFFFFFFFF, 10_000, b"", memoryview(b"xyz"))
    expected = (
        oracle.frame(oracle.PING, 0, b"12345678")
        + oracle.frame(oracle.CANCEL, 0, b"\x01\x02\x03\x04")
        + oracle.frame(oracle.MESSAGE, 2, oracle.message_body(b"chat", b"hello"))
        + oracle.frame(oracle.REQUEST, 1, oracle.request_body(0xFFFFFFFF, 10_000, b"", b"xyz"))
    )
    assert len(queue) == len(expected)
    assert written(lambda writer: writer.put_queue(queue)) == oracle.Sealer(KEY).block(expected)
    assert len(queue) == 0
    assert queue.taken == len(expected)


@pytest.mark.parametrize("extra", range(-3, 6))
@pytest.mark.parametrize("bodies", [1, 2, 3])
def test_a_message_around_a_whole_number_of_frames_is_split_as_the_oracle_splits(bodies: int, extra: int) -> None:
    body = oracle.message_body(b"big", bytes(bodies * oracle.MAX_BODY + extra - 4))
    queue = FrameQueue()
    queue.add_message(1, b"big", body[4:])
    packed = oracle.frames(oracle.MESSAGE, 1, body)
    blocks = written(lambda writer: writer.put_queue(queue), 1 << 20)
    assert plaintexts_of(blocks) == oracle.plaintexts(packed)
    reader = make_reader()
    message = only_message(reader.feed(blocks))
    assert (message.name, message.kind, message.payload) == ("big", 1, body[4:])
    assert message.cost == reader.window_used == sum(map(oracle.cost_of, packed))


@pytest.mark.parametrize("kind", [oracle.REPLY, oracle.ERROR])
def test_a_big_reply_travels_in_the_lane_of_replies(kind: int) -> None:
    queue = FrameQueue(replies=True)
    payload = b"\x04code" + b"w" * 100_000
    queue.add_id(kind, 2, 7, payload)
    blocks = written(lambda writer: writer.put_queue(queue))
    assert plaintexts_of(blocks) == oracle.plaintexts(oracle.frames(kind, 2, struct.pack(">I", 7) + payload))
    reader = make_reader()
    answer = payload if kind == oracle.REPLY else None
    expected = (kind, 2, 7, answer) if answer else (kind, 2, 7, "code", "w" * 100_000)
    assert reader.feed(blocks) == [expected]
    assert reader.window_used == 0


@pytest.mark.parametrize("replies", [False, True])
def test_a_frame_too_long_for_its_type_is_refused_and_leaves_the_queue_as_it_was(replies: bool) -> None:
    queue = FrameQueue(replies=replies)
    queue.add(oracle.PING, 0, b"12345678")
    with pytest.raises(ValueError, match="at most 65515 bytes"):
        queue.add(oracle.HELLO, 0, bytes(oracle.MAX_BODY + 1))
    with pytest.raises(ValueError, match="at most 65515 bytes"):
        queue.add_id(oracle.MESSAGE if replies else oracle.REPLY, 0, 1, bytes(oracle.MAX_BODY))
    queue.add(oracle.HELLO, 0, bytes(oracle.MAX_BODY))
    assert len(queue) == 12 + 4 + oracle.MAX_BODY


def test_a_name_of_256_bytes_is_refused() -> None:
    queue = FrameQueue()
    queue.add_message(0, b"n" * 255, b"")
    with pytest.raises(ValueError, match="255"):
        queue.add_message(0, b"n" * 256, b"")
    with pytest.raises(ValueError, match="255"):
        queue.add_request(0, 1, 0, b"n" * 256, b"")
    assert len(queue) == 4 + 256


def test_a_buffer_that_is_not_contiguous_is_refused() -> None:
    queue = FrameQueue()
    with pytest.raises(BufferError):
        queue.add_message(0, b"", memoryview(b"abcdef")[::2])
    assert len(queue) == 0


def test_queue_keeps_its_content_while_it_grows_shrinks_and_moves() -> None:
    queue = FrameQueue()
    reader = make_reader()
    writer = BlockWriter(Cipher(KEY))
    sent = received = 0
    for turn in range(300):
        for _ in range(turn % 37):
            queue.add_message(0, b"", struct.pack(">I", sent) + bytes(sent * 7919 % 3000))
            sent += 1
        writer.begin(65_600 if turn % 50 else 1 << 22)
        writer.put_queue(queue)
        for frame in each(reader.feed(writer.finish())):
            assert isinstance(frame, Message)
            assert frame.payload == struct.pack(">I", received) + bytes(received * 7919 % 3000)
            received += 1
    assert len(queue) == 0
    assert sent == received > 5000
    assert reader.error is None


def test_cleared_queue_counts_as_taken() -> None:
    queue = FrameQueue()
    queue.add_message(0, b"", bytes(200_000))
    size = len(queue)
    queue.clear()
    assert (len(queue), queue.taken) == (0, size)
    queue.add(oracle.PING, 0, b"12345678")
    assert written(lambda writer: writer.put_queue(queue)) == sealed(oracle.frame(oracle.PING, 0, b"12345678"))


# Room and credit


@pytest.mark.parametrize("missing", [0, 1])
def test_capacity_is_kept_to_the_byte(missing: int) -> None:
    queue = FrameQueue()
    queue.add(oracle.HELLO, 0, bytes(100))
    blocks = written(lambda writer: writer.put_queue(queue), 4 + 104 + 16 - missing)
    assert len(blocks) == (0 if missing else 124)
    assert len(queue) == (104 if missing else 0)


@pytest.mark.parametrize("missing", [0, 1])
def test_credit_is_kept_to_the_byte(missing: int) -> None:
    queue = FrameQueue()
    for _ in range(3):
        queue.add_message(0, b"abc", bytes(96))
    spent: list[int] = []
    written(lambda writer: spent.append(writer.put_queue(queue, 2 * 164 - missing)))
    assert spent == [164 * (1 if missing else 2)]
    assert len(queue) == 104 * (2 if missing else 1)


def test_a_first_frame_over_the_credit_stays_where_it_is() -> None:
    queue = FrameQueue()
    queue.add_message(0, b"", bytes(99))
    spent: list[int] = []
    assert written(lambda writer: spent.append(writer.put_queue(queue, 163))) == b""
    assert spent == [0]
    assert len(queue) == 104


def test_frames_that_fill_a_message_exactly_share_it_and_one_byte_more_does_not() -> None:
    for rest, blocks in ((oracle.MAX_PLAINTEXT - 12 - 4, 1), (oracle.MAX_PLAINTEXT - 12 - 3, 2)):
        queue = FrameQueue()
        queue.add(oracle.PING, 0, b"12345678")
        queue.add(oracle.HELLO, 0, bytes(rest))
        assert len(plaintexts_of(written(lambda writer, queue=queue: writer.put_queue(queue)))) == blocks  # type: ignore[misc]


@pytest.mark.parametrize("capacity", [64, 100, 1000, 65_538, 65_539, 65_540, 65_570, 131_078, 131_079, ROUND])
def test_stream_data_fills_a_round_of_any_size(capacity: int) -> None:
    data = bytes(range(256)) * 2048
    writer = BlockWriter(Cipher(KEY))
    reader = make_reader()
    at = 0
    received = bytearray()
    for _ in range(4):
        writer.begin(capacity)
        while (taken := writer.put_chunks(3, 1, [data], at, min(50_000, len(data) - at))) > 0:
            at += taken
        blocks = writer.finish()
        assert capacity - 32 < len(blocks) <= capacity or at == len(data)
        for frame in reader.feed(blocks):
            assert isinstance(frame, tuple)
            assert frame[0] == oracle.STREAM_DATA
            assert frame[2] == 3
            assert isinstance(frame[3], bytes)
            received += frame[3]
    assert reader.error is None
    assert len(received) == at > 0
    assert received == data[:at]


def test_the_end_flag_goes_out_only_with_the_last_byte() -> None:
    writer = BlockWriter(Cipher(KEY))
    writer.begin(200)
    taken = writer.put_chunks(1, 1, [bytes(1000)], 0, 1000)
    assert 0 < taken < 1000
    first = writer.finish()
    writer.begin(ROUND)
    assert writer.put_chunks(1, 1, [bytes(1000)], taken, 1000 - taken) == 1000 - taken
    assert writer.put_chunks(3, 1, [b""], 0, 0) == 0
    frames = make_reader().feed(first + writer.finish())
    assert frames == [
        (oracle.STREAM_DATA, 0, 1, bytes(taken)),
        (oracle.STREAM_DATA, 1, 1, bytes(1000 - taken)),
        (oracle.STREAM_DATA, 1, 3, b""),
    ]


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (0, 11), (11, 1), (10, 1), (5, 2**63 - 1)])
def test_data_outside_the_chunks_is_refused(offset: int, size: int) -> None:
    writer = BlockWriter(Cipher(KEY))
    writer.begin(ROUND)
    with pytest.raises(ValueError, match=r"outside|less than was said"):
        writer.put_chunks(1, 0, [bytes(10)], offset, size)


def test_rounds_must_be_begun_and_finished() -> None:
    writer = BlockWriter(Cipher(KEY))
    with pytest.raises(LocalProtocolError, match="no round"):
        writer.finish()
    writer.begin(100)
    with pytest.raises(LocalProtocolError, match="not finished"):
        writer.begin(100)
    assert writer.finish() == b""


def test_putting_outside_a_round_takes_nothing() -> None:
    writer = BlockWriter(Cipher(KEY))
    queue = FrameQueue()
    queue.add(oracle.PING, 0, b"12345678")
    for begun in (False, True):
        if begun:
            writer.begin(4096)
            writer.finish()
        assert writer.put_queue(queue) == 0
        assert writer.put_chunks(1, 0, [b"data"], 0, 4) == -1
        assert not writer.put_rekey()
        assert len(queue) == 12


def test_a_used_up_counter_stops_the_writer() -> None:
    writer = BlockWriter(Cipher(KEY, 2**64 - 1))
    writer.begin(ROUND)
    assert writer.put_chunks(1, 0, [b"data"], 0, 4) == 4
    with pytest.raises(LocalProtocolError, match="used up"):
        writer.finish()


@pytest.mark.parametrize("room", [100, 1000, 4096])
@pytest.mark.parametrize("offset", [0, 3, 9])
def test_chunks_are_sent_as_the_same_bytes_in_one_piece(room: int, offset: int) -> None:
    chunks: list[bytes | bytearray] = [b"0123456789", bytearray(b"abc"), b"x" * 700, b"yz"]
    whole = b"".join(chunks)
    rounds = []
    for pieces in (True, False):
        writer = BlockWriter(Cipher(KEY))
        writer.begin(room)
        size = len(whole) - offset
        taken = writer.put_chunks(5, 1, chunks if pieces else [whole], offset, size)
        assert 0 < taken <= size
        rounds.append((taken, writer.finish()))
    assert rounds[0] == rounds[1]


def test_chunks_that_hold_less_than_was_said_or_are_none_are_refused() -> None:
    writer = BlockWriter(Cipher(KEY))
    writer.begin(4096)
    with pytest.raises(ValueError, match="less than was said"):
        writer.put_chunks(1, 0, [b"ab"], 0, 3)
    with pytest.raises(ValueError, match="less than was said"):
        writer.put_chunks(1, 0, [b"ab"], 3, 1)
    with pytest.raises(ValueError, match="outside the data"):
        writer.put_chunks(1, 0, [b"ab"], -1, 1)
    with pytest.raises(TypeError, match="a chunk is bytes or a bytearray, not str"):
        writer.put_chunks(1, 0, ["ab"], 0, 2)  # type: ignore[list-item]
    assert writer.put_chunks(1, 0, [], 0, 0) == 0
