"""The compiled code against the vectors that `docs/explanation/protocol.md` gives to other implementers, both ways."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.reference.runs import each
from tools import make_protocol_vectors

from librats._core.aead import Cipher
from librats._core.framing import BlockWriter, FrameQueue
from librats._core.messages import Message
from librats._core.unframing import BlockReader
from librats.config import SessionConfig
from librats.errors import DecodeError, HandshakeError
from librats.peers.hello import Hello
from librats.session.events import PeersOffered, PeersWanted
from librats.session.exchange import KnownPeer, decode_exchange, encode_answer, encode_request
from librats.session.frames import FrameType
from librats.session.greeting import Greeting
from librats.session.machine import Session
from librats.session.opening import Opening, PlainOpened
from librats.session.path_keys import Join, PathKeys
from librats.session.path_opening import PathAnswer, PathCall
from librats.session.plaintext import PlaintextOpening
from librats.types import Address

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors" / "protocol"
PROTOCOL_PAGE = ROOT / "docs" / "explanation" / "protocol.md"

MAX_MESSAGE = 64 << 20
ROUND = 1 << 20

LoadVectors = Callable[[str], list[dict[str, Any]]]
Case = dict[str, Any]


def read_json(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def key() -> bytes:
    return bytes.fromhex(read_json("handshake")["cases"][0]["key_from_initiator"])


def make_reader(nonce: int = 0) -> BlockReader:
    return BlockReader(Cipher(key(), nonce), MAX_MESSAGE)


def make_writer(nonce: int = 0) -> BlockWriter:
    writer = BlockWriter(Cipher(key(), nonce))
    writer.begin(ROUND)
    return writer


def test_the_vectors_are_those_that_the_tool_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_protocol_vectors.main([str(tmp_path)]) == 0
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in VECTORS.iterdir()}
    assert made == kept
    assert len(capsys.readouterr().out.splitlines()) == len(kept)


def test_every_keyed_set_uses_the_key_of_the_handshake() -> None:
    keyed = [content["key"] for path in VECTORS.iterdir() if "key" in (content := read_json(path.stem))]
    assert keyed == [key().hex()] * 5


# Handshake and greetings


def make_opening(case: Case, role: str, **arguments: Any) -> Opening:
    payload = bytes.fromhex(case[role]["greeting"])
    greeting = Greeting.decode(payload)
    assert greeting is not None
    assert greeting.encode() == payload
    return Opening(
        initiator=role == "initiator",
        private_key=bytes.fromhex(case[role]["static_private"]),
        ephemeral=bytes.fromhex(case[role]["ephemeral_private"]),
        protocol=case["protocol"],
        greeting=greeting,
        **arguments,
    )


@pytest.mark.vectors("protocol/handshake")
def test_both_sides_of_the_handshake_send_the_blocks_of_the_vector(case: Case) -> None:
    sides = {role: make_opening(case, role) for role in ("initiator", "responder")}
    for step in case["blocks"]:
        sender = step["from"]
        receiver = "responder" if sender == "initiator" else "initiator"
        data = sides[sender].data_to_send()
        assert data.hex() == step["block"]
        sides[receiver].receive_data(data)
    initiator, responder = (sides[role].result for role in ("initiator", "responder"))
    assert initiator is not None
    assert responder is not None
    assert initiator.handshake_hash.hex() == responder.handshake_hash.hex() == case["handshake_hash"]
    assert (initiator.peer_id, responder.peer_id) == (case["responder"]["peer_id"], case["initiator"]["peer_id"])
    assert (initiator.public_key.hex(), responder.public_key.hex()) == (
        case["responder"]["static_public"],
        case["initiator"]["static_public"],
    )
    for sealing, opening, name in (
        (initiator.sending, responder.receiving, "key_from_initiator"),
        (responder.sending, initiator.receiving, "key_from_responder"),
    ):
        sealed = Cipher(bytes.fromhex(case[name])).seal(b"first")
        assert sealing.seal(b"first") == sealed
        assert opening.open(sealed) == b"first"


@pytest.mark.vectors("protocol/handshake")
def test_the_initiator_sends_no_third_block_to_another_peer_than_the_expected_one(case: Case) -> None:
    initiator = make_opening(case, "initiator", expect_id=case["initiator"]["peer_id"])
    assert initiator.data_to_send().hex() == case["blocks"][0]["block"]
    with pytest.raises(HandshakeError, match="expected peer"):
        initiator.receive_data(bytes.fromhex(case["blocks"][1]["block"]))
    assert initiator.data_to_send() == b""


@pytest.mark.vectors("protocol/plaintext")
def test_without_encryption_both_sides_send_the_blocks_of_the_vector(case: Case) -> None:
    sides = {
        role: PlaintextOpening(initiator=role == "initiator", peer_id=case[role]["peer_id"], protocol=case["protocol"])
        for role in ("initiator", "responder")
    }
    for step, receiver in zip(case["blocks"], ("responder", "initiator"), strict=True):
        data = sides[step["from"]].data_to_send()
        assert data.hex() == step["block"]
        sides[receiver].receive_data(data)
        assert sides[receiver].result == PlainOpened(peer_id=case[step["from"]]["peer_id"])


@pytest.mark.vectors("protocol/greetings")
def test_greetings_are_read_as_the_vector_says(case: Case) -> None:
    payload = bytes.fromhex(case["payload"])
    if case.get("refused"):
        with pytest.raises(DecodeError):
            Greeting.decode(payload)
        return
    greeting = Greeting.decode(payload)
    if case["fields"] is None:
        assert greeting is None
        return
    assert greeting is not None
    told = {name: getattr(greeting, name) for name in case["fields"]}
    assert told == case["fields"] | {"incarnation": bytes.fromhex(case["fields"]["incarnation"])}
    if case.get("encodes"):
        assert greeting.encode() == payload


# Frames


def pack(case: Case) -> FrameQueue:
    """Queue a frame from its fields, with the verb that the session uses for it."""
    queue = FrameQueue()
    fields = case["fields"]
    kind, flags = case["type"], case["flags"]
    payload = bytes.fromhex(fields.get("payload", ""))
    if kind == FrameType.MESSAGE:
        queue.add_message(flags, fields["name"].encode(), payload)
    elif kind == FrameType.REQUEST:
        queue.add_request(flags, fields["number"], fields["timeout_ms"], fields["name"].encode(), payload)
    elif "body" in fields:
        queue.add(kind, flags, bytes.fromhex(fields["body"]))
    elif "code" in fields:
        code = fields["code"].encode()
        body = bytes([len(code)]) + code + fields["words"].encode()
        if "number" in fields:
            queue.add_id(kind, flags, fields["number"], body)
        else:
            queue.add(kind, flags, body)
    elif kind == FrameType.STREAM_OPEN:
        name = fields["name"].encode()
        queue.add_id(kind, flags, fields["number"], fields["window"].to_bytes(4) + bytes([len(name)]) + name)
    elif kind == FrameType.STREAM_WINDOW:
        queue.add_id(kind, flags, fields["number"], fields["credit"].to_bytes(4))
    else:
        queue.add_id(kind, flags, fields["number"], payload)
    return queue


def described(frame: Any) -> tuple[Any, ...]:
    """Lay out what the reader returned as `expected` does."""
    if isinstance(frame, Message):
        kind = FrameType.REQUEST if frame.request_id else FrameType.MESSAGE
        return kind, frame.kind, frame.request_id, frame.timeout_ms, frame.name, frame.payload, frame.cost
    assert isinstance(frame, tuple)
    return frame


def expected(case: Case) -> list[tuple[Any, ...]]:
    """What the reader makes of a frame: nothing where the type is not known."""
    kind, flags, fields = case["type"], case["flags"], case["fields"]
    if kind in {FrameType.MESSAGE, FrameType.REQUEST}:
        cost = 64 + len(bytes.fromhex(case["frame"])) - 4
        numbers = fields.get("number", 0), fields.get("timeout_ms", 0)
        return [(kind, flags, *numbers, fields["name"], bytes.fromhex(fields["payload"]), cost)]
    if kind not in set(FrameType) - {FrameType.PADDING, FrameType.ACK}:
        return []
    if kind == FrameType.FOLLOWS:
        return [(kind, flags, bytes.fromhex(fields["body"]), 64 + len(bytes.fromhex(fields["body"])))]
    names = ("number", "window", "name", "credit", "code", "words", "payload", "data", "body")
    values = [
        bytes.fromhex(fields[name]) if name in {"payload", "data", "body"} else fields[name]
        for name in names
        if name in fields
    ]
    return [(kind, flags, *values)]


@pytest.mark.vectors("protocol/frames")
def test_every_frame_is_packed_and_sealed_as_the_vector_says(case: Case) -> None:
    writer = make_writer(case["nonce"])
    if case["type"] == FrameType.STREAM_DATA:
        data = bytes.fromhex(case["fields"]["data"])
        assert writer.put_chunks(case["fields"]["number"], case["flags"], [data], 0, len(data)) == len(data)
    else:
        queue = pack(case)
        assert len(queue) == len(bytes.fromhex(case["frame"]))
        writer.put_queue(queue)
    assert writer.finish().hex() == case["block"]


@pytest.mark.vectors("protocol/frames")
def test_every_frame_is_opened_and_unpacked_as_the_vector_says(case: Case) -> None:
    reader = make_reader(case["nonce"])
    frames = list(each(reader.feed(bytes.fromhex(case["block"]))))
    assert reader.error is None
    assert [described(frame) for frame in frames] == expected(case)
    if case["type"] == FrameType.ACK:
        assert reader.acknowledged == int(case["fields"]["body"], 16)
    else:
        assert reader.skipped == (0 if expected(case) else 1)


def test_every_frame_type_in_use_has_a_vector(load_vectors: LoadVectors) -> None:
    elsewhere = {FrameType.FRAGMENT, FrameType.REKEY, FrameType.SUCCESSION}
    shown = {case["type"] for case in load_vectors("protocol/frames")} | elsewhere
    reserved = {FrameType.PATH_CHALLENGE, FrameType.PATH_RESPONSE}
    assert set(FrameType) - reserved == shown & set(FrameType)


@pytest.mark.vectors("protocol/together")
def test_many_frames_share_one_block(case: Case, load_vectors: LoadVectors) -> None:
    frames = {one["id"]: one for one in load_vectors("protocol/frames")}
    assert "".join(frames[name]["frame"] for name in case["frames"]) == case["plaintext"]
    writer = make_writer(case["nonce"])
    for name in case["frames"]:
        one = frames[name]
        if one["type"] == FrameType.STREAM_DATA:
            data = bytes.fromhex(one["fields"]["data"])
            writer.put_chunks(one["fields"]["number"], one["flags"], [data], 0, len(data))
        else:
            writer.put_queue(pack(one))
    assert writer.finish().hex() == case["block"]
    taken = list(each(make_reader(case["nonce"]).feed(bytes.fromhex(case["block"]))))
    assert [described(frame) for frame in taken] == [item for name in case["frames"] for item in expected(frames[name])]


class NoEntropy:
    """A session that only listens draws nothing."""

    def token_bytes(self, size: int) -> bytes:
        raise AssertionError(f"{size} random bytes were drawn")

    def randbelow(self, limit: int) -> int:
        raise AssertionError(f"a number below {limit} was drawn")

    def uniform(self, low: float, high: float) -> float:
        raise AssertionError(f"a number from {low} to {high} was drawn")


def test_a_session_takes_the_whole_conversation(load_vectors: LoadVectors) -> None:
    case = load_vectors("protocol/handshake")[0]
    responder = make_opening(case, "responder")
    for step in case["blocks"]:
        if step["from"] == "initiator":
            responder.receive_data(bytes.fromhex(step["block"]))
    assert responder.result is not None
    assert responder.result.greeting is not None
    session = Session(
        responder.result,
        responder.result.greeting,
        initiator=False,
        config=SessionConfig(),
        entropy=NoEntropy(),
        now=0.0,
    )
    for one in load_vectors("protocol/frames"):
        session.receive_data(bytes.fromhex(one["block"]), now=1.0)
    assert session.failed is None
    assert [type(event).__name__ for event in each(session.take_events())] == [
        *("HelloReceived", "Message", "Message", "Message", "Message", "Message", "RequestCancelled"),
        *("DatagramReceived", "StreamOpened", "PeersWanted", "PeersOffered", "FollowsReceived", "GoAwayReceived"),
        *("IntroductionReceived", "StreamChanged"),
    ]
    answer = session.data_to_send(now=1.0)
    pong = BlockReader(Cipher(bytes.fromhex(case["key_from_responder"])), MAX_MESSAGE).feed(answer)
    assert pong == [(FrameType.PONG, 0, bytes.fromhex("1122334455667788"))]


def test_the_hello_of_the_vectors_is_what_a_node_writes(load_vectors: LoadVectors) -> None:
    body = bytes.fromhex(load_vectors("protocol/frames")[0]["fields"]["body"])
    hello = Hello.decode(body)
    assert (hello.listen, hello.observed) == (["192.0.2.7:8081"], "198.51.100.4:40000")
    assert hello.encode() == body


def test_the_peer_exchange_of_the_vectors_is_what_a_node_writes(load_vectors: LoadVectors) -> None:
    wanted, offered = (
        bytes.fromhex(one["fields"]["body"])
        for one in load_vectors("protocol/frames")
        if one["type"] == FrameType.PEERS
    )
    (nodes,) = load_vectors("protocol/handshake")
    assert decode_exchange(wanted) == PeersWanted(32)
    assert encode_request() == wanted
    entries = (
        KnownPeer(Address("192.0.2.7", 8081), nodes["initiator"]["peer_id"]),
        KnownPeer(Address("2001:db8::7", 8082), nodes["responder"]["peer_id"]),
    )
    assert decode_exchange(offered) == PeersOffered(entries)
    assert encode_answer(entries) == offered


# Paths


@pytest.mark.vectors("protocol/paths")
@pytest.mark.parametrize("whose", ["caller", "other"])
def test_both_sides_open_a_path_with_the_blocks_of_the_vector(case: Case, whose: str) -> None:
    secret = bytes.fromhex(read_json("paths")["secret"])
    assert secret.hex() == read_json("handshake")["cases"][0]["path_secret"]
    blocks = [bytes.fromhex(block) for block in case["blocks"]]
    keys = PathKeys(secret, initiator=(case["caller"] == "initiator") == (whose == "caller"))
    assert keys.token.hex() == case["token"]
    if whose == "caller":
        call = PathCall(keys)
        assert call.data_to_send() == blocks[0]
        call.receive_data(blocks[1])
        call.switch(case["received_by_caller"])
        assert call.data_to_send() == blocks[2]
        call.receive_data(blocks[3])
        assert call.path is not None
        assert call.path.received == case["received_by_other"]
    else:
        answer = PathAnswer(keys, Join.decode(blocks[0][4:]), bytes.fromhex(case["challenge"]))
        assert answer.data_to_send() == blocks[1]
        answer.receive_data(blocks[2])
        answer.switch(case["received_by_other"])
        assert answer.data_to_send() == blocks[3]
        assert answer.path is not None
        assert answer.path.received == case["received_by_caller"]


def test_the_secret_of_the_paths_comes_from_the_handshake(load_vectors: LoadVectors) -> None:
    case = load_vectors("protocol/handshake")[0]
    sides = {role: make_opening(case, role) for role in ("initiator", "responder")}
    for step in case["blocks"]:
        for role, side in sides.items():
            if role != step["from"]:
                side.receive_data(bytes.fromhex(step["block"]))
    for side in sides.values():
        assert side._handshake.export_secret.hex() == case["path_secret"]


# Fragments, keys, refusals


def test_fragments_of_two_lanes_come_together_with_other_frames_in_between(load_vectors: LoadVectors) -> None:
    case = load_vectors("protocol/fragments")[0]
    reader = make_reader(case["nonce"])
    message, reply = case["message"], case["reply"]
    assert [described(frame) for frame in each(reader.feed(bytes.fromhex(case["block"])))] == [
        (FrameType.PING, 0, bytes.fromhex("1122334455667788")),
        (FrameType.REPLY, reply["flags"], reply["number"], bytes.fromhex(reply["payload"])),
        (FrameType.MESSAGE, 0, 0, 0, message["name"], bytes.fromhex(message["payload"]), message["cost"]),
    ]
    assert reader.window_used == message["cost"]
    writer = make_writer(case["nonce"])
    queue = FrameQueue()
    for packed in map(bytes.fromhex, case["frames"]):
        queue.add(packed[0], packed[1], packed[4:])
    writer.put_queue(queue)
    assert writer.finish().hex() == case["block"]


def test_a_large_message_is_cut_and_put_together_as_the_vector_says(load_vectors: LoadVectors) -> None:
    case = load_vectors("protocol/fragments")[1]
    payload = bytes(index % 251 for index in range(case["payload_size"]))
    assert hashlib.sha256(payload).hexdigest() == case["payload_sha256"]
    queue = FrameQueue()
    queue.add_message(case["flags"], case["name"].encode(), payload)
    writer = make_writer(case["nonce"])
    assert writer.put_queue(queue, case["cost"]) == case["cost"]
    data = writer.finish()
    offset = 0
    expected_blocks = zip(case["block_sizes"], case["block_sha256"], case["frame_starts"], strict=True)
    for nonce, (size, digest, start) in enumerate(expected_blocks, start=case["nonce"]):
        one = data[offset : offset + size]
        assert hashlib.sha256(one).hexdigest() == digest
        assert Cipher(key(), nonce).open(one[4:]).startswith(bytes.fromhex(start))
        offset += size
    assert offset == len(data)
    [frame] = each(make_reader(case["nonce"]).feed(data))
    assert isinstance(frame, Message)
    assert (frame.kind, frame.name, frame.payload, frame.cost) == (case["flags"], case["name"], payload, case["cost"])


@pytest.mark.vectors("protocol/rekey")
def test_keys_are_changed_as_the_vector_says(case: Case) -> None:
    first = bytes.fromhex(case["steps"][0]["key"])
    assert first == key()
    reader = make_reader(case["first_nonce"])
    writer = BlockWriter(Cipher(first, case["first_nonce"]))
    rekey = bytes([FrameType.REKEY, 0, 0, 0])
    for step in case["steps"]:
        plaintext = bytes.fromhex(step["plaintext"])
        writer.begin(ROUND)
        if message := plaintext.removesuffix(rekey):
            queue = FrameQueue()
            queue.add(message[0], message[1], message[4:])
            writer.put_queue(queue)
        if plaintext.endswith(rekey):
            assert writer.put_rekey()
        block = writer.finish()
        assert block.hex() == step["block"]
        assert Cipher(bytes.fromhex(step["key"]), step["nonce"]).open(block[4:]) == plaintext
        reader.feed(block)
        assert reader.error is None
    assert reader.opened == len(case["steps"])


@pytest.mark.vectors("protocol/refusals")
def test_what_breaks_the_protocol_ends_the_session(case: Case) -> None:
    reader = make_reader()
    frames = list(each(reader.feed(bytes.fromhex(case["block"]))))
    assert reader.error is not None
    assert all(frame[0] in {FrameType.PING, FrameType.REKEY} for frame in frames if isinstance(frame, tuple))
    assert not any(isinstance(frame, Message) for frame in frames)


KIB, MIB = 1024, 1 << 20
