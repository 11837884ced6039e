"""The opening: blocks around the handshake, who is accepted, and every way in which it can be disturbed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.unit.session.joined import Cut, byte_by_byte, random_pieces, whole

from librats.errors import HandshakeError
from librats.noise import Handshake, public_key
from librats.session.greeting import MAX_GREETING, Greeting
from librats.session.opening import NOISE_NAME, PROLOGUE_HEAD, Opening, peer_id_of
from librats.session.path_keys import JOIN_SIZE

Case = dict[str, Any]

STATIC = {True: bytes(range(32)), False: bytes(range(32, 64))}
EPHEMERAL = {True: bytes(range(64, 96)), False: bytes(range(96, 128))}
IDS = {side: peer_id_of(public_key(key)) for side, key in STATIC.items()}
PROTOCOL = "librats/1.0"
PREFIX = 4


def greeting(*, initiator: bool) -> Greeting:
    agent = "dialler" if initiator else "acceptor"
    return Greeting(incarnation=agent[:8].encode().ljust(8), message_window=1 << 20, max_message=1 << 20, agent=agent)


def side(*, initiator: bool, protocol: str = PROTOCOL, expect_id: str | None = None) -> Opening:
    return Opening(
        initiator=initiator,
        private_key=STATIC[initiator],
        ephemeral=EPHEMERAL[initiator],
        protocol=protocol,
        greeting=greeting(initiator=initiator),
        expect_id=expect_id,
    )


def bare_side(*, initiator: bool) -> Handshake:
    """Return a handshake as a librats 2 node does it: without payloads."""
    prologue = PROLOGUE_HEAD + PROTOCOL.encode()
    return Handshake(
        NOISE_NAME, initiator=initiator, prologue=prologue, static=STATIC[initiator], ephemeral=EPHEMERAL[initiator]
    )


def block(message: bytes) -> bytes:
    return len(message).to_bytes(PREFIX) + message


def undisturbed() -> list[bytes]:
    """Return the three blocks of an opening."""
    initiator, responder = side(initiator=True), side(initiator=False)
    blocks = [initiator.data_to_send()]
    responder.receive_data(blocks[0])
    blocks.append(responder.data_to_send())
    initiator.receive_data(blocks[1])
    blocks.append(initiator.data_to_send())
    responder.receive_data(blocks[2])
    assert initiator.result is not None
    assert responder.result is not None
    return blocks


BLOCKS = undisturbed()


def until(step: int) -> Opening:
    """Return the side that reads block number `step` next."""
    reader = side(initiator=step == 1)
    if step == 2:
        reader.receive_data(BLOCKS[0])
    reader.data_to_send()
    return reader


def read_at(step: int, data: bytes) -> None:
    """Let the side whose turn it is read other bytes; where it takes them, let the initiator read its answer."""
    reader = until(step)
    reader.receive_data(data)
    until(1).receive_data(reader.data_to_send())


@pytest.mark.parametrize("cut", [whole, byte_by_byte, random_pieces(5)])
def test_two_sides_meet_and_learn_about_each_other(cut: Cut) -> None:
    sides = {True: side(initiator=True, expect_id=IDS[False]), False: side(initiator=False, expect_id=IDS[True])}
    for sender in (True, False, True):
        for piece in cut(sides[sender].data_to_send()):
            sides[not sender].receive_data(piece)
    results = {which: opening.result for which, opening in sides.items()}
    for which, result in results.items():
        assert result is not None
        assert result.peer_id == IDS[not which]
        assert result.public_key == public_key(STATIC[not which])
        assert result.greeting == greeting(initiator=not which)
        sides[which].receive_eof()
        assert sides[which].data_to_send() == b""
    first, second = results[True], results[False]
    assert first is not None
    assert second is not None
    assert first.handshake_hash == second.handshake_hash
    assert second.receiving.open(first.sending.seal(b"there")) == b"there"
    assert first.receiving.open(second.sending.seal(b"back")) == b"back"


def test_what_follows_the_handshake_is_kept() -> None:
    responder = until(2)
    responder.receive_data(BLOCKS[2] + b"session bytes")
    assert responder.leftover == b"session bytes"
    responder.receive_data(b" and more")
    assert responder.leftover == b"session bytes and more"


@pytest.mark.parametrize("step", [1, 2])
def test_every_flipped_bit_is_detected_by_the_reader(step: int) -> None:
    for bit in range(len(BLOCKS[step]) * 8):
        damaged = bytearray(BLOCKS[step])
        damaged[bit // 8] ^= 1 << bit % 8
        reader = until(step)
        with pytest.raises(HandshakeError):
            reader.receive_data(bytes(damaged) + bytes(1000))  # a length that grew waits for more
        assert reader.result is None
        assert reader.data_to_send() == b""


def test_every_flipped_bit_of_message_1_is_detected_by_the_initiator_at_the_latest() -> None:
    refused_at_once = 0
    for bit in range(len(BLOCKS[0]) * 8):
        damaged = bytearray(BLOCKS[0])
        damaged[bit // 8] ^= 1 << bit % 8
        responder = side(initiator=False)
        try:
            responder.receive_data(bytes(damaged))
            answer = responder.data_to_send()
            if not answer:
                responder.receive_data(bytes(MAX_GREETING))  # a length that grew waits for more
                answer = responder.data_to_send()
        except HandshakeError:
            refused_at_once += 1
            continue
        with pytest.raises(HandshakeError):
            until(1).receive_data(answer)
    assert refused_at_once < 64


@pytest.mark.parametrize("step", [0, 1, 2])
def test_every_truncation_is_detected(step: int) -> None:
    for size in range(len(BLOCKS[step])):
        reader = until(step)
        reader.receive_data(BLOCKS[step][:size])
        assert reader.result is None
        assert reader.data_to_send() == b""
        with pytest.raises(HandshakeError, match="hung up"):
            reader.receive_eof()
    body = BLOCKS[step][PREFIX:]
    for size in range(len(body)):
        reader = until(step)
        try:
            reader.receive_data(block(body[:size]))
        except HandshakeError:
            assert reader.result is None
            assert reader.data_to_send() == b""
        else:
            if step == 0 and size == JOIN_SIZE:
                assert reader.join is not None  # for a session that does not exist
                continue
            pytest.fail(f"message {step + 1} cut to {size} bytes was taken")


@pytest.mark.parametrize(("step", "other"), list(itertools.permutations(range(3), 2)))
def test_a_message_in_the_place_of_another_is_detected(step: int, other: int) -> None:
    with pytest.raises(HandshakeError):
        read_at(step, BLOCKS[other])


@pytest.mark.parametrize("step", [1, 2])
def test_messages_of_another_handshake_are_detected(step: int) -> None:
    other = Opening(
        initiator=step == 1,
        private_key=STATIC[step == 1],
        ephemeral=bytes(range(7, 39)),
        protocol=PROTOCOL,
        greeting=greeting(initiator=step == 1),
    )
    if step == 2:
        other.receive_data(BLOCKS[0])
    with pytest.raises(HandshakeError):
        other.receive_data(BLOCKS[step])


@pytest.mark.parametrize("size", [0, 31, 32 + MAX_GREETING + 1, 0x47455420, 0xFFFFFFFF])
def test_an_impossible_size_is_refused_before_the_message_comes(size: int) -> None:
    reader = side(initiator=False)
    with pytest.raises(HandshakeError, match="not a librats peer"):
        reader.receive_data(size.to_bytes(PREFIX))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_after_a_failure_nothing_more_is_taken(step: int) -> None:
    reader = until(step)
    with pytest.raises(HandshakeError):
        reader.receive_data(bytes(PREFIX))
    with pytest.raises(HandshakeError, match="has failed"):
        reader.receive_data(BLOCKS[step])
    assert reader.result is None
    assert reader.data_to_send() == b""


@pytest.mark.parametrize("protocol", ["librats/1.1", "librats", "", "librats/1.0 ", "\u00e9"])
def test_another_protocol_string_fails_at_the_initiator(protocol: str) -> None:
    initiator, responder = side(initiator=True), side(initiator=False, protocol=protocol)
    responder.receive_data(initiator.data_to_send())
    with pytest.raises(HandshakeError):
        initiator.receive_data(responder.data_to_send())
    assert initiator.data_to_send() == b""


def test_another_id_than_the_expected_one_fails_before_our_key_is_shown() -> None:
    initiator = side(initiator=True, expect_id="f" * 64)
    initiator.data_to_send()
    with pytest.raises(HandshakeError, match=f"expected peer ffffffff, but {IDS[False][:8]} answered"):
        initiator.receive_data(BLOCKS[1])
    assert initiator.data_to_send() == b""
    assert initiator.result is None
    with pytest.raises(HandshakeError, match="has failed"):
        initiator.receive_data(BLOCKS[1])


def test_the_responder_can_expect_an_id_too() -> None:
    responder = side(initiator=False, expect_id="f" * 64)
    responder.receive_data(BLOCKS[0])
    with pytest.raises(HandshakeError, match="expected peer"):
        responder.receive_data(BLOCKS[2])
    assert responder.result is None


def test_an_initiator_without_payloads_is_a_librats_2_node() -> None:
    node, responder = bare_side(initiator=True), side(initiator=False)
    responder.receive_data(block(node.write_message()))
    node.read_message(responder.data_to_send()[PREFIX:])
    responder.receive_data(block(node.write_message()))
    assert responder.result is not None
    assert responder.result.greeting is None
    assert responder.result.peer_id == IDS[True]


@pytest.mark.parametrize("payload", [b"", b"not ours", bytes(MAX_GREETING)])
def test_a_responder_with_other_payloads_is_a_librats_2_node(payload: bytes) -> None:
    node, initiator = bare_side(initiator=False), side(initiator=True)
    node.read_message(initiator.data_to_send()[PREFIX:])
    initiator.receive_data(block(node.write_message(payload)))
    assert initiator.result is not None
    assert initiator.result.greeting is None
    node.read_message(initiator.data_to_send()[PREFIX:])
    assert node.handshake_hash == initiator.result.handshake_hash


@pytest.mark.parametrize("payload", [b"RATS", b"RATS\x01\0\0\0\0", greeting(initiator=False).encode()[:-1]])
def test_a_damaged_greeting_is_a_failed_handshake(payload: bytes) -> None:
    node, initiator = bare_side(initiator=False), side(initiator=True)
    node.read_message(initiator.data_to_send()[PREFIX:])
    with pytest.raises(HandshakeError, match="greeting"):
        initiator.receive_data(block(node.write_message(payload)))
    assert initiator.data_to_send() == b""


def test_a_payload_over_the_limit_is_refused() -> None:
    node, initiator = bare_side(initiator=False), side(initiator=True)
    node.read_message(initiator.data_to_send()[PREFIX:])
    with pytest.raises(HandshakeError, match="353 bytes"):
        initiator.receive_data(block(node.write_message(bytes(MAX_GREETING + 1))))


@pytest.mark.vectors("librats2/noise_xx_known_keys")
def test_a_recorded_librats_2_responder_is_understood(case: Case) -> None:
    initiator = Opening(
        initiator=True,
        private_key=bytes.fromhex(case["init_static"]),
        ephemeral=bytes.fromhex(case["init_ephemeral"]),
        protocol=case["protocol"],
        greeting=greeting(initiator=True),
        expect_id=peer_id_of(public_key(bytes.fromhex(case["resp_static"]))),
    )
    first, second, _ = (bytes.fromhex(message) for message in case["messages"])
    if case["payload_lens"][0]:
        # Its message 1 had a payload, which ours never has: the transcripts part there.
        assert initiator.data_to_send() != block(first)
        with pytest.raises(HandshakeError):
            initiator.receive_data(block(second))
        return
    assert initiator.data_to_send() == block(first)
    initiator.receive_data(block(second))
    assert initiator.result is not None
    assert initiator.result.greeting is None
    for message in case["transport"]:
        plain, cipher = bytes.fromhex(message["plain"]), bytes.fromhex(message["cipher"])
        if message["dir"] == "i2r":
            assert initiator.result.sending.seal(plain) == cipher
        else:
            assert initiator.result.receiving.open(cipher) == plain


def test_a_side_that_has_prepared_says_the_same() -> None:
    initiator, responder = side(initiator=True), side(initiator=False)
    for opening in (initiator, responder):
        opening.prepare()
    blocks = [initiator.data_to_send()]
    responder.receive_data(blocks[0])
    blocks.append(responder.data_to_send())
    initiator.receive_data(blocks[1])
    blocks.append(initiator.data_to_send())
    assert blocks == undisturbed()
    initiator.prepare()  # harmless behind the end
