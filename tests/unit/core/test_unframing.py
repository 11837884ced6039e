"""The compiled unframing: what is read, what is refused, and the buffer that it is received in."""

from __future__ import annotations

import struct

import pytest
from tests.reference import framing as oracle
from tests.reference.runs import each

from librats._core.aead import Cipher
from librats._core.framing import BlockWriter, FrameQueue
from librats._core.messages import Message, MessageRun, json_nests_deeper
from librats._core.unframing import BlockReader
from librats.session.frames import FrameType

KEY = bytes(range(32))
ROUND = 256 * 1024
MAX_MESSAGE = 1 << 20


def make_reader(max_message: int = MAX_MESSAGE, nonce: int = 0) -> BlockReader:
    return BlockReader(Cipher(KEY, nonce), max_message)


def sealed(*packed: bytes) -> bytes:
    """Seal frames as one block with counter 0."""
    return oracle.Sealer(KEY).block(b"".join(packed))


def only_message(frames: list[Message | MessageRun | tuple[object, ...]]) -> Message:
    (frame,) = each(frames)
    assert isinstance(frame, Message)
    return frame


def test_both_lanes_of_fragments_and_everything_else_may_be_interleaved() -> None:
    message = b"\x01\x00" + oracle.message_body(b"chat", b"0123456789")
    reply = b"\x03\x01" + struct.pack(">I", 7) + b"abcdef"
    reader = make_reader()
    frames = reader.feed(
        sealed(
            oracle.frame(oracle.FRAGMENT, 0, message[:1]),
            oracle.frame(oracle.STREAM_DATA, 0, struct.pack(">I", 1) + b"s"),
            oracle.frame(oracle.FRAGMENT, 2, reply[:3]),
            oracle.frame(oracle.FRAGMENT, 0, b""),
            oracle.frame(oracle.FRAGMENT, 3, reply[3:]),
            oracle.frame(oracle.PING, 0, b"12345678"),
            oracle.frame(oracle.FRAGMENT, 1, message[1:]),
        )
    )
    assert frames[:3] == [
        (oracle.STREAM_DATA, 0, 1, b"s"),
        (oracle.REPLY, 1, 7, b"abcdef"),
        (oracle.PING, 0, b"12345678"),
    ]
    assert only_message(frames[3:]).payload == b"0123456789"
    assert reader.window_used == 3 * 64 + len(message)


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (b"\x01\x00\x00", "truncated frame header"),
        (oracle.frame(0, 0, b"\x00") + b"\x01", "truncated frame header"),
        (b"\x20\x00\x00\x09" + bytes(8), "longer than its block"),
        (b"\x7f\x00\xff\xff", "longer than its block"),
        (oracle.frame(1, 0, b""), "shorter than its name"),
        (oracle.frame(1, 0, b"\x05chat"), "shorter than its name"),
        (oracle.frame(1, 0, b"\x02\xff\xfe"), "not UTF-8"),
        (oracle.frame(2, 0, bytes(8)), "shorter than its name"),
        (oracle.frame(2, 0, bytes(9)), "without a number"),
        (oracle.frame(3, 0, bytes(3)), "without its number"),
        (oracle.frame(4, 0, bytes(4)), "shorter than its code"),
        (oracle.frame(4, 0, bytes(4) + b"\x05code"), "shorter than its code"),
        (oracle.frame(5, 0, bytes(3)), "without its number"),
        (oracle.frame(6, 1, b""), "without a type"),
        (oracle.frame(6, 1, b"\x01"), "without a type"),
        (oracle.frame(6, 1, b"\x01\x00"), "shorter than its name"),
        (oracle.frame(6, 1, b"\x03\x00" + bytes(4)), "fragments of a frame of type 3"),
        (oracle.frame(6, 3, b"\x01\x00\x00"), "fragments of a frame of type 1"),
        (oracle.frame(6, 1, b"\x06\x01\x01\x00\x00"), "fragments of a frame of type 6"),
        (oracle.frame(0x10, 0, bytes(3)), "without its number"),
        (oracle.frame(0x10, 0, bytes(8)), "shorter than its name"),
        (oracle.frame(0x10, 0, bytes(8) + b"\x02a"), "shorter than its name"),
        (oracle.frame(0x10, 0, bytes(8) + b"\x01\x80"), "not UTF-8"),
        (oracle.frame(0x11, 0, bytes(3)), "without its number"),
        (oracle.frame(0x12, 0, bytes(7)), "without its credit"),
        (oracle.frame(0x13, 0, bytes(4)), "shorter than its code"),
        (oracle.frame(0x14, 0, bytes(4) + b"\x01"), "shorter than its code"),
        (oracle.frame(0x20, 0, bytes(7)), "without eight bytes"),
        (oracle.frame(0x21, 0, bytes(9)), "without eight bytes"),
        (oracle.frame(0x22, 0, b""), "shorter than its code"),
        (oracle.frame(0x23, 0, b"") + oracle.frame(0, 0, b""), "behind a change of key"),
        (oracle.frame(6, 0, b"\x01\x00\x00") + oracle.frame(1, 0, b"\x00"), "among the fragments"),
        (
            oracle.frame(6, 0, b"\x01\x00\x00") + oracle.frame(2, 0, bytes(3) + b"\x01" + bytes(5)),
            "among the fragments",
        ),
        (oracle.frame(6, 2, b"\x03\x00") + oracle.frame(3, 0, bytes(4)), "among the fragments"),
        (oracle.frame(6, 2, b"\x03\x00") + oracle.frame(4, 0, bytes(4) + b"\x00"), "among the fragments"),
    ],
)
def test_a_malformed_frame_ends_the_reading(packed: bytes, why: str) -> None:
    reader = make_reader()
    before = oracle.frame(oracle.PING, 0, b"12345678")
    assert reader.feed(sealed(before + packed)) == [(oracle.PING, 0, b"12345678")]
    assert reader.error is not None
    assert why in reader.error
    following = oracle.Sealer(KEY, 1).block(before)
    assert reader.feed(following) == []
    assert reader.opened == 1


@pytest.mark.parametrize("size", [0, 1, 15, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_block_of_an_impossible_size_is_refused_by_its_first_four_bytes(size: int) -> None:
    reader = make_reader()
    assert reader.feed(size.to_bytes(4)) == []
    assert reader.error == f"a block of {size} bytes"
    assert reader.buffer_size == 0


def test_an_empty_block_and_unknown_frames_are_harmless() -> None:
    reader = make_reader()
    sealer = oracle.Sealer(KEY)
    known = {*range(1, 9), *range(0x10, 0x15), *range(0x20, 0x26), oracle.SUCCESSION, oracle.ACK, FrameType.INTRODUCE}
    unknown = [kind for kind in range(256) if kind not in known]
    data = sealer.block(b"") + sealer.block(b"".join(oracle.frame(kind, 0xFF, b"?") for kind in unknown))
    assert reader.feed(data) == []
    assert (reader.error, reader.opened, reader.skipped) == (None, 2, len(unknown))


def test_the_name_of_the_message_before_is_not_mistaken_for_another_of_its_length() -> None:
    names = ["", "a", "b", "b", "ab", "ba", "ab", "", "\u00e9", "ab", "n" * 255, "n" * 254 + "m"]
    packed = [oracle.frame(1, 0, oracle.message_body(name.encode(), b"")) for name in names]
    frames = make_reader().feed(sealed(*packed))
    assert [frame.name for frame in each(frames) if isinstance(frame, Message)] == names


def test_a_bad_name_is_not_remembered() -> None:
    reader = make_reader()
    reader.feed(sealed(oracle.frame(1, 0, b"\x02\xff\xfe"), oracle.frame(1, 0, b"\x02\xff\xfe")))
    assert reader.error == "a name that is not UTF-8"


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("limit", [100, 100_000])
@pytest.mark.parametrize("kind", [oracle.MESSAGE, oracle.REQUEST, oracle.REPLY])
def test_the_longest_message_is_kept_to_the_byte(kind: int, limit: int, over: int) -> None:
    payload = bytes(limit + over)
    body = {
        oracle.MESSAGE: oracle.message_body(b"m", payload),
        oracle.REQUEST: oracle.request_body(1, 0, b"m", payload),
        oracle.REPLY: struct.pack(">I", 1) + payload,
    }[kind]
    sealer = oracle.Sealer(KEY)
    reader = make_reader(limit)
    frames = reader.feed(b"".join(map(sealer.block, oracle.plaintexts(oracle.frames(kind, 0, body)))))
    assert len(frames) == 1 - over
    assert (reader.error is None) == (over == 0)


def test_fragments_without_an_end_are_stopped_at_the_limit() -> None:
    reader = make_reader(200_000)
    sealer = oracle.Sealer(KEY)
    for _ in range(3):
        reader.feed(sealer.block(oracle.frame(oracle.FRAGMENT, 0, bytes(oracle.MAX_BODY))))
        assert reader.error is None
    reader.feed(sealer.block(oracle.frame(oracle.FRAGMENT, 0, bytes(oracle.MAX_BODY))))
    assert reader.error == "a message longer than 200000 bytes"


def test_a_used_up_counter_stops_the_reader() -> None:
    reader = make_reader(nonce=2**64 - 1)
    reader.feed(sealed(b""))
    assert reader.error == "the message counter of this key is used up"


def test_keys_change_on_both_sides_at_the_same_message() -> None:
    writer = BlockWriter(Cipher(KEY))
    sealer = oracle.Sealer(KEY)
    expected = b""
    reader = make_reader()
    ping = oracle.frame(oracle.PING, 0, b"12345678")
    for _ in range(3):
        queue = FrameQueue()
        queue.add(oracle.PING, 0, b"12345678")
        writer.begin(ROUND)
        writer.put_queue(queue)
        assert writer.put_rekey()
        blocks = writer.finish()
        expected = sealer.block(ping + oracle.frame(oracle.REKEY, 0, b""))
        sealer.rekey()
        assert blocks == expected
        assert reader.feed(blocks) == [(oracle.PING, 0, b"12345678"), (oracle.REKEY, 0)]
    assert writer.sealed == reader.opened == 3


# The receive buffer


def test_the_buffer_grows_with_what_arrives_not_with_what_is_announced() -> None:
    reader = make_reader()
    block = sealed(oracle.frame(oracle.HELLO, 0, bytes(oracle.MAX_BODY)))
    reader.feed(block[:4])
    assert reader.buffer_size == 4096
    reader.feed(block[4:4096])
    assert reader.buffer_size == 4096
    reader.feed(block[4096:4097])
    assert reader.buffer_size == 8192
    assert reader.feed(block[4097:]) == [(oracle.HELLO, 0, bytes(oracle.MAX_BODY))]
    assert reader.buffer_size == 131_072


def test_trim_gives_memory_back_and_loses_nothing() -> None:
    reader = make_reader()
    sealer = oracle.Sealer(KEY)
    reader.feed(b"".join(sealer.block(oracle.frame(oracle.HELLO, 0, bytes(60_000))) for _ in range(20)))
    grown = reader.buffer_size
    assert grown >= 65_536
    reader.trim()
    block = sealer.block(oracle.frame(oracle.HELLO, 0, b"x" * 5000))
    assert reader.feed(block[:4500]) == []
    reader.trim()
    reader.trim()
    assert reader.buffer_size == 8192 < grown
    assert reader.feed(block[4500:]) == [(oracle.HELLO, 0, b"x" * 5000)]
    reader.trim()
    reader.trim()
    assert reader.buffer_size == 0


def through(reader: BlockReader, scratch: bytearray, data: bytes) -> list[object]:
    """Let a reader receive bytes as a driver with a scratch buffer does it; the scratch is overwritten afterwards."""
    frames: list[object] = []
    while data:
        buffer = reader.get_buffer(scratch)
        piece, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        frames += each(reader.received(len(piece)))
        scratch[:] = bytes(len(scratch))
    return frames


@pytest.mark.parametrize("cut", [1, 3, 1000, 5011, 5012, 5013, 20_000, 1 << 20])
def test_whole_blocks_are_read_from_a_shared_buffer_and_pieces_are_kept(cut: int) -> None:
    reader, sealer, scratch = make_reader(), oracle.Sealer(KEY), bytearray(1 << 16)
    bodies = [bytes([number]) * 4992 for number in range(12)]
    data = b"".join(sealer.block(oracle.frame(oracle.HELLO, 0, body)) for body in bodies)
    frames: list[object] = []
    for start in range(0, len(data), cut):
        frames += through(reader, scratch, data[start : start + cut])
    assert frames == [(oracle.HELLO, 0, body) for body in bodies]
    assert reader.error is None


def test_a_reader_of_whole_blocks_has_no_buffer_of_its_own() -> None:
    reader, sealer, scratch = make_reader(), oracle.Sealer(KEY), bytearray(1 << 16)
    for _ in range(3):
        through(reader, scratch, sealer.block(oracle.frame(oracle.PING, 0, bytes(8))))
    assert reader.buffer_size == 0
    block = sealer.block(oracle.frame(oracle.HELLO, 0, bytes(3000)))
    through(reader, scratch, block[:-1])
    assert reader.buffer_size == 8192
    through(reader, scratch, block[-1:])
    for _ in range(2):
        reader.trim()
    assert reader.buffer_size == 0


@pytest.mark.parametrize("count", [-1, (1 << 16) + 1])
def test_more_than_the_shared_buffer_has_is_refused(count: int) -> None:
    reader = make_reader()
    reader.get_buffer(bytearray(1 << 16))
    with pytest.raises(ValueError, match="more bytes than the buffer has"):
        reader.received(count)


def test_a_buffer_that_is_lent_is_trimmed_only_when_it_has_come_back() -> None:
    reader = make_reader()
    sealer = oracle.Sealer(KEY)
    reader.feed(b"".join(sealer.block(oracle.frame(oracle.HELLO, 0, bytes(60_000))) for _ in range(20)))
    reader.trim()
    grown = reader.buffer_size
    lent = reader.get_buffer()
    reader.trim()
    block = sealer.block(oracle.frame(oracle.PING, 0, b"12345678"))
    lent[: len(block)] = block
    assert reader.buffer_size == grown
    assert reader.received(len(block)) == [(oracle.PING, 0, b"12345678")]
    lent.release()
    reader.get_buffer()
    assert reader.buffer_size < grown


def test_more_than_the_buffer_has_is_refused() -> None:
    reader = make_reader()
    room = len(reader.get_buffer())
    with pytest.raises(ValueError, match="more bytes"):
        reader.received(room + 1)
    with pytest.raises(ValueError, match="more bytes"):
        reader.received(-1)
    assert reader.received(0) == []


def test_there_is_always_room_in_the_buffer_whatever_came_and_went_wrong() -> None:
    for first in (b"\xff" * 4, sealed(oracle.frame(1, 0, b"")), sealed()):
        reader = make_reader()
        reader.feed(first)
        for _ in range(200):
            buffer = reader.get_buffer()
            assert len(buffer) > 0
            reader.received(len(buffer))


def test_a_view_taken_before_the_buffer_moved_stays_valid() -> None:
    reader = make_reader()
    view = reader.get_buffer()
    view[:] = bytes(4) * (len(view) // 4)
    reader.feed((65_535).to_bytes(4) + bytes(40_000))
    assert reader.buffer_size > 4096
    assert len(bytes(view)) == 4096


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (b"", 0),
        (b"1", 0),
        (b'"[[["', 0),
        (b'"\\"[[["', 0),
        (b'"\\\\"[', 1),
        (b"[]", 1),
        (b'[{"a":[]},[]]', 3),
        (b"[][][]", 1),
        (b'"\\', 0),
        (b'"abc\\', 0),
        (b"[" * 100, 100),
    ],
)
def test_nesting_of_json_is_measured_to_the_level(text: bytes, depth: int) -> None:
    assert not json_nests_deeper(text, depth)
    assert depth == 0 or json_nests_deeper(text, depth - 1)
