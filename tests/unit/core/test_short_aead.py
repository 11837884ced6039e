"""Short messages sealed by two calls of libsodium: the same bytes and refusals as by its AEAD, at each size."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import nacl._sodium
import nacl.bindings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats._core.aead import Cipher
from librats.errors import RemoteProtocolError

KEY = bytes(range(32))
TAG = 16
# One less and one more than where a way through libsodium ends, and where OpenSSL begins.
EDGES = (0, 1, 15, 16, 17, 63, 64, 65, 191, 192, 193, 447, 448, 449, 511, 512, 513)
AD_EDGES = (0, 1, 15, 16, 17, 63, 64, 65)


def by_libsodium(counter: int, plaintext: bytes, ad: bytes) -> bytes:
    nonce = bytes(4) + counter.to_bytes(8, "little")
    return nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, ad, nonce, KEY)


@pytest.mark.parametrize("ad_size", AD_EDGES)
@pytest.mark.parametrize("size", EDGES)
def test_each_edge_is_sealed_and_opened_alike(size: int, ad_size: int) -> None:
    plaintext, ad = os.urandom(size), os.urandom(ad_size)
    sealed = Cipher(KEY, 9).seal(plaintext, ad)
    assert sealed == by_libsodium(9, plaintext, ad)
    assert Cipher(KEY, 9).open(sealed, ad) == plaintext


def test_each_size_is_sealed_and_opened_alike() -> None:
    for size in range(520):
        plaintext = os.urandom(size)
        sealed = Cipher(KEY, size).seal(plaintext)
        assert sealed == by_libsodium(size, plaintext, b"")
        assert Cipher(KEY, size).open(sealed) == plaintext


@given(st.integers(0, 2**64 - 2), st.binary(max_size=600), st.binary(max_size=100))
def test_any_message_is_sealed_and_opened_alike(counter: int, plaintext: bytes, ad: bytes) -> None:
    sealed = Cipher(KEY, counter).seal(plaintext, ad)
    assert sealed == by_libsodium(counter, plaintext, ad)
    assert Cipher(KEY, counter).open(sealed, ad) == plaintext


@given(st.data(), st.integers(16, 460), st.integers(0, 70))
def test_a_changed_bit_anywhere_is_refused_and_leaves_the_counter(data: st.DataObject, size: int, ad_size: int) -> None:
    sealed = bytearray(Cipher(KEY).seal(bytes(size), bytes(ad_size)))
    ad = bytearray(ad_size)
    at = data.draw(st.integers(0, 8 * (size + TAG + ad_size) - 1))
    whole = sealed + ad
    whole[at // 8] ^= 1 << at % 8
    cipher = Cipher(KEY)
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        cipher.open(bytes(whole[: size + TAG]), bytes(whole[size + TAG :]))
    assert cipher.nonce == 0
    assert cipher.open(bytes(sealed), bytes(ad_size)) == bytes(size)


@pytest.mark.parametrize("size", [16, 64, 192, 448])
def test_what_was_moved_between_message_and_associated_data_is_refused(size: int) -> None:
    sealed = Cipher(KEY).seal(bytes(size), bytes(16))
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        Cipher(KEY).open(bytes(16) + sealed, b"")
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        Cipher(KEY).open(sealed, bytes(15))


def test_messages_of_a_batch_are_sealed_alike() -> None:
    plaintexts = [os.urandom(size) for size in EDGES]
    sealed = Cipher(KEY).seal_many(plaintexts)
    assert sealed == [by_libsodium(number, plaintext, b"") for number, plaintext in enumerate(plaintexts)]


X86_64 = platform.machine().lower() in {"x86_64", "amd64"}


@pytest.mark.skipif(not X86_64, reason="libsodium's AEAD does it all there")
def test_short_messages_take_the_short_way_where_libsodium_shows_its_functions() -> None:
    shown = hasattr(ctypes.CDLL(nacl._sodium.__file__), "crypto_stream_chacha20_ietf")
    code = "from librats._core import short_aead; print(short_aead.AVAILABLE)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(shown)


def test_without_pynacls_module_libsodium_does_it_all() -> None:
    code = """
import sys
import nacl.bindings
nacl._sodium.__file__ = "/nowhere/at/all"
from librats._core import short_aead
from librats._core.aead import Cipher
assert not short_aead.AVAILABLE
assert Cipher(bytes(32)).open(Cipher(bytes(32)).seal(bytes(100))) == bytes(100)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
