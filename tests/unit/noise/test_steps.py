"""The compiled steps of a handshake do what those in Python do, message by message, and X25519 what PyNaCl's does."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import nacl.bindings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats._core import symmetric
from librats._core.aead import BACKEND
from librats.errors import HandshakeError, RemoteProtocolError
from librats.noise import NoiseProtocol, public_key
from librats.noise.steps import Steps, new_steps

XX = "Noise_XX_25519_ChaChaPoly_SHA256"
LONG_NAME = "Noise_XXpsk0+psk3_25519_ChaChaPoly_SHA256"
E, S, EE, PSK = (symmetric.TOKENS.index(token) for token in ("e", "s", "ee", "psk"))

keys = st.binary(min_size=32, max_size=32)
payloads = st.binary(max_size=600)
# Any tokens in any order, once both have sent an ephemeral and a static key in clear.
messages = st.lists(
    st.tuples(st.lists(st.integers(0, len(symmetric.TOKENS) - 2), max_size=5).map(bytes), payloads), max_size=5
)


def compiled(
    protocol: str = XX,
    *,
    initiator: bool = True,
    prologue: bytes = b"",
    static: bytes = b"s" * 32,
    static_public: bytes | None = None,
    ephemeral: bytes = b"e" * 32,
    psks: bytes = b"",
) -> symmetric.Sha256Steps:
    steps = new_steps(
        NoiseProtocol.parse(protocol),
        initiator=initiator,
        prologue=prologue,
        static=static,
        static_public=static_public,
        ephemeral=ephemeral,
        psks=psks,
    )
    assert isinstance(steps, symmetric.Sha256Steps)
    return steps


def in_python(
    protocol: str = XX,
    *,
    initiator: bool = True,
    prologue: bytes = b"",
    static: bytes = b"s" * 32,
    ephemeral: bytes = b"e" * 32,
    psks: bytes = b"",
) -> Steps:
    return Steps(
        NoiseProtocol.parse(protocol),
        initiator=initiator,
        prologue=prologue,
        static=static,
        static_public=None,
        ephemeral=ephemeral,
        remote_static=None,
        psks=psks,
    )


def test_they_are_there_where_libsodium_is() -> None:
    assert (BACKEND == "libsodium") == symmetric.AVAILABLE


@given(secrets=st.lists(keys, min_size=4, max_size=4), prologue=payloads, script=messages)
def test_both_kinds_write_and_read_the_same(
    secrets: list[bytes], prologue: bytes, script: list[tuple[bytes, bytes]]
) -> None:
    kinds = [
        tuple(
            make(initiator=side == 0, prologue=prologue, static=secrets[side], ephemeral=secrets[2 + side])
            for side in (0, 1)
        )
        for make in (compiled, in_python)
    ]
    for index, (program, payload) in enumerate([(bytes([E, S]), b""), (bytes([E, S]), b""), *script]):
        written = [sides[index % 2].write(program, payload) for sides in kinds]
        assert written[0] == written[1]
        assert [sides[1 - index % 2].read(program, written[0]) for sides in kinds] == [payload, payload]
        assert len({side.handshake_hash for sides in kinds for side in sides}) == 1
    for side in (0, 1):
        assert kinds[0][side].remote_static == kinds[1][side].remote_static == public_key(secrets[1 - side])
    sealed = [[cipher.seal(b"x") for cipher in side.split()[:2]] for sides in kinds for side in sides]
    assert sealed == [sealed[0]] * 4


@given(key=keys, psks=st.lists(keys, min_size=2, max_size=2), payload=payloads)
def test_pre_shared_keys_and_a_name_longer_than_the_hash_give_the_same(
    key: bytes, psks: list[bytes], payload: bytes
) -> None:
    one = compiled(LONG_NAME, ephemeral=key, psks=b"".join(psks))
    other = in_python(LONG_NAME, ephemeral=key, psks=b"".join(psks))
    for program in (bytes([PSK, E]), bytes([S, PSK])):
        assert one.write(program, payload) == other.write(program, payload)
        assert one.handshake_hash == other.handshake_hash


@pytest.mark.parametrize("make", [compiled, in_python])
def test_a_token_without_a_pre_shared_key_is_an_error_of_ours(make: Callable[..., Steps]) -> None:
    steps = make(psks=b"k" * 32)
    steps.write(bytes([PSK]), b"")
    with pytest.raises(IndexError):
        steps.write(bytes([PSK]), b"")


@pytest.mark.parametrize("size", [0, 15, 31, 32, 47, 63])
def test_what_does_not_authenticate_is_refused(size: int) -> None:
    alice, bob = compiled(), compiled(initiator=False)
    for program in (bytes([E]), bytes([E, EE])):
        bob.read(program, alice.write(program, b""))
        alice, bob = bob, alice
    message = alice.write(bytes([S]), b"payload")
    cut = message[:size]
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        bob.read(bytes([S]), cut)
    assert bob.remote_static is None


def test_low_order_keys_are_refused() -> None:
    for steps in (compiled(), in_python()):
        steps.read(bytes([E]), bytes(32))
        with pytest.raises(HandshakeError, match="low order"):
            steps.write(bytes([EE]), b"")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        compiled(static=bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        compiled(static_public=bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        symmetric.x25519_public(bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        symmetric.x25519(bytes(32), bytes(size))


def test_a_public_key_that_is_at_hand_is_taken_as_it_is() -> None:
    assert compiled(static_public=b"p" * 32).static_public == b"p" * 32
    assert compiled().static_public == in_python().static_public == public_key(b"s" * 32)


@given(keys, keys)
def test_x25519_is_that_of_the_bindings(private: bytes, other: bytes) -> None:
    public = nacl.bindings.crypto_scalarmult_base(other)
    assert symmetric.x25519_public(other) == public
    assert symmetric.x25519(private, public) == nacl.bindings.crypto_scalarmult(private, public)


def test_a_low_order_point_gives_no_secret() -> None:
    assert symmetric.x25519(bytes(range(32)), bytes(32)) is None


def test_repr_shows_no_key() -> None:
    steps = compiled()
    assert repr(steps) == "<Sha256Steps no key yet>"
    steps.read(bytes([E]), public_key(b"o" * 32))
    steps.write(bytes([E, EE]), b"")
    assert repr(steps) == "<Sha256Steps keyed>"


@pytest.mark.parametrize("make", [compiled, in_python])
def test_an_ephemeral_key_made_beforehand_is_the_one_that_is_sent(make: Callable[..., Steps]) -> None:
    prepared, unprepared = make(), make()
    prepared.prepare()
    assert prepared.write(bytes([E, S]), b"") == unprepared.write(bytes([E, S]), b"")
    prepared.prepare()
    assert prepared.write(bytes([E]), b"") == unprepared.write(bytes([E]), b"")


def test_an_ephemeral_key_made_beforehand_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = in_python()
    steps.prepare()
    monkeypatch.delattr("librats.noise.dh.public_key")
    assert steps.write(bytes([E]), b"") == public_key(b"e" * 32)


@given(key=st.binary(max_size=200), data=st.binary(max_size=300))
def test_hashes_and_codes_are_those_of_the_standard_library(key: bytes, data: bytes) -> None:
    assert symmetric.sha256(data) == hashlib.sha256(data).digest()
    assert symmetric.hmac_sha256(key, data) == hmac.digest(key, data, "sha256")
