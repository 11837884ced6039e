"""Rules of the handshake object that no vector tells."""

from __future__ import annotations

import pytest

from librats._core.aead import Cipher
from librats.errors import HandshakeError, LocalProtocolError, RemoteProtocolError, UsageError
from librats.noise import MAX_MESSAGE_SIZE, CipherState, Handshake, SymmetricState, public_key

XX = "Noise_XX_25519_ChaChaPoly_SHA256"
NN = "Noise_NN_25519_ChaChaPoly_SHA256"
N = "Noise_N_25519_ChaChaPoly_SHA256"
NN_PSK = "Noise_NNpsk0_25519_ChaChaPoly_SHA256"

ALICE, BOB = b"a" * 32, b"b" * 32
ALICE_ONCE, BOB_ONCE = b"c" * 32, b"d" * 32
LOW_ORDER = bytes(32)
LAST_NONCE = 2**64 - 1


def make_pair() -> tuple[Handshake, Handshake]:
    return (
        Handshake(XX, initiator=True, static=ALICE, ephemeral=ALICE_ONCE),
        Handshake(XX, initiator=False, static=BOB, ephemeral=BOB_ONCE),
    )


def make_complete_pair() -> tuple[Handshake, Handshake]:
    alice, bob = make_pair()
    bob.read_message(alice.write_message())
    alice.read_message(bob.write_message())
    bob.read_message(alice.write_message())
    return alice, bob


def test_identity_of_the_responder_is_known_before_message_3() -> None:
    alice, bob = make_pair()
    assert [side.remote_static for side in (alice, bob)] == [None, None]
    bob.read_message(alice.write_message())
    assert [side.remote_static for side in (alice, bob)] == [None, None]
    alice.read_message(bob.write_message())
    assert alice.remote_static == public_key(BOB)
    assert not alice.is_complete
    bob.read_message(alice.write_message())
    assert bob.remote_static == public_key(ALICE)


def test_sides_take_turns() -> None:
    alice, bob = make_pair()
    assert (alice.is_my_turn, bob.is_my_turn) == (True, False)
    with pytest.raises(UsageError, match="this side's turn"):
        alice.read_message(bytes(32))
    with pytest.raises(UsageError, match="the other side's turn"):
        bob.write_message()
    bob.read_message(alice.write_message())
    assert (alice.is_my_turn, bob.is_my_turn) == (False, True)
    alice.read_message(bob.write_message())
    bob.read_message(alice.write_message())
    for side in (alice, bob):
        assert not side.is_my_turn
        with pytest.raises(UsageError, match="complete"):
            side.write_message()
        with pytest.raises(UsageError, match="complete"):
            side.read_message(bytes(64))
        assert side.is_complete
        assert not side.has_failed


def test_hash_and_ciphers_wait_for_the_last_message() -> None:
    alice, bob = make_pair()
    bob.read_message(alice.write_message())
    alice.read_message(bob.write_message())
    for side in (alice, bob):
        with pytest.raises(UsageError, match="not complete"):
            _ = side.handshake_hash
        with pytest.raises(UsageError, match="not complete"):
            side.split()


def test_ciphers_are_given_out_once() -> None:
    alice, _ = make_complete_pair()
    alice.split()
    with pytest.raises(UsageError, match="given out"):
        alice.split()


def test_directions_have_keys_of_their_own() -> None:
    alice, bob = make_complete_pair()
    (alice_sends, alice_receives), (bob_sends, bob_receives) = alice.split(), bob.split()
    assert alice_sends is not None
    assert alice_receives is not None
    assert bob_sends is not None
    assert bob_receives is not None
    message = alice_sends.seal(b"to bob")
    with pytest.raises(RemoteProtocolError):
        alice_receives.open(message)
    assert bob_receives.open(message) == b"to bob"
    assert alice_receives.open(bob_sends.seal(b"to alice")) == b"to alice"


def test_rekey_has_to_happen_on_both_sides() -> None:
    alice, bob = make_complete_pair()
    sending, receiving = alice.split()[0], bob.split()[1]
    assert sending is not None
    assert receiving is not None
    receiving.open(sending.seal(b"before"))
    sending.rekey()
    message = sending.seal(b"after")
    with pytest.raises(RemoteProtocolError):
        receiving.open(message)
    receiving.rekey()
    assert receiving.open(message) == b"after"
    assert sending.nonce == receiving.nonce == 2


def test_one_way_pattern_has_one_direction() -> None:
    alice = Handshake(N, initiator=True, remote_static=public_key(BOB), ephemeral=ALICE_ONCE)
    bob = Handshake(N, initiator=False, static=BOB)
    assert bob.read_message(alice.write_message(b"sealed")) == b"sealed"
    (sending, nothing), (nothing_either, receiving) = alice.split(), bob.split()
    assert nothing is None
    assert nothing_either is None
    assert sending is not None
    assert receiving is not None
    assert receiving.open(sending.seal(b"more")) == b"more"


def test_failure_is_for_good() -> None:
    alice, bob = make_pair()
    bob.read_message(alice.write_message())
    answer = bytearray(bob.write_message())
    answer[-1] ^= 1
    with pytest.raises(HandshakeError, match="message 2 does not authenticate"):
        alice.read_message(bytes(answer))
    assert alice.has_failed
    assert not alice.is_my_turn
    assert alice.remote_static is None, "a key out of a message that failed"
    answer[-1] ^= 1
    with pytest.raises(HandshakeError, match="has failed"):
        alice.read_message(bytes(answer))
    with pytest.raises(HandshakeError, match="has failed"):
        alice.write_message()
    with pytest.raises(UsageError, match="not complete"):
        alice.split()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_message_cut_anywhere_is_refused(number: int) -> None:
    def play_up_to(number: int) -> tuple[Handshake, bytes]:
        alice, bob = make_pair()
        for index in range(number - 1):
            writer, reader = ((alice, bob), (bob, alice))[index % 2]
            reader.read_message(writer.write_message())
        writer, reader = ((alice, bob), (bob, alice))[(number - 1) % 2]
        return reader, writer.write_message()

    size = len(play_up_to(number)[1])
    assert size == (32, 96, 64)[number - 1]
    for cut in range(size):
        reader, message = play_up_to(number)
        with pytest.raises(HandshakeError):
            reader.read_message(message[:cut])
        assert reader.has_failed


def test_longest_message_passes_and_a_longer_one_does_not() -> None:
    alice, bob = make_pair()
    with pytest.raises(UsageError, match="at most 65535 bytes, not 65536"):
        alice.write_message(bytes(MAX_MESSAGE_SIZE - 32 + 1))
    assert not alice.has_failed
    longest = bytes(MAX_MESSAGE_SIZE - 32)
    message = alice.write_message(longest)
    assert len(message) == MAX_MESSAGE_SIZE
    assert bob.read_message(message) == longest
    with pytest.raises(UsageError, match="65536"):
        bob.write_message(bytes(MAX_MESSAGE_SIZE - 96 + 1))
    assert len(bob.write_message(bytes(MAX_MESSAGE_SIZE - 96))) == MAX_MESSAGE_SIZE
    with pytest.raises(HandshakeError, match="not 65536"):
        alice.read_message(bytes(MAX_MESSAGE_SIZE + 1))


def test_low_order_key_is_refused_when_it_is_used() -> None:
    bob = Handshake(XX, initiator=False, static=BOB, ephemeral=BOB_ONCE)
    bob.read_message(LOW_ORDER)
    with pytest.raises(HandshakeError, match="low order"):
        bob.write_message()
    assert bob.has_failed
    alice = Handshake(NN, initiator=True, ephemeral=ALICE_ONCE)
    alice.write_message()
    with pytest.raises(HandshakeError, match="low order"):
        alice.read_message(LOW_ORDER + bytes(16))
    assert alice.has_failed


def test_missing_and_superfluous_keys_are_refused() -> None:
    with pytest.raises(UsageError, match="static: this pattern needs"):
        Handshake(XX, initiator=True, ephemeral=ALICE_ONCE)
    with pytest.raises(UsageError, match="ephemeral: this pattern needs"):
        Handshake(XX, initiator=True, static=ALICE)
    with pytest.raises(UsageError, match="remote_static: this pattern needs"):
        Handshake(N, initiator=True, ephemeral=ALICE_ONCE)
    with pytest.raises(UsageError, match="remote_static: this pattern does not use"):
        Handshake(XX, initiator=True, static=ALICE, remote_static=public_key(BOB), ephemeral=ALICE_ONCE)
    with pytest.raises(UsageError, match="static: this pattern does not use"):
        Handshake(NN, initiator=True, static=ALICE, ephemeral=ALICE_ONCE)
    with pytest.raises(UsageError, match="psks: this pattern wants 1"):
        Handshake(NN_PSK, initiator=True, ephemeral=ALICE_ONCE)
    with pytest.raises(UsageError, match="psks: this pattern wants 0"):
        Handshake(NN, initiator=True, psks=[bytes(32)], ephemeral=ALICE_ONCE)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="static: a key has 32 bytes"):
        Handshake(XX, initiator=True, static=bytes(size), ephemeral=ALICE_ONCE)
    with pytest.raises(UsageError, match="ephemeral: a key has 32 bytes"):
        Handshake(XX, initiator=True, static=ALICE, ephemeral=bytes(size))
    with pytest.raises(UsageError, match="remote_static: a key has 32 bytes"):
        Handshake(N, initiator=True, remote_static=bytes(size), ephemeral=ALICE_ONCE)
    with pytest.raises(UsageError, match="32 bytes each"):
        Handshake(NN_PSK, initiator=True, psks=[bytes(size)], ephemeral=ALICE_ONCE)


def test_representation_tells_progress_and_no_key() -> None:
    alice, bob = make_pair()
    assert repr(alice) == f"<Handshake {XX} initiator, 0 of 3 messages>"
    bob.read_message(alice.write_message())
    assert repr(bob) == f"<Handshake {XX} responder, 1 of 3 messages>"
    with pytest.raises(HandshakeError):
        alice.read_message(b"")
    assert repr(alice) == f"<Handshake {XX} initiator, failed>"
    complete, _ = make_complete_pair()
    assert repr(complete) == f"<Handshake {XX} initiator, complete>"
    assert repr(CipherState()) == "<CipherState without key>"
    assert repr(CipherState(ALICE)) == "<CipherState nonce=0>"
    state = SymmetricState(XX, "sha256")
    assert repr(state) == "<SymmetricState sha256, no key yet>"
    state.mix_key(ALICE)
    assert repr(state) == "<SymmetricState sha256, keyed>"


def test_last_counter_value_is_never_used() -> None:
    sending, receiving = CipherState(ALICE), CipherState(ALICE)
    sending.nonce = receiving.nonce = LAST_NONCE - 1
    last = sending.encrypt_with_ad(b"", b"the last one")
    assert receiving.decrypt_with_ad(b"", last) == b"the last one"
    assert sending.nonce == receiving.nonce == LAST_NONCE
    with pytest.raises(LocalProtocolError, match="used up"):
        sending.encrypt_with_ad(b"", b"one more")
    with pytest.raises(RemoteProtocolError, match="used up"):
        receiving.decrypt_with_ad(b"", last)
    with pytest.raises(LocalProtocolError, match="used up"):
        Cipher(ALICE, LAST_NONCE).seal(b"one more")
    with pytest.raises(LocalProtocolError, match="used up"):
        Cipher(ALICE, LAST_NONCE - 1).seal_many([b"the last one", b"one more"])


def test_cipher_state_without_key_has_nothing_to_renew() -> None:
    state = CipherState()
    assert not state.has_key
    assert state.nonce == 0
    assert state.decrypt_with_ad(b"", b"in clear") == b"in clear"
    with pytest.raises(UsageError, match="no key"):
        state.rekey()
    with pytest.raises(UsageError, match="no key"):
        state.nonce = 1
