"""Letters that only two peers can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from librats.errors import DecodeError, HandshakeError
from librats.introduce.letters import Letter
from librats.introduce.notices import MAX_SEALED
from librats.introduce.sealing import MAX_LETTER, NOISE_NAME, CallerSeal, TargetSeal, prologue_of
from librats.noise.dh import public_key
from librats.noise.handshake import Handshake
from librats.session.opening import peer_id_of

ANN, BOB, EVE = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
VECTORS = Path(__file__).parents[2] / "vectors/noise"


def caller(to: bytes = BOB, *, protocol: str = "chat/1", ephemeral: int = 0x70) -> CallerSeal:
    return CallerSeal(ANN, public_key(to), ephemeral=bytes([ephemeral]) * 32, protocol=protocol)


def target(key: bytes = BOB, *, protocol: str = "chat/1", ephemeral: int = 0x71) -> TargetSeal:
    return TargetSeal(key, ephemeral=bytes([ephemeral]) * 32, protocol=protocol)


def test_an_offer_and_its_answer_are_opened_by_those_whom_they_are_for() -> None:
    ann, bob = caller(), target()
    assert bob.open(ann.seal(b"an offer")) == b"an offer"
    assert bob.caller_id == peer_id_of(public_key(ANN))
    assert ann.open(bob.seal(b"an answer")) == b"an answer"
    for number in range(3):
        assert bob.open_further(ann.seal_further(b"from ann %d" % number)) == b"from ann %d" % number
        assert ann.open_further(bob.seal_further(b"from bob %d" % number)) == b"from bob %d" % number


def test_the_letters_are_those_of_noise_ik_with_our_prologue() -> None:
    other = Handshake(
        NOISE_NAME, initiator=False, prologue=prologue_of("chat/1"), static=BOB, ephemeral=bytes([0x72]) * 32
    )
    assert other.read_message(caller().seal(b"an offer")) == b"an offer"
    assert prologue_of("chat/1") == b"librats-introduce\x1fchat/1"


def test_the_published_vectors_of_the_pattern_hold() -> None:
    cases = [
        case
        for path in sorted(VECTORS.glob("*.json"))
        for case in json.loads(path.read_text()).get("cases", [])
        if case.get("protocol") == NOISE_NAME and "messages" in case
    ]
    assert cases
    for case in cases:
        one, other = case["init"], case["resp"]
        ann = Handshake(
            NOISE_NAME,
            initiator=True,
            prologue=bytes.fromhex(one["prologue"]),
            static=bytes.fromhex(one["static"]),
            remote_static=bytes.fromhex(one["remote_static"]),
            ephemeral=bytes.fromhex(one["ephemeral"]),
        )
        bob = Handshake(
            NOISE_NAME,
            initiator=False,
            prologue=bytes.fromhex(other["prologue"]),
            static=bytes.fromhex(other["static"]),
            ephemeral=bytes.fromhex(other["ephemeral"]),
        )
        first, second = case["messages"][:2]
        assert ann.write_message(bytes.fromhex(first["payload"])).hex() == first["ciphertext"]
        assert bob.read_message(bytes.fromhex(first["ciphertext"])).hex() == first["payload"]
        assert bob.write_message(bytes.fromhex(second["payload"])).hex() == second["ciphertext"]


@pytest.mark.parametrize("place", [0, 31, 32, 79, 80, 95, 96, 103])
def test_a_changed_offer_is_not_opened(place: int) -> None:
    sealed = bytearray(caller().seal(b"an offer"))
    sealed[place] ^= 1
    with pytest.raises(HandshakeError):
        target().open(bytes(sealed))


def test_an_offer_is_not_opened_by_somebody_else_nor_in_another_application() -> None:
    with pytest.raises(HandshakeError):
        target(EVE).open(caller().seal(b"an offer"))
    with pytest.raises(HandshakeError):
        target(protocol="other/1").open(caller().seal(b"an offer"))


def test_an_answer_to_another_offer_is_not_opened() -> None:
    bob = target()
    bob.open(caller(ephemeral=0x73).seal(b"an offer"))
    ann = caller()
    ann.seal(b"an offer")
    with pytest.raises(HandshakeError):
        ann.open(bob.seal(b"an answer"))


def test_further_letters_are_opened_in_their_order_and_once() -> None:
    ann, bob = caller(), target()
    with pytest.raises(HandshakeError):
        ann.seal_further(b"too soon")
    bob.open(ann.seal(b""))
    ann.open(bob.seal(b""))
    one, two = ann.seal_further(b"1"), ann.seal_further(b"2")
    with pytest.raises(HandshakeError):
        bob.open_further(two)
    assert bob.open_further(one) == b"1"
    with pytest.raises(HandshakeError):
        bob.open_further(one)
    assert bob.open_further(two) == b"2"


def test_no_more_further_letters_are_opened_than_are_borne() -> None:
    ann, bob = caller(), target()
    bob.open(ann.seal(b""))
    ann.open(bob.seal(b""))
    for _ in range(64):
        bob.open_further(ann.seal_further(b"x"))
    with pytest.raises(HandshakeError):
        bob.open_further(ann.seal_further(b"x"))


def test_a_letter_is_as_long_as_a_notice_can_carry_and_no_longer() -> None:
    assert len(caller().seal(bytes(MAX_LETTER))) == MAX_SEALED
    with pytest.raises(HandshakeError):
        caller().seal(bytes(MAX_LETTER + 1))
    with pytest.raises(HandshakeError):
        target().open(bytes(MAX_SEALED + 1))
    with pytest.raises(HandshakeError):
        target().seal(bytes(MAX_LETTER + 1))


def test_a_key_of_low_order_seals_nothing() -> None:
    with pytest.raises(HandshakeError):
        CallerSeal(ANN, bytes(32), ephemeral=bytes([1]) * 32, protocol="chat/1").seal(b"an offer")


def test_a_letter_is_read_as_it_was_written_and_unknown_members_are_skipped() -> None:
    letter = Letter(
        id="0a" * 16, time=1_700_000_000_000, ice={"ufrag": "abcd"}, rtt_ms=12.5, seen="192.0.2.7", punch={"x": [1]}
    )
    assert Letter.decode(letter.encode()) == letter
    assert Letter.decode(b'{"id":"%s","later":{"a":1}}' % (b"0a" * 16)) == Letter(id="0a" * 16)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id":"00"}',
        b'{"id":"' + b"0A" * 16 + b'"}',
        b'{"id":"' + b"00" * 16 + b'","time":-1}',
        b'{"id":"' + b"00" * 16 + b'","time":1.5}',
        b'{"id":"' + b"00" * 16 + b'","rtt_ms":1e9}',
        b'{"id":"' + b"00" * 16 + b'","ice":[]}',
        b'{"id":"' + b"00" * 16 + b'","candidates":[1]}',
        b'{"id":"' + b"00" * 16 + b'","seen":"' + b"1" * 65 + b'"}',
        b'{"id":"' + b"00" * 16 + b'","punch":' + b"[" * 100_000,
        b'{"id":"\xff"}',
    ],
    ids=lambda text: text[:60].decode("latin-1"),
)
def test_a_letter_of_another_form_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        Letter.decode(text)


def test_further_letters_can_be_sealed_once_both_have_spoken() -> None:
    ann, bob = caller(), target()
    offer = ann.seal(b"an offer")
    assert not ann.is_ready
    bob.open(offer)
    assert not bob.is_ready
    ann.open(bob.seal(b"an answer"))
    assert (ann.is_ready, bob.is_ready) == (True, True)
