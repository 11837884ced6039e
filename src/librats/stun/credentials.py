"""Keys of STUN's long-term credentials, and what hides or limits them.

Usernames, realms and passwords are taken as the OpaqueString profile of RFC 8265, 4.2 wants them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from enum import IntEnum, IntFlag

from librats.errors import UsageError

__all__ = [
    "NONCE_COOKIE",
    "PasswordAlgorithm",
    "SecurityFeature",
    "expiry_of",
    "long_term_key",
    "nonce_with_features",
    "opaque_string",
    "security_features",
    "time_limited_password",
    "time_limited_username",
    "userhash",
]

NONCE_COOKIE = "obMatJos2"
"""What a nonce begins with whose server tells its security features (RFC 8489, 9.2)."""

_FEATURES_END = len(NONCE_COOKIE) + 4
_MAX_DIGITS = 15
_JOINERS = "\u200c\u200d"


class PasswordAlgorithm(IntEnum):
    """How a long-term key is made of its password: values of PASSWORD-ALGORITHM (RFC 8489, 18.5)."""

    MD5 = 1
    SHA256 = 2


class SecurityFeature(IntFlag):
    """Bits of the 24 in a nonce (RFC 8489, 18.1), whose bit 0 is the leftmost."""

    PASSWORD_ALGORITHMS = 1 << 23
    USERNAME_ANONYMITY = 1 << 22


def opaque_string(text: str) -> str:
    """Return the text in the one form in which two sides that mean the same have the same bytes.

    Args:
        text: A username, realm or password.

    Raises:
        UsageError: It is empty, or has characters that are not allowed: controls, unassigned ones and the like.

    Example:
        >>> opaque_string("e\\u0301tude")
        'étude'
    """
    if not text:
        raise UsageError("a username, realm or password is not empty")
    if text.isascii() and text.isprintable():
        return text
    import unicodedata  # noqa: PLC0415 - a tenth of a megabyte, and most names are ASCII

    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in text)
    composed = unicodedata.normalize("NFC", spaced)
    for character in composed:
        category = unicodedata.category(character)
        if category[0] not in "LMNPS" and character != " " and character not in _JOINERS:
            raise UsageError(f"U+{ord(character):04X} is not allowed in a username, realm or password")
    return composed


def long_term_key(
    username: str, realm: str, password: str, algorithm: PasswordAlgorithm = PasswordAlgorithm.MD5
) -> bytes:
    """Return the key that MESSAGE-INTEGRITY of a long-term credential is made with (RFC 8489, 9.2.2 and 18.5.1).

    Args:
        username: As it stands in USERNAME, or would if USERHASH did not stand for it.
        realm: The realm that the server named.
        password: What both sides know.
        algorithm: The one chosen from PASSWORD-ALGORITHMS; MD5 where the server offered none.

    Returns:
        16 bytes for MD5, 32 for SHA-256.

    Raises:
        UsageError: One of the three is empty or has characters that are not allowed.

    Example:
        >>> long_term_key("user", "realm", "pass").hex()
        '8493fbc53ba582fb4c044c456bdc40eb'
    """
    joined = ":".join(map(opaque_string, (username, realm, password))).encode()
    if algorithm == PasswordAlgorithm.SHA256:
        return hashlib.sha256(joined).digest()
    return hashlib.md5(joined, usedforsecurity=False).digest()


def userhash(username: str, realm: str) -> bytes:
    """Return the 32 bytes of USERHASH, which hides the username from who listens (RFC 8489, 14.4).

    Args:
        username: The one that it stands for.
        realm: The realm that the server named.

    Raises:
        UsageError: One of the two is empty or has characters that are not allowed.

    Example:
        >>> userhash("user", "realm").hex()[:16]
        '6a3029116b47aa98'
    """
    return hashlib.sha256(f"{opaque_string(username)}:{opaque_string(realm)}".encode()).digest()


def nonce_with_features(features: SecurityFeature, rest: str) -> str:
    """Return a nonce that tells which security features the server has (RFC 8489, 9.2).

    Args:
        features: What the server offers.
        rest: The server's own part of the nonce.

    Example:
        >>> nonce_with_features(SecurityFeature.PASSWORD_ALGORITHMS, "k3v")
        'obMatJos2gAAAk3v'
    """
    return NONCE_COOKIE + base64.b64encode(int(features).to_bytes(3, "big")).decode() + rest


def security_features(nonce: str) -> SecurityFeature:
    """Return the features that a nonce tells; none where it does not begin with the cookie.

    Some servers, and the sample of the RFC, count the bits from the right: both ways are understood.

    Example:
        >>> security_features("obMatJos2gAAAk3v")
        <SecurityFeature.PASSWORD_ALGORITHMS: 8388608>
        >>> security_features("k3v")
        <SecurityFeature: 0>
    """
    encoded = nonce[len(NONCE_COOKIE) : _FEATURES_END]
    if not nonce.startswith(NONCE_COOKIE) or len(encoded) < _FEATURES_END - len(NONCE_COOKIE):
        return SecurityFeature(0)
    try:
        bits = int.from_bytes(base64.b64decode(encoded, validate=True), "big")
    except ValueError:
        return SecurityFeature(0)
    found = SecurityFeature(0)
    if bits & (1 << 23 | 1 << 0):
        found |= SecurityFeature.PASSWORD_ALGORITHMS
    if bits & (1 << 22 | 1 << 1):
        found |= SecurityFeature.USERNAME_ANONYMITY
    return found


def time_limited_username(expires: int, name: str = "") -> str:
    """Return the username of a credential that a shared secret stands behind, as TURN servers know it.

    Args:
        expires: When it ends, in seconds since 1970.
        name: Whom it was given to.

    Example:
        >>> time_limited_username(1896883740, "ann")
        '1896883740:ann'
    """
    return f"{expires}:{name}" if name else str(expires)


def time_limited_password(secret: str, username: str) -> str:
    """Return the password that goes with such a username: whoever knows the secret can make it, and check it.

    Args:
        secret: What the server and those who give out credentials share.
        username: See :func:`time_limited_username`.

    Example:
        >>> time_limited_password("ykiHf2JE", "1803700917:5f6de9")
        'iDMB9cjd1F1HRmqjtbhk/XVYURM='
    """
    return base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()


def expiry_of(username: str) -> int | None:
    """Return when a time-limited credential ends, in seconds since 1970; None where the username is of another kind.

    Example:
        >>> expiry_of("1803700917:5f6de9")
        1803700917
        >>> expiry_of("ann") is None
        True
    """
    head = username.partition(":")[0]
    if not (head.isascii() and head.isdigit() and len(head) <= _MAX_DIGITS):
        return None
    return int(head)
