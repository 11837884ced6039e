"""Tokens (BEP 5): whoever announces or puts shows that it can hear what is sent to its address."""

from __future__ import annotations

import hmac

from librats._core.shorthash import siphash
from librats.types import Entropy

__all__ = ["Tokens"]

KEY_SIZE = 16
SECONDS = 300.0


class Tokens:
    """Gives tokens out, and knows its own again, without keeping any.

    A token is a keyed hash of the address and of what is to be announced. The key is another every five minutes, and
    the one before it still counts: a token is good for five to ten minutes.

    Args:
        entropy: Where keys come from.
        now: Seconds.
    """

    def __init__(self, entropy: Entropy, *, now: float) -> None:
        self._entropy = entropy
        self._key = entropy.token_bytes(KEY_SIZE)
        self._key_before = entropy.token_bytes(KEY_SIZE)
        self._since = now

    def _keep_fresh(self, now: float) -> None:
        periods = int((now - self._since) // SECONDS)
        if periods < 1:
            return
        self._since += periods * SECONDS
        self._key_before = self._key if periods == 1 else self._entropy.token_bytes(KEY_SIZE)
        self._key = self._entropy.token_bytes(KEY_SIZE)

    def give(self, host: bytes, target: bytes, *, now: float) -> bytes:
        """Return the token for an address.

        Args:
            host: The address without its port, 4 or 16 bytes.
            target: Hash or target that was asked for.
            now: Seconds.

        Returns:
            8 bytes.
        """
        self._keep_fresh(now)
        return siphash(host + target, self._key)

    def accepts(self, token: bytes, host: bytes, target: bytes, *, now: float) -> bool:
        """Whether a token was given for that address and target not long ago.

        Args:
            token: What was shown.
            host: The address without its port that it came from.
            target: Hash or target that is announced or put.
            now: Seconds.
        """
        self._keep_fresh(now)
        wanted = (siphash(host + target, key) for key in (self._key, self._key_before))
        return any([hmac.compare_digest(token, one) for one in wanted])
