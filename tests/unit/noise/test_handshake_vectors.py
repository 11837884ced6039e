"""Whole conversations out of published and generated vectors, byte for byte, both sides at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from librats._core.aead import Cipher
from librats.errors import HandshakeError, RemoteProtocolError
from librats.noise import Handshake, NoiseProtocol

Case = dict[str, Any]


def make_side(protocol: str, settings: Case, *, initiator: bool) -> Handshake:
    def key(name: str) -> bytes | None:
        return bytes.fromhex(settings[name]) if name in settings else None

    return Handshake(
        protocol,
        initiator=initiator,
        prologue=bytes.fromhex(settings["prologue"]),
        static=key("static"),
        remote_static=key("remote_static"),
        psks=[bytes.fromhex(psk) for psk in settings.get("psks", [])],
        ephemeral=key("ephemeral"),
    )


def make_sides(case: Case) -> tuple[Handshake, Handshake]:
    return (
        make_side(case["protocol"], case["init"], initiator=True),
        make_side(case["protocol"], case["resp"], initiator=False),
    )


class Conversation:
    """Both sides of one case, message by message: first the handshake, then transport."""

    def __init__(self, case: Case) -> None:
        self.initiator, self.responder = make_sides(case)
        self.is_one_way = NoiseProtocol.parse(case["protocol"]).pattern.is_one_way
        self.ciphers: tuple[tuple[Cipher | None, Cipher | None], tuple[Cipher | None, Cipher | None]] | None = None
        self.index = 0

    def write(self, payload: bytes) -> bytes:
        from_initiator = self.is_one_way or self.index % 2 == 0
        if self.ciphers is None:
            return (self.initiator if from_initiator else self.responder).write_message(payload)
        sending = self.ciphers[0 if from_initiator else 1][0]
        assert sending is not None
        return sending.seal(payload)

    def read(self, message: bytes) -> bytes:
        from_initiator = self.is_one_way or self.index % 2 == 0
        if self.ciphers is None:
            return (self.responder if from_initiator else self.initiator).read_message(message)
        receiving = self.ciphers[1 if from_initiator else 0][1]
        assert receiving is not None
        return receiving.open(message)

    def go_on(self) -> None:
        self.index += 1
        if self.ciphers is None and self.initiator.is_complete:
            self.ciphers = (self.initiator.split(), self.responder.split())


@pytest.mark.vectors("noise/standard_base", "noise/standard_deferred", "noise/standard_psk", "noise/generated")
def test_conversation_is_reproduced_to_the_byte(case: Case) -> None:
    conversation = Conversation(case)
    for message in case["messages"]:
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        assert conversation.write(payload) == ciphertext
        assert conversation.read(ciphertext) == payload
        conversation.go_on()
    assert conversation.ciphers is not None, "the vector ends before the handshake does"
    assert conversation.index > len(NoiseProtocol.parse(case["protocol"]).pattern.messages), "no transport message"
    for side in (conversation.initiator, conversation.responder):
        assert side.is_complete
        assert side.handshake_hash.hex() == case["handshake_hash"]


@pytest.mark.vectors("noise/negative")
def test_bad_message_is_refused(case: Case) -> None:
    conversation = Conversation(case["based_on"])
    for message in case["messages"]:
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        assert conversation.write(payload) == ciphertext
        assert conversation.read(ciphertext) == payload
        conversation.go_on()
    assert conversation.index == case["fails_at"]
    in_handshake = conversation.ciphers is None
    assert in_handshake == (case["phase"] == "handshake")
    with pytest.raises(HandshakeError if in_handshake else RemoteProtocolError):
        conversation.read(bytes.fromhex(case["bad_message"]))


def test_vectors_cover_every_pattern_and_hash(load_vectors: Callable[[str], list[Case]]) -> None:
    sets = ("standard_base", "standard_deferred", "standard_psk", "generated")
    protocols = [case["protocol"] for name in sets for case in load_vectors(f"noise/{name}")]
    assert len(protocols) == 108 + 111 + 82 + 92
    bases = {name.split("_")[1].split("psk")[0] for name in protocols}
    hashes = Counter(name.split("_")[4] for name in protocols)
    assert len(bases) == 3 + 12 + 23
    assert set(hashes) == {"SHA256", "SHA512", "BLAKE2s", "BLAKE2b"}
