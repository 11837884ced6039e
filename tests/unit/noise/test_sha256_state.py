"""The compiled symmetric state does what the one in Python does, step by step, and X25519 what PyNaCl's does."""

from __future__ import annotations

import nacl.bindings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats._core import symmetric
from librats._core.aead import BACKEND
from librats.errors import RemoteProtocolError
from librats.noise.symmetric_state import SymmetricState, new_state

NAME = "Noise_XX_25519_ChaChaPoly_SHA256"

steps = st.lists(
    st.tuples(
        st.sampled_from(["mix_hash", "mix_key", "mix_key_and_hash", "encrypt_and_hash"]), st.binary(max_size=600)
    ),
    max_size=8,
)


def compiled() -> symmetric.Sha256State:
    state = new_state(NAME, "sha256")
    assert isinstance(state, symmetric.Sha256State)
    return state


def test_it_is_there_where_libsodium_is() -> None:
    assert (BACKEND == "libsodium") == symmetric.AVAILABLE


@given(steps)
def test_both_states_agree_after_every_step(taken: list[tuple[str, bytes]]) -> None:
    one, other = compiled(), SymmetricState(NAME, "sha256")
    for step, data in taken:
        assert getattr(one, step)(data) == getattr(other, step)(data)
        assert (one.handshake_hash, one.has_key) == (other.handshake_hash, other.has_key)
    sealed = [[cipher.seal(b"x") for cipher in state.split()] for state in (one, other)]
    assert sealed[0] == sealed[1]


@given(st.binary(max_size=600), st.binary(min_size=32, max_size=32))
def test_what_is_encrypted_is_decrypted_on_the_other_side(plaintext: bytes, key: bytes) -> None:
    one, other = compiled(), compiled()
    for state in (one, other):
        state.mix_key(key)
    assert other.decrypt_and_hash(one.encrypt_and_hash(plaintext)) == plaintext
    assert one.handshake_hash == other.handshake_hash


@pytest.mark.parametrize("damaged", [b"", bytes(15), bytes(16), bytes(40)])
def test_what_does_not_authenticate_is_refused_and_leaves_the_hash(damaged: bytes) -> None:
    state = compiled()
    state.mix_key(bytes(32))
    before = state.handshake_hash
    with pytest.raises(RemoteProtocolError):
        state.decrypt_and_hash(damaged)
    assert state.handshake_hash == before


def test_a_name_longer_than_the_hash_is_left_to_the_other_state() -> None:
    assert isinstance(new_state("Noise_XXpsk0+psk3_25519_ChaChaPoly_SHA256", "sha256"), SymmetricState)
    with pytest.raises(ValueError, match="32 bytes"):
        symmetric.Sha256State(bytes(33))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_x25519_is_that_of_the_bindings(private: bytes, other: bytes) -> None:
    public = nacl.bindings.crypto_scalarmult_base(other)
    assert symmetric.x25519_public(other) == public
    assert symmetric.x25519(private, public) == nacl.bindings.crypto_scalarmult(private, public)


def test_a_low_order_point_gives_no_secret() -> None:
    assert symmetric.x25519(bytes(range(32)), bytes(32)) is None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        symmetric.x25519_public(bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        symmetric.x25519(bytes(32), bytes(size))


def test_repr_shows_no_key() -> None:
    state = compiled()
    assert repr(state) == "<Sha256State no key yet>"
    state.mix_key(b"k" * 32)
    assert repr(state) == "<Sha256State keyed>"
