"""Long-term keys, user hashes, nonces with features, and time-limited credentials."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from librats.errors import UsageError
from librats.stun import credentials
from librats.stun.credentials import (
    PasswordAlgorithm,
    SecurityFeature,
    expiry_of,
    long_term_key,
    nonce_with_features,
    opaque_string,
    security_features,
    time_limited_password,
    time_limited_username,
    userhash,
)


@pytest.mark.vectors("stun/credentials")
def test_credentials_are_those_of_the_vectors(case: dict[str, Any]) -> None:
    username = case["username"]
    if "secret" in case:
        assert time_limited_password(case["secret"], username) == case["password"]
        assert expiry_of(username) == case["expires"]
        assert time_limited_username(case["expires"], username.partition(":")[2]) == username
        return
    realm, password = case["realm"], case["password"]
    assert long_term_key(username, realm, password).hex() == case["key_md5"]
    assert long_term_key(username, realm, password, PasswordAlgorithm.SHA256).hex() == case["key_sha256"]
    assert userhash(username, realm).hex() == case["userhash"]


def test_text_that_looks_the_same_is_the_same() -> None:
    assert opaque_string("e\N{COMBINING ACUTE ACCENT}") == "\N{LATIN SMALL LETTER E WITH ACUTE}"
    assert opaque_string("a\N{NO-BREAK SPACE}b\N{IDEOGRAPHIC SPACE}c") == "a b c"
    assert opaque_string("Case And  Spaces") == "Case And  Spaces"
    assert long_term_key("u", "r", "e\N{COMBINING ACUTE ACCENT}") == long_term_key("u", "r", "é")


@pytest.mark.parametrize(
    "text",
    ["", "a\n", "\0", "a\x7f", "\N{SOFT HYPHEN}", "\u2028", "\udc80", "\ue000", "\u0378", "\N{LEFT-TO-RIGHT MARK}"],
)
def test_text_with_forbidden_characters_is_refused(text: str) -> None:
    for call in (
        lambda: opaque_string(text),
        lambda: long_term_key(text, "realm", "password"),
        lambda: long_term_key("user", text, "password"),
        lambda: long_term_key("user", "realm", text),
        lambda: userhash(text, "realm"),
    ):
        with pytest.raises(UsageError):
            call()


def test_nonce_tells_the_features() -> None:
    both = SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY
    for features in (SecurityFeature(0), *SecurityFeature, both):
        nonce = nonce_with_features(features, "1234")
        assert nonce.startswith("obMatJos2")
        assert nonce.endswith("1234")
        assert len(nonce) == 9 + 4 + 4
        assert security_features(nonce) == features
    assert nonce_with_features(both, "") == "obMatJos2wAAA"


def test_bits_counted_from_the_right_are_understood() -> None:
    # The nonce of RFC 8489, B.1.
    assert security_features("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA") == SecurityFeature.USERNAME_ANONYMITY
    assert security_features("obMatJos2AAAB") == SecurityFeature.PASSWORD_ALGORITHMS


@pytest.mark.parametrize("nonce", ["", "obMatJos2", "obMatJos2AAA", "obMatJos2*AAA", "obMatJos2é123", "xbMatJos2wAAA"])
def test_nonce_without_features_has_none(nonce: str) -> None:
    assert security_features(nonce) == SecurityFeature(0)


@pytest.mark.parametrize("username", ["", "ann", ":5", "12a:ann", "-5:ann", "٣:ann", "1" * 16])
def test_other_usernames_have_no_expiry(username: str) -> None:
    assert expiry_of(username) is None


def test_the_examples_are_right() -> None:
    result = doctest.testmod(credentials)
    assert result.attempted >= 10
    assert result.failed == 0
