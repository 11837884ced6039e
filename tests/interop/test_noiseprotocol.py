"""Handshake and transport with the PyPI package ``noiseprotocol`` on the other side, in both roles."""

from __future__ import annotations

import pytest
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

from librats._core.aead import Cipher
from librats.errors import HandshakeError
from librats.noise import Handshake, public_key

pytestmark = pytest.mark.interop

NAME = "Noise_XX_25519_ChaChaPoly_SHA256"
PROLOGUE = b"librats-proto\x1flibrats/1.0"
OUR_STATIC, OUR_EPHEMERAL = bytes(range(32)), bytes(range(32, 64))
THEIR_STATIC = bytes(range(64, 96))
PAYLOADS = (b"", b"r" * 256, b"a somewhat longer payload" * 100)


def make_ours(*, initiator: bool, prologue: bytes = PROLOGUE) -> Handshake:
    return Handshake(NAME, initiator=initiator, prologue=prologue, static=OUR_STATIC, ephemeral=OUR_EPHEMERAL)


def make_theirs(*, initiator: bool) -> NoiseConnection:
    connection = NoiseConnection.from_name(NAME.encode())
    connection.set_prologue(PROLOGUE)
    if initiator:
        connection.set_as_initiator()
    else:
        connection.set_as_responder()
    connection.set_keypair_from_private_bytes(Keypair.STATIC, THEIR_STATIC)
    connection.start_handshake()
    return connection


def complete(ours: Handshake, theirs: NoiseConnection) -> tuple[Cipher, Cipher]:
    for payload in PAYLOADS:
        if ours.is_my_turn:
            assert bytes(theirs.read_message(ours.write_message(payload))) == payload
        else:
            assert ours.read_message(bytes(theirs.write_message(payload))) == payload
    sending, receiving = ours.split()
    assert sending is not None
    assert receiving is not None
    return sending, receiving


@pytest.mark.parametrize("initiator", [True, False], ids=["we begin", "they begin"])
def test_handshake_completes_and_messages_pass(initiator: bool) -> None:
    ours, theirs = make_ours(initiator=initiator), make_theirs(initiator=not initiator)
    sending, receiving = complete(ours, theirs)
    assert theirs.handshake_finished
    assert ours.handshake_hash == theirs.get_handshake_hash()
    assert ours.remote_static == public_key(THEIR_STATIC)
    for message in (b"", b"one", b"x" * 60000):
        assert theirs.decrypt(sending.seal(message)) == message
        assert receiving.open(theirs.encrypt(message)) == message


@pytest.mark.parametrize("initiator", [True, False], ids=["we begin", "they begin"])
def test_rekeyed_messages_pass(initiator: bool) -> None:
    ours, theirs = make_ours(initiator=initiator), make_theirs(initiator=not initiator)
    sending, receiving = complete(ours, theirs)
    for _ in range(3):
        sending.rekey()
        theirs.rekey_inbound_cipher()
        assert theirs.decrypt(sending.seal(b"ours")) == b"ours"
        theirs.rekey_outbound_cipher()
        receiving.rekey()
        assert receiving.open(theirs.encrypt(b"theirs")) == b"theirs"


def test_another_prologue_is_refused_at_message_2() -> None:
    ours, theirs = make_ours(initiator=True, prologue=b"something else"), make_theirs(initiator=False)
    theirs.read_message(ours.write_message())
    with pytest.raises(HandshakeError, match="message 2"):
        ours.read_message(bytes(theirs.write_message()))
