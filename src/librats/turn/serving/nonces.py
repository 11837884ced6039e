"""Nonces that a server recognises without remembering any (RFC 8489, 9.2)."""

from __future__ import annotations

import binascii
import hashlib
import hmac

from librats.stun.credentials import NONCE_COOKIE, SecurityFeature, nonce_with_features
from librats.types import Entropy

__all__ = ["Nonces"]

_KEY_SIZE = 32
_TIME_SIZE = 4
_TAG_SIZE = 8
_TOKEN_LENGTH = 16
_FEATURES = nonce_with_features(SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY, "")


class Nonces:
    """Makes nonces, and tells those it made for a host within the last while from all others.

    A nonce is the time in seconds and a keyed BLAKE2b over time, features and host, 16 characters; where the answer
    has room, RFC 8489's cookie and the server's security features stand before it, covered by the hash too.

    Args:
        entropy: Where the key comes from: a server that starts again recognises none of the old ones.
        lifetime: Seconds for which a nonce is good.
    """

    def __init__(self, *, entropy: Entropy, lifetime: float = 3600.0) -> None:
        self._key = entropy.token_bytes(_KEY_SIZE)
        self._lifetime = int(lifetime)

    def make(self, host: bytes, *, now: float, features: bool) -> str:
        """Return a nonce.

        Args:
            host: The client's address, as bytes; another host cannot use the nonce.
            now: Monotonic seconds.
            features: Whether to say that the server knows password algorithms and user name hashes.
        """
        prefix = _FEATURES if features else ""
        time = (int(now) & 0xFFFFFFFF).to_bytes(_TIME_SIZE, "big")
        return prefix + binascii.b2a_base64(time + self._tag(prefix, time, host), newline=False).decode()

    def is_fresh(self, nonce: str, host: bytes, *, now: float) -> bool:
        """Tell whether a nonce was made here for the host, and not too long ago."""
        prefix = nonce[:-_TOKEN_LENGTH]
        if prefix and prefix != _FEATURES:
            return False
        try:
            raw = binascii.a2b_base64(nonce[-_TOKEN_LENGTH:])
        except ValueError:
            return False
        time, tag = raw[:_TIME_SIZE], raw[_TIME_SIZE:]
        if not hmac.compare_digest(tag, self._tag(prefix, time, host)):
            return False
        age = (int(now) - int.from_bytes(time, "big")) & 0xFFFFFFFF
        return age <= self._lifetime

    @staticmethod
    def tells_algorithms(nonce: str) -> bool:
        """Tell whether the nonce says that the server knows password algorithms (RFC 8489, 9.2.1)."""
        return nonce.startswith(NONCE_COOKIE)

    def _tag(self, prefix: str, time: bytes, host: bytes) -> bytes:
        return hashlib.blake2b(prefix.encode() + time + host, digest_size=_TAG_SIZE, key=self._key).digest()
