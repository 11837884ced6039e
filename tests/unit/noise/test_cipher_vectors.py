"""The AEAD against its vectors: by libsodium itself, and by the compiled cipher where it has the nonce."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import nacl.bindings
import nacl.exceptions
import pytest

from librats._core.aead import BACKEND, Cipher
from librats.errors import RemoteProtocolError
from librats.noise import CipherState

Case = dict[str, Any]

NONCE_SIZE = 12
LAST_NONCE = 2**64 - 1


def counter_of(nonce: bytes) -> int | None:
    """Return the message counter that makes this nonce, None where none does (Noise revision 34, 12.3)."""
    if len(nonce) != NONCE_SIZE or nonce[:4] != bytes(4):
        return None
    counter = int.from_bytes(nonce[4:], "little")
    return counter if counter < LAST_NONCE else None


def test_backend_is_the_one_asked_for() -> None:
    asked = os.environ.get("LIBRATS_AEAD")
    assert asked in (None, "bindings")
    assert (asked or "libsodium") == BACKEND


@pytest.mark.vectors("crypto/chacha20poly1305")
def test_aead_case_gives_the_published_result(case: Case) -> None:
    key, nonce, ad, plaintext, ciphertext = (
        bytes.fromhex(case[name]) for name in ("key", "nonce", "aad", "plaintext", "ciphertext")
    )
    counter = counter_of(nonce)
    if case["result"] == "valid":
        assert nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key) == ciphertext
        assert nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, ad, nonce, key) == plaintext
        if counter is not None:
            assert Cipher(key, counter).seal(plaintext, ad) == ciphertext
            assert Cipher(key, counter).open(ciphertext, ad) == plaintext
    else:
        # A forgery, less than a tag, and a nonce of another size, in this order.
        with pytest.raises((nacl.exceptions.CryptoError, ValueError, TypeError)):
            nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, ad, nonce, key)


def test_only_so_many_aead_cases_can_be_said_with_a_counter(
    load_vectors: Callable[[str], list[Case]],
) -> None:
    reach: Counter[tuple[str, bool]] = Counter(
        (case["result"], counter_of(bytes.fromhex(case["nonce"])) is not None)
        for case in load_vectors("crypto/chacha20poly1305")
    )
    assert reach == {("valid", True): 8, ("valid", False): 182, ("invalid", False): 54}


@pytest.mark.vectors("noise/cipherstate")
def test_cipher_state_case_gives_the_published_result(case: Case) -> None:
    key = bytes.fromhex(case["key"])
    if case["kind"] == "rekey":
        renewed, expected = Cipher(key, 5), Cipher(bytes.fromhex(case["new_key"]), 5)
        renewed.rekey()
        assert renewed.nonce == 5
        assert renewed.seal(b"after") == expected.seal(b"after")
        state, expected_state = CipherState(key), CipherState(bytes.fromhex(case["new_key"]))
        state.rekey()
        assert state.encrypt_with_ad(b"", b"after") == expected_state.encrypt_with_ad(b"", b"after")
        return
    assert case["kind"] == "encrypt"
    ad, plaintext, ciphertext = (bytes.fromhex(case[name]) for name in ("ad", "plaintext", "ciphertext"))
    counter = int(case["nonce"])
    for size in (0, len(ciphertext) - 1):
        with pytest.raises(RemoteProtocolError):
            Cipher(key, counter).open(ciphertext[:size], ad)
    cipher = Cipher(key, counter)
    assert cipher.seal(plaintext, ad) == ciphertext
    assert cipher.nonce == counter + 1
    sending, receiving = CipherState(key), CipherState(key)
    sending.nonce = receiving.nonce = counter
    assert sending.encrypt_with_ad(ad, plaintext) == ciphertext
    assert receiving.decrypt_with_ad(ad, ciphertext) == plaintext
    assert sending.nonce == receiving.nonce == counter + 1


@pytest.mark.vectors("noise/cipherstate")
def test_batch_gives_the_same_bytes_as_single_messages(case: Case) -> None:
    key, counter = bytes.fromhex(case["key"]), int(case.get("nonce", 0))
    plaintexts = [bytes.fromhex(case.get("plaintext", "")), b"", b"x" * 2000][: LAST_NONCE - counter]
    single = Cipher(key, counter)
    sealed = [single.seal(plaintext) for plaintext in plaintexts]
    assert Cipher(key, counter).seal_many(plaintexts) == sealed
    assert Cipher(key, counter).open_many(sealed) == plaintexts
