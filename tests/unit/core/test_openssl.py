"""Big messages through OpenSSL: the same bytes, the same refusals, the same counters as through libsodium."""

from __future__ import annotations

import _hashlib
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import nacl.bindings
import pytest

from librats._core.aead import INTERPRETER_OPENSSL, Cipher, load_openssl
from librats.errors import LocalProtocolError, RemoteProtocolError

KEY = bytes(range(32))
LAST = 2**64 - 1
SIZES = (495, 496, 511, 512, 513, 527, 528, 529, 2031, 2032, 2033, 2047, 2048, 2049, 16_384, 65_519, 70_000)
ROOT = Path(__file__).parents[3]
ASKED = os.environ.get("LIBRATS_AEAD", "")
BIG = ("tests/unit/core/test_framing.py", "tests/unit/core/test_unframing.py", "tests/unit/session/test_streams.py")


@pytest.fixture(autouse=True)
def _loaded() -> None:
    assert load_openssl() == (ASKED != "libsodium" and not INTERPRETER_OPENSSL)
    assert load_openssl() == (ASKED != "libsodium" and not INTERPRETER_OPENSSL)


def by_libsodium(key: bytes, counter: int, plaintext: bytes, ad: bytes) -> bytes:
    nonce = bytes(4) + counter.to_bytes(8, "little")
    return nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key)


def test_the_openssl_of_the_interpreter_is_used_where_it_can_be_found() -> None:
    found = hasattr(ctypes.CDLL(_hashlib.__file__), "EVP_chacha20_poly1305")
    assert (found and not ASKED) == INTERPRETER_OPENSSL


@pytest.mark.parametrize("ad", [b"", b"associated"])
@pytest.mark.parametrize("size", SIZES)
def test_both_libraries_seal_alike(size: int, ad: bytes) -> None:
    plaintext = os.urandom(size)
    sealed = Cipher(KEY, 7).seal(plaintext, ad)
    assert sealed == by_libsodium(KEY, 7, plaintext, ad)
    opener = Cipher(KEY, 7)
    assert opener.open(sealed, ad) == plaintext
    assert opener.nonce == 8


def test_small_and_big_messages_share_one_counter() -> None:
    plaintexts = [bytes(size) for size in (1, 5000, 2, 6000, 3)]
    sender, receiver = Cipher(KEY), Cipher(KEY)
    sealed = [sender.seal(plaintext) for plaintext in plaintexts]
    assert sealed == Cipher(KEY).seal_many(plaintexts)
    assert [receiver.open(message) for message in sealed] == plaintexts


@pytest.mark.parametrize("at", [0, 2500, 5000, 5015])
def test_a_changed_message_is_refused_and_leaves_the_counter(at: int) -> None:
    damaged = bytearray(Cipher(KEY).seal(bytes(5000)))
    damaged[at] ^= 1
    cipher = Cipher(KEY)
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        cipher.open(damaged)
    assert cipher.nonce == 0


def test_a_new_key_is_used_for_big_messages_too() -> None:
    cipher = Cipher(KEY)
    cipher.seal(bytes(5000))
    cipher.rekey()
    new_key = by_libsodium_rekey(KEY)
    assert cipher.seal(bytes(5000)) == by_libsodium(new_key, 1, bytes(5000), b"")


def by_libsodium_rekey(key: bytes) -> bytes:
    """REKEY of Noise revision 34, 4.2."""
    return by_libsodium(key, LAST, bytes(32), b"")[:32]


def test_the_last_counter_value_is_never_used() -> None:
    with pytest.raises(LocalProtocolError, match="used up"):
        Cipher(KEY, LAST).seal(bytes(5000))
    with pytest.raises(RemoteProtocolError, match="used up"):
        Cipher(KEY, LAST).open(bytes(5000))


def test_one_cipher_may_seal_and_open() -> None:
    cipher = Cipher(KEY)
    sealed = cipher.seal(bytes(5000))
    cipher.nonce = 0
    assert cipher.open(sealed) == bytes(5000)
    assert cipher.seal(bytes(5000)) == by_libsodium(KEY, 1, bytes(5000), b"")


def run(*arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.mark.parametrize("library", ["cryptography", "libsodium"])
def test_other_libraries_do_the_same(library: str) -> None:
    run(*PYTEST, __file__, "-k", "not framing and not libraries and not done_without", LIBRATS_AEAD=library)


@pytest.mark.parametrize("library", ["cryptography", pytest.param("libsodium", marks=pytest.mark.long)])
def test_framing_is_the_same_with_each_library(library: str) -> None:
    run(*PYTEST, *BIG, LIBRATS_AEAD=library)


def test_what_is_missing_or_too_old_is_done_without() -> None:
    code = """
import sys
sys.modules["_hashlib"] = None
sys.modules["cryptography.hazmat.primitives.ciphers.aead"] = None
from librats._core.aead import INTERPRETER_OPENSSL, Cipher, load_openssl
assert not INTERPRETER_OPENSSL
assert not load_openssl()
assert Cipher(bytes(32)).open(Cipher(bytes(32)).seal(bytes(5000))) == bytes(5000)
"""
    run("-c", code)
