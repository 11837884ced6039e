"""Handshakes of librats 2: between two of its nodes, and between a node and a client whose keys are known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from librats._core.aead import Cipher
from librats.errors import HandshakeError
from librats.noise import Handshake, public_key

Case = dict[str, Any]

XX = "Noise_XX_25519_ChaChaPoly_SHA256"
STATIC_KEYS = (bytes(range(32)), bytes(range(32, 64)))
EPHEMERAL_KEYS = (bytes(range(64, 96)), bytes(range(96, 128)))


def make_side(prologue: bytes, static: bytes, ephemeral: bytes, *, initiator: bool) -> Handshake:
    return Handshake(XX, initiator=initiator, prologue=prologue, static=static, ephemeral=ephemeral)


def both_ciphers(handshake: Handshake) -> tuple[Cipher, Cipher]:
    sending, receiving = handshake.split()
    assert sending is not None
    assert receiving is not None
    return sending, receiving


def has_key(cipher: Cipher, key: str) -> bool:
    """Tell whether the cipher has that key, by what it makes of a message far off the counters in use."""
    nonce, cipher.nonce = cipher.nonce, 2**40
    try:
        return cipher.seal(b"probe") == Cipher(bytes.fromhex(key), 2**40).seal(b"probe")
    finally:
        cipher.nonce = nonce


@pytest.mark.vectors("librats2/noise_xx_known_keys")
def test_transcript_between_two_nodes_is_reproduced(case: Case) -> None:
    prologue = bytes.fromhex(case["prologue"])
    initiator = make_side(
        prologue, bytes.fromhex(case["init_static"]), bytes.fromhex(case["init_ephemeral"]), initiator=True
    )
    responder = make_side(
        prologue, bytes.fromhex(case["resp_static"]), bytes.fromhex(case["resp_ephemeral"]), initiator=False
    )
    fills = bytes.fromhex(case["payload_fill"].replace(",", ""))
    sides = (initiator, responder)
    assert len(case["messages"]) == 3
    for index, message in enumerate(case["messages"]):
        payload = fills[index : index + 1] * case["payload_lens"][index]
        assert sides[index % 2].write_message(payload).hex() == message
        assert sides[1 - index % 2].read_message(bytes.fromhex(message)) == payload
    assert initiator.handshake_hash.hex() == responder.handshake_hash.hex() == case["handshake_hash"]
    assert initiator.remote_static == public_key(bytes.fromhex(case["resp_static"]))
    assert responder.remote_static == public_key(bytes.fromhex(case["init_static"]))

    initiator_sends, initiator_receives = both_ciphers(initiator)
    responder_sends, responder_receives = both_ciphers(responder)
    assert has_key(initiator_sends, case["k_init_to_resp"])
    assert has_key(responder_receives, case["k_init_to_resp"])
    assert has_key(responder_sends, case["k_resp_to_init"])
    assert has_key(initiator_receives, case["k_resp_to_init"])
    assert len(case["transport"]) == 8
    for message in case["transport"]:
        forward = message["dir"] == "i2r"
        sending = initiator_sends if forward else responder_sends
        receiving = responder_receives if forward else initiator_receives
        assert sending.nonce == receiving.nonce == message["nonce"]
        assert sending.seal(bytes.fromhex(message["plain"])).hex() == message["cipher"]
        assert receiving.open(bytes.fromhex(message["cipher"])).hex() == message["plain"]


@pytest.mark.vectors("librats2/noise_live_transcripts")
def test_live_session_with_a_node_is_reproduced(case: Case, load_vectors: Callable[[str], list[Case]]) -> None:
    prologues = {entry["protocol"]: entry["prologue"] for entry in load_vectors("librats2/prologues")}
    client = make_side(
        bytes.fromhex(prologues[case["protocol"]]),
        bytes.fromhex(case["client_static_private"]),
        bytes.fromhex(case["client_ephemeral_private"]),
        initiator=case["role"] == "client is initiator",
    )
    assert len(case["handshake_blocks"]) == 3
    for entry in case["handshake_blocks"]:
        message = bytes.fromhex(entry["block"])[4:]
        if entry["dir"] == "client->node":
            assert client.write_message() == message
        else:
            assert client.read_message(message) == b""
    assert client.handshake_hash.hex() == case["handshake_hash"]
    assert client.remote_static == public_key(bytes.fromhex(case["node_static_private"]))

    sending, receiving = both_ciphers(client)
    assert has_key(sending, case["k_client_to_node"])
    assert has_key(receiving, case["k_node_to_client"])
    assert len(case["frames"]) > 0
    for frame in case["frames"]:
        header = bytes([frame["type"], frame["flags"]]) + frame["channel"].to_bytes(2, "big")
        plaintext = header + bytes.fromhex(frame["payload"])
        ciphertext = bytes.fromhex(frame["cipher_block"])[4:]
        if frame["dir"] == "client->node":
            assert sending.seal(plaintext) == ciphertext
        else:
            assert receiving.open(ciphertext) == plaintext


@pytest.mark.vectors("librats2/peer_ids")
def test_peer_id_is_the_hash_of_the_public_key(case: Case) -> None:
    key = public_key(bytes.fromhex(case["identity_key_file"]))
    assert key.hex() == case["public_key"]
    assert hashlib.sha256(key).hexdigest() == case["peer_id"]
    assert case["peer_id"].startswith(case["short"])


def test_only_equal_prologues_meet(load_vectors: Callable[[str], list[Case]]) -> None:
    prologues = [bytes.fromhex(case["prologue"]) for case in load_vectors("librats2/prologues")]
    assert len(set(prologues)) == 7
    for ours, theirs in product(prologues, repeat=2):
        initiator = make_side(ours, STATIC_KEYS[0], EPHEMERAL_KEYS[0], initiator=True)
        responder = make_side(theirs, STATIC_KEYS[1], EPHEMERAL_KEYS[1], initiator=False)
        responder.read_message(initiator.write_message())
        answer = responder.write_message()
        if ours == theirs:
            initiator.read_message(answer)
            responder.read_message(initiator.write_message())
            assert initiator.handshake_hash == responder.handshake_hash
        else:
            with pytest.raises(HandshakeError, match="message 2"):
                initiator.read_message(answer)
