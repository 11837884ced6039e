"""The CipherState object of Noise (revision 34, 5.1), over the compiled ChaCha20-Poly1305 cipher."""

from __future__ import annotations

from librats._core.aead import Cipher
from librats.errors import UsageError

__all__ = ["TAG_SIZE", "CipherState"]

TAG_SIZE = 16
"""Bytes that encryption adds to a message."""


class CipherState:
    """A key and a message counter, or no key yet, in which case data passes through unchanged.

    Args:
        key: 32 bytes, or None for no key.

    Example:
        >>> CipherState().encrypt_with_ad(b"", b"in clear")
        b'in clear'
        >>> sealed = CipherState(bytes(32)).encrypt_with_ad(b"context", b"secret")
        >>> CipherState(bytes(32)).decrypt_with_ad(b"context", sealed)
        b'secret'
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes | None = None) -> None:
        """Start at counter 0."""
        self._cipher = None if key is None else Cipher(key)

    def __repr__(self) -> str:
        """Tell the counter, never the key."""
        return "<CipherState without key>" if self._cipher is None else f"<CipherState nonce={self._cipher.nonce}>"

    @property
    def has_key(self) -> bool:
        """True where messages are encrypted."""
        return self._cipher is not None

    @property
    def nonce(self) -> int:
        """Counter value of the next message; 2**64 - 1 means that none is left. 0 without a key."""
        return 0 if self._cipher is None else self._cipher.nonce

    @nonce.setter
    def nonce(self, value: int) -> None:
        self._keyed().nonce = value

    def encrypt_with_ad(self, ad: bytes, plaintext: bytes) -> bytes:
        """Encrypt one message; the associated data is authenticated along with it.

        Raises:
            LocalProtocolError: The counter is used up.
        """
        return plaintext if self._cipher is None else self._cipher.seal(plaintext, ad)

    def decrypt_with_ad(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt one message.

        Raises:
            RemoteProtocolError: It is shorter than a tag, or does not authenticate (the counter then stays
                where it was); or the counter is used up.
        """
        return ciphertext if self._cipher is None else self._cipher.open(ciphertext, ad)

    def rekey(self) -> None:
        """Replace the key by the one that follows from it (4.2 and 11.3). The counter goes on.

        Raises:
            UsageError: There is no key.
        """
        self._keyed().rekey()

    def _keyed(self) -> Cipher:
        if self._cipher is None:
            raise UsageError("the cipher state has no key")
        return self._cipher
