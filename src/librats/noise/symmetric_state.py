"""The SymmetricState object of Noise (revision 34, 5.2): chaining key, handshake hash and current cipher."""

from __future__ import annotations

import hashlib
import hmac

from librats._core.aead import Cipher
from librats.noise.cipher_state import CipherState
from librats.noise.dh import KEY_SIZE

__all__ = ["SymmetricState", "hkdf"]


def hkdf(digest: str, chaining_key: bytes, input_key_material: bytes, outputs: int) -> tuple[bytes, ...]:
    """Derive keys as Noise does (4.3): RFC 5869 with the chaining key as salt and no info.

    Args:
        digest: Name of a hash function as hashlib has it.
        chaining_key: As many bytes as the hash function gives.
        input_key_material: Any number of bytes.
        outputs: How many keys, 2 or 3.

    Returns:
        That many keys, each as long as the hash function's result.
    """
    secret = hmac.digest(chaining_key, input_key_material, digest)
    derived: list[bytes] = []
    previous = b""
    for number in range(1, outputs + 1):
        previous = hmac.digest(secret, previous + bytes([number]), digest)
        derived.append(previous)
    return tuple(derived)


class SymmetricState:
    """What both sides have hashed and mixed so far.

    Args:
        protocol_name: The full name, which is where the hash begins.
        digest: Name of the hash function as hashlib has it.
    """

    __slots__ = ("_chaining_key", "_cipher", "_digest", "_hash")

    def __init__(self, protocol_name: str, digest: str) -> None:
        """Start from the name, without a key."""
        name = protocol_name.encode("ascii")
        size = hashlib.new(digest).digest_size
        self._digest = digest
        self._hash = name.ljust(size, b"\0") if len(name) <= size else hashlib.new(digest, name).digest()
        self._chaining_key = self._hash
        self._cipher = CipherState()

    def __repr__(self) -> str:
        """Tell whether there is a key, never which."""
        return f"<SymmetricState {self._digest}, {'keyed' if self.has_key else 'no key yet'}>"

    @property
    def has_key(self) -> bool:
        """True from the first mixed-in key on: what is hashed next is encrypted as well."""
        return self._cipher.has_key

    @property
    def handshake_hash(self) -> bytes:
        """The hash over everything so far; after the last message it is the channel's name (11.2)."""
        return self._hash

    def mix_hash(self, data: bytes) -> None:
        """Bind the data to the handshake."""
        self._hash = hashlib.new(self._digest, self._hash + data).digest()

    def mix_key(self, input_key_material: bytes) -> None:
        """Take a shared secret in; the next message part is encrypted under what comes of it."""
        self._chaining_key, key = hkdf(self._digest, self._chaining_key, input_key_material, 2)
        self._cipher = CipherState(key[:KEY_SIZE])

    def mix_key_and_hash(self, pre_shared_key: bytes) -> None:
        """Take a pre-shared key in (9.2)."""
        self._chaining_key, to_hash, key = hkdf(self._digest, self._chaining_key, pre_shared_key, 3)
        self.mix_hash(to_hash)
        self._cipher = CipherState(key[:KEY_SIZE])

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Encrypt, if there is a key, and bind the result to the handshake."""
        ciphertext = self._cipher.encrypt_with_ad(self._hash, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Decrypt, if there is a key, and bind what came to the handshake.

        Raises:
            RemoteProtocolError: It does not authenticate.
        """
        plaintext = self._cipher.decrypt_with_ad(self._hash, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[Cipher, Cipher, bytes]:
        """Return the transport ciphers, initiator to responder and back, and a secret beside them: the third."""
        first, second, third = hkdf(self._digest, self._chaining_key, b"", 3)
        return Cipher(first[:KEY_SIZE]), Cipher(second[:KEY_SIZE]), third[:KEY_SIZE]
