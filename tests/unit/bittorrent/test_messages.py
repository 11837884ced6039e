"""The peer wire: recorded and composed messages both ways, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from librats._core import bencode
from librats.bittorrent import messages
from librats.bittorrent.messages import (
    Extended,
    Handshake,
    Hashes,
    HashReject,
    HashRequest,
    Have,
    KeepAlive,
    Message,
    Piece,
    Request,
    UnknownMessage,
    piece_header,
    read_handshake,
    read_message,
    write_message,
    write_requests,
)
from librats.bittorrent.reader import MAX_MESSAGE, MessageReader
from librats.errors import RemoteProtocolError, UsageError

HELLO = Handshake.of(b"h" * 20, b"p" * 20).encode()


def as_json(value: Any) -> Any:
    """Return bencode as the vectors have it: keys as text, byte strings as hex."""
    if isinstance(value, dict):
        return {key.decode("latin-1"): as_json(item) for key, item in value.items()}
    return value.hex() if isinstance(value, bytes) else value


def read_one(raw: bytes) -> Message:
    reader = MessageReader()
    (message,) = reader.feed(HELLO + raw)
    assert reader.waiting == 0
    return message


@pytest.mark.vectors("wire/peer_messages")
def test_a_message_of_another_program_is_read_and_written(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    if case["type"] == "handshake":
        handshake = read_handshake(raw)
        assert (handshake.info_hash.hex(), handshake.peer_id.hex()) == (case["info_hash"], case["peer_id"])
        assert handshake.reserved.hex() == case["reserved"]
        assert (handshake.has_extensions, handshake.has_dht, handshake.has_fast) == (
            *(case["extended"], case["dht"], case["fast"]),
        )
        assert handshake.encode() == raw
        return
    message = read_one(raw)
    assert type(message).__name__.lower() == case["type"].replace("_", "")
    assert write_message(message) == raw
    if isinstance(message, Extended):
        assert message.extension == case["extended_id"]
        fields, used = bencode.decode_prefix(message.payload)
        assert as_json(fields) == case["dictionary"]
        assert bytes(message.payload[used:]).hex() == case.get("trailing_data", "")
        return
    named = {"index": "piece", "block": "block", "bitfield": "bits"}
    told = {named.get(key, key): case[key] for key in case.keys() & {*named, "piece", "begin", "length", "port"}}
    ours = {
        key: bytes(value).hex() if isinstance(value, bytes | memoryview) else value
        for key, value in message._asdict().items()
    }
    assert ours == told


@pytest.mark.parametrize(
    "message",
    [
        HashRequest(b"r" * 32, 3, 512, 512, 7),
        HashReject(b"r" * 32, 3, 512, 512, 7),
        Hashes(b"r" * 32, 3, 512, 2, 1, b"h" * 96),
        KeepAlive(),
        UnknownMessage(200, b"what"),
        messages.SuggestPiece(1),
        messages.Cancel(1, 2, 3),
        messages.HaveNone(),
        messages.Choke(),
    ],
)
def test_a_message_is_written_and_read(message: Message) -> None:
    assert read_one(write_message(message)) == message


def test_a_block_is_a_view_of_what_was_read() -> None:
    raw = bytearray(HELLO + piece_header(1, 16_384, 5) + b"block")
    (piece,) = MessageReader().read(memoryview(raw))
    assert isinstance(piece, Piece)
    assert (piece.piece, piece.begin, bytes(piece.block)) == (1, 16_384, b"block")
    raw[-5:] = b"other"
    assert bytes(piece.block) == b"other"


def test_bytes_may_come_one_by_one() -> None:
    sent: list[Message] = [Have(3), KeepAlive(), Request(1, 2, 3), Have(4)]
    raw = HELLO + b"".join(write_message(message) for message in sent) + piece_header(0, 0, 3) + b"abc"
    reader = MessageReader()
    read: list[Message] = []
    for at in range(len(raw)):
        read += [
            message._replace(block=bytes(message.block)) if isinstance(message, Piece) else message
            for message in reader.feed(raw[at : at + 1])
        ]
    assert read == [*sent, Piece(0, 0, b"abc")]


def test_what_waits_leads_what_is_received_next() -> None:
    reader = MessageReader()
    raw = HELLO + write_message(Have(7)) + write_message(Have(8))
    assert reader.feed(raw[:-3]) == [Have(7)]
    buffer = memoryview(bytearray(1000))
    size = reader.lead(buffer)
    assert size == reader.waiting == 6
    buffer[size : size + 3] = raw[-3:]
    assert reader.read(buffer[: size + 3]) == [Have(8)]


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x13BitTorrent protocoX" + bytes(48),
        HELLO + (MAX_MESSAGE + 1).to_bytes(4),
        HELLO + b"\xff\xff\xff\xff\x07" + bytes(8),
        HELLO + bytes([0, 0, 0, 2, 4, 0]),
        HELLO + bytes([0, 0, 0, 2, 0, 0]),
        HELLO + bytes([0, 0, 0, 1, 20]),
        HELLO + bytes([0, 0, 0, 9, 7, *range(8)]),
        HELLO + bytes([0, 0, 0, 3, 22, 0, 0]),
    ],
)
def test_what_breaks_the_protocol_is_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        MessageReader().feed(raw)


def test_a_longer_message_is_taken_where_it_may_be() -> None:
    raw = HELLO + write_message(messages.Bitfield(bytes(200_000)))
    assert MessageReader(max_message=200_001).feed(raw) == [messages.Bitfield(bytes(200_000))]
    with pytest.raises(RemoteProtocolError):
        MessageReader(max_message=200_000).feed(raw)


def test_a_field_without_room_is_refused() -> None:
    with pytest.raises(UsageError):
        write_message(Have(1 << 32))
    with pytest.raises(UsageError):
        write_message(Extended(256, b""))


def test_reading_needs_no_connection() -> None:
    assert read_message(99, b"x") == UnknownMessage(99, b"x")
    with pytest.raises(RemoteProtocolError):
        read_message(5 + 4, b"x")


def test_requests_are_written_as_each_is_by_itself() -> None:
    blocks = [(0, 0, 16_384), (7, 1 << 20, 1), (2**32 - 1, 2**32 - 1, 131_072)]
    assert write_requests(blocks) == b"".join(write_message(Request(*block)) for block in blocks)
    assert write_requests([]) == b""
