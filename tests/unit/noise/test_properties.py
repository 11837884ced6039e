"""What holds for every payload, key and damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats._core.aead import Cipher
from librats.errors import HandshakeError, RemoteProtocolError
from librats.noise import Handshake, NoiseProtocol, public_key

PATTERNS = ("XX", "IK", "NK", "NN", "KK")

keys = st.binary(min_size=32, max_size=32)
payloads = st.lists(st.binary(max_size=300), min_size=3, max_size=3)


def make_pair(pattern: str, secrets: list[bytes]) -> tuple[Handshake, Handshake]:
    name = f"Noise_{pattern}_25519_ChaChaPoly_SHA256"
    static, ephemeral = secrets[:2], secrets[2:]
    known = (pattern[0] == "K", pattern[1] == "K")
    initiator, responder = (
        Handshake(
            name,
            initiator=side == 0,
            prologue=b"both sides",
            static=None if pattern[side] == "N" else static[side],
            remote_static=public_key(static[1 - side]) if known[1 - side] else None,
            ephemeral=ephemeral[side],
        )
        for side in (0, 1)
    )
    return initiator, responder


def both(ciphers: tuple[Cipher | None, Cipher | None]) -> tuple[Cipher, Cipher]:
    sending, receiving = ciphers
    assert sending is not None
    assert receiving is not None
    return sending, receiving


@pytest.mark.parametrize("pattern", PATTERNS)
@given(secrets=st.lists(keys, min_size=4, max_size=4), payloads=payloads)
def test_any_payload_comes_through(pattern: str, secrets: list[bytes], payloads: list[bytes]) -> None:
    sides = make_pair(pattern, secrets)
    for index in range(len(NoiseProtocol.parse(f"Noise_{pattern}_25519_ChaChaPoly_SHA256").pattern.messages)):
        writer, reader = sides[index % 2], sides[1 - index % 2]
        assert reader.read_message(writer.write_message(payloads[index])) == payloads[index]
    initiator, responder = sides
    assert initiator.handshake_hash == responder.handshake_hash
    initiator_sends, initiator_receives = both(initiator.split())
    responder_sends, responder_receives = both(responder.split())
    for payload in payloads:
        assert responder_receives.open(initiator_sends.seal(payload)) == payload
        assert initiator_receives.open(responder_sends.seal(payload)) == payload
        for cipher in (initiator_sends, initiator_receives, responder_sends, responder_receives):
            cipher.rekey()


@pytest.mark.parametrize("pattern", PATTERNS)
@given(secrets=st.lists(keys, min_size=4, max_size=4, unique=True), payloads=payloads, data=st.data())
def test_any_changed_bit_is_noticed(
    pattern: str, secrets: list[bytes], payloads: list[bytes], data: st.DataObject
) -> None:
    sides = make_pair(pattern, secrets)
    total = len(NoiseProtocol.parse(f"Noise_{pattern}_25519_ChaChaPoly_SHA256").pattern.messages)
    damaged = data.draw(st.integers(0, total - 1), label="damaged message")
    for index in range(total):
        writer, reader = sides[index % 2], sides[1 - index % 2]
        try:
            message = bytearray(writer.write_message(payloads[index]))
            if index == damaged:
                bit = data.draw(st.integers(0, 8 * len(message) - 1), label="flipped bit")
                message[bit // 8] ^= 1 << bit % 8
            reader.read_message(bytes(message))
        except HandshakeError:
            # What message 1 carries in clear is bound into message 2, so it is noticed there at the latest.
            assert damaged <= index <= damaged + 1
            break
    else:
        pytest.fail("the handshake completed on both sides although a bit was flipped")
    assert not all(side.is_complete for side in sides)


@given(key=keys, plaintext=st.binary(max_size=2000), ad=st.binary(max_size=64), data=st.data())
def test_any_changed_bit_of_a_transport_message_is_noticed(
    key: bytes, plaintext: bytes, ad: bytes, data: st.DataObject
) -> None:
    sealed = Cipher(key).seal(plaintext, ad)
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1), label="flipped bit")
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    receiving = Cipher(key)
    with pytest.raises(RemoteProtocolError):
        receiving.open(bytes(changed), ad)
    with pytest.raises(RemoteProtocolError):
        receiving.open(sealed, ad + b"\0")
    assert receiving.open(sealed, ad) == plaintext


@pytest.mark.parametrize("initiator", [True, False])
@given(messages=st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_garbage_raises_nothing_but_a_handshake_error(initiator: bool, messages: list[bytes]) -> None:
    side = make_pair("XX", [b"a" * 32, b"b" * 32, b"c" * 32, b"d" * 32])[0 if initiator else 1]
    failed = False
    for message in messages:
        try:
            if side.is_my_turn:
                side.write_message()
            side.read_message(message)
        except HandshakeError:
            failed = True
        assert side.has_failed == failed
    assert not side.is_complete
