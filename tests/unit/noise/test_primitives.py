"""What Noise is made of, as this package calls it, against published vectors."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from typing import Any

import nacl.exceptions
import nacl.signing
import pytest

from librats.errors import HandshakeError, UsageError
from librats.noise import SymmetricState, exchange, hkdf, public_key

Case = dict[str, Any]

DIGESTS = ("sha256", "sha512", "blake2s", "blake2b")


@pytest.mark.vectors("crypto/x25519")
def test_x25519_case_gives_the_published_result(case: Case) -> None:
    private, public = bytes.fromhex(case["private"]), bytes.fromhex(case["public"])
    if case["all_zero"]:
        with pytest.raises(HandshakeError, match="low order"):
            exchange(private, public)
    else:
        assert exchange(private, public).hex() == case["shared"]
    if "own_public" in case:
        assert public_key(private).hex() == case["own_public"]


def test_x25519_cases_hold_the_low_order_points(load_vectors: Callable[[str], list[Case]]) -> None:
    cases = load_vectors("crypto/x25519")
    assert Counter(case["all_zero"] for case in cases) == {False: 315, True: 18}
    assert sum("own_public" in case for case in cases) > 0


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="private key has 32 bytes"):
        public_key(bytes(size))
    with pytest.raises(UsageError, match="private key has 32 bytes"):
        exchange(bytes(size), bytes(range(32)))
    with pytest.raises(UsageError, match="public key has 32 bytes"):
        exchange(bytes(range(32)), bytes(size))


def test_hkdf_gives_the_published_results(load_vectors: Callable[[str], list[Case]]) -> None:
    counts: Counter[str] = Counter()
    for case in load_vectors("crypto/hkdf"):
        if case["kind"] != "hkdf-sha256":
            counts["noise"] += 1
            outputs = hkdf(
                case["kind"].removeprefix("noise-hkdf-"),
                bytes.fromhex(case["chaining_key"]),
                bytes.fromhex(case["input_key_material"]),
                len(case["outputs"]),
            )
            assert [output.hex() for output in outputs] == case["outputs"], case["id"]
        elif case["result"] == "invalid":
            counts["longer than RFC 5869 allows"] += 1
            assert case["size"] > 255 * 32
        elif case["info"]:
            counts["with info, which Noise never has"] += 1
        else:
            counts["without info"] += 1
            blocks = hkdf("sha256", bytes.fromhex(case["salt"]), bytes.fromhex(case["ikm"]), -(-case["size"] // 32))
            assert b"".join(blocks)[: case["size"]].hex() == case["okm"], case["id"]
    assert counts == {
        "noise": 20,
        "without info": 19,
        "with info, which Noise never has": 30,
        "longer than RFC 5869 allows": 2,
    }


@pytest.mark.vectors("crypto/hashes")
@pytest.mark.parametrize("digest", DIGESTS)
def test_protocol_name_that_is_too_long_is_hashed(case: Case, digest: str) -> None:
    data = bytes.fromhex(case["data"])
    assert hashlib.new(digest, data).hexdigest() == case[digest]
    state = SymmetricState("n" * 300, digest)
    start = state.handshake_hash
    assert start == hashlib.new(digest, b"n" * 300).digest()
    state.mix_hash(data)
    assert state.handshake_hash == hashlib.new(digest, start + data).digest()


@pytest.mark.vectors("crypto/hmac")
def test_hmac_case_gives_the_published_result(case: Case) -> None:
    digest = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}[case["algorithm"]]
    tag = hmac.digest(bytes.fromhex(case["key"]), bytes.fromhex(case["message"]), digest)[: case["tag_bytes"]]
    assert (tag.hex() == case["tag"]) == (case["result"] == "valid")


@pytest.mark.vectors("crypto/ed25519")
def test_ed25519_case_gives_the_published_result(case: Case) -> None:
    verify_key = nacl.signing.VerifyKey(bytes.fromhex(case["public"]))
    message, signature = bytes.fromhex(case["message"]), bytes.fromhex(case["signature"])
    if case["result"] == "valid":
        assert verify_key.verify(message, signature) == message
    else:
        with pytest.raises((nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError)):
            verify_key.verify(message, signature)
    if "seed" in case:
        signing_key = nacl.signing.SigningKey(bytes.fromhex(case["seed"]))
        assert bytes(signing_key.verify_key).hex() == case["public"]
        assert signing_key.sign(message).signature == signature
