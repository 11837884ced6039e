"""Nonces that a server recognises without remembering any (RFC 8489, 9.2)."""

from __future__ import annotations

import binascii
import hmac

from librats.stun.credentials import NONCE_COOKIE, SecurityFeature, nonce_with_features
from librats.types import Entropy

__all__ = ["Nonces"]

_KEY_SIZE = 32
_TIME_SIZE = 4
_TAG_SIZE = 8
_TOKEN_LENGTH = 16
_ALGORITHMS = nonce_with_features(SecurityFeature.PASSWORD_ALGORITHMS, "")
_ALGORITHMS_AND_NAMES = nonce_with_features(
    SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY, ""
)


class Nonces:
    """Makes nonces, and tells those it made for a host within the last while from all others.

    A nonce is the time in seconds and 8 bytes of an HMAC-SHA-1 over features, time and host, 16 characters; where the
    answer has room, RFC 8489's cookie and the server's security features stand before it, covered by the hash too.
    :class:`librats._core.gate.Gate` makes and checks the same.

    Args:
        entropy: Where the key comes from: a server that starts again recognises none of the old ones.
        lifetime: Seconds for which a nonce is good.
    """

    def __init__(self, *, entropy: Entropy, lifetime: float = 3600.0) -> None:
        self.key = entropy.token_bytes(_KEY_SIZE)
        """What the nonces are made with."""
        self.lifetime = int(lifetime)
        """Seconds for which a nonce is good."""

    def make(self, host: bytes, *, now: float, features: bool, names: bool = True) -> str:
        """Return a nonce.

        Args:
            host: The client's address, as bytes; another host cannot use the nonce.
            now: Monotonic seconds.
            features: Whether to say that the server knows password algorithms.
            names: Whether to say then that it knows user name hashes, too.
        """
        prefix = (_ALGORITHMS_AND_NAMES if names else _ALGORITHMS) if features else ""
        return prefix + self._token(prefix, (int(now) & 0xFFFFFFFF).to_bytes(_TIME_SIZE, "big"), host)

    def is_fresh(self, nonce: str, host: bytes, *, now: float) -> bool:
        """Tell whether a nonce was made here for the host, and not too long ago."""
        prefix = nonce[:-_TOKEN_LENGTH]
        if prefix not in ("", _ALGORITHMS, _ALGORITHMS_AND_NAMES):
            return False
        try:
            raw = binascii.a2b_base64(nonce[-_TOKEN_LENGTH:])
        except ValueError:
            return False
        time = raw[:_TIME_SIZE]
        if not hmac.compare_digest(nonce[-_TOKEN_LENGTH:], self._token(prefix, time, host)):
            return False
        age = (int(now) - int.from_bytes(time, "big")) & 0xFFFFFFFF
        return age <= self.lifetime

    @staticmethod
    def tells_algorithms(nonce: str) -> bool:
        """Tell whether the nonce says that the server knows password algorithms (RFC 8489, 9.2.1)."""
        return nonce.startswith(NONCE_COOKIE)

    def _token(self, prefix: str, time: bytes, host: bytes) -> str:
        tag = hmac.digest(self.key, prefix.encode() + time + host, "sha1")[:_TAG_SIZE]
        return binascii.b2a_base64(time + tag, newline=False).decode()
