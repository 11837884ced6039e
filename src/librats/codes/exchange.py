"""What two that have the same code say to each other, so that something secret goes from one to the other.

They run SPAKE2 over Ed25519 (RFC 9382 in spirit, the PyPI package ``spake2`` in bytes): both come to the same key where
they have the same code, and learn nothing about each other's otherwise, but that it is another one. So nobody can try
codes against what was recorded; whoever guesses has one guess for each run, and :class:`CodeGiver` runs once.

The letters, each of which begins with a byte for its kind:

====  ========  ==========================================================================================
0x01  KEY       33 bytes: what SPAKE2 sends; first from whoever takes, then from whoever gives
0x02  PROOF     32 bytes: HMAC-SHA-256 of ``librats code proof`` under the key; from whoever takes
0x03  SEALED    ChaCha20-Poly1305 (RFC 8439), a nonce of zeros, under HMAC-SHA-256 of ``librats code seal``
0x04  WRONG     nothing: the proof was wrong, and the code is burnt
====  ========  ==========================================================================================
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from librats.codes.code import Code
from librats.errors import TransferError, UsageError

__all__ = ["MAX_LETTER", "CodeGiver", "CodeTaker", "require_spake2"]

KEY, PROOF, SEALED, WRONG = 1, 2, 3, 4
TAKER, GIVER = b"librats code taker", b"librats code giver"
PROOF_LABEL, SEAL_LABEL = b"librats code proof", b"librats code seal"
NONCE = bytes(12)  # a key seals one message
SPAKE_SIZE = 33
PROOF_SIZE = 32
MAX_LETTER = 12288
"""Bytes of the longest letter."""

Entropy = Callable[[int], bytes]


def require_spake2() -> Any:
    """Return the package ``spake2``.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import spake2  # noqa: PLC0415 - of an extra, and slow to load
    except ImportError:
        raise UsageError("codes take the package spake2: pip install 'librats[files]'") from None
    return spake2


def _content(letter: bytes, kind: int, size: int | None = None) -> bytes:
    if letter[:1] == bytes([WRONG]):
        raise TransferError("wrong_code", "the other side has another code, which is of no use any more")
    if letter[:1] != bytes([kind]) or len(letter) > MAX_LETTER or (size is not None and len(letter) != 1 + size):
        raise TransferError("bad_code", "what came for a code is not what has to come")
    return letter[1:]


def _key_of(side: Any, message: bytes) -> bytes:
    """Return the key that both sides have come to.

    ``finish`` raises one of four for a message: that it is of our own side, that it is our own one, that it is no point
    of the curve, or that it is one outside of the group or zero. Anything else is a mistake of ours, which is not to
    look like one of the peer's.
    """
    from spake2.ed25519_basic import NotOnCurve  # noqa: PLC0415 - of an extra, as the side is
    from spake2.spake2 import OffSides, ReflectionThwarted  # noqa: PLC0415

    try:
        return bytes(side.finish(message))
    except (OffSides, ReflectionThwarted, NotOnCurve, ValueError):
        raise TransferError("bad_code", "what came for a code is not what has to come") from None


def _derived(key: bytes, label: bytes) -> bytes:
    return hmac.digest(key, label, "sha256")


class CodeTaker:
    """The side that has been told a code, and wants what is behind it.

    Args:
        code: The code.
        entropy: Random bytes.

    Raises:
        UsageError: The package ``spake2`` is not installed.

    Example:
        >>> import os
        >>> from librats.codes.code import Code
        >>> from librats.codes.exchange import CodeGiver, CodeTaker
        >>> code = Code(7, ("acorn", "tiger"))
        >>> taker, giver = CodeTaker(code, os.urandom), CodeGiver(code, b"secret", os.urandom)
        >>> answer = giver.begun(taker.begin())
        >>> taker.end(giver.proven(taker.prove(answer)))
        b'secret'
    """

    def __init__(self, code: Code, entropy: Entropy) -> None:
        self._side = require_spake2().SPAKE2_A(str(code).encode(), idA=TAKER, idB=GIVER, entropy_f=entropy)
        self._key = b""
        self._is_answered = False

    def begin(self) -> bytes:
        """Return the first letter."""
        return bytes([KEY]) + bytes(self._side.start())

    def prove(self, answer: bytes) -> bytes:
        """Return the second letter, from the answer to the first.

        Raises:
            TransferError: The answer is none, or a second one (``"bad_code"``).
        """
        if self._is_answered:
            raise TransferError("bad_code", "what came for a code is out of turn")
        self._is_answered = True
        self._key = _key_of(self._side, _content(answer, KEY, SPAKE_SIZE))
        return bytes([PROOF]) + _derived(self._key, PROOF_LABEL)

    def end(self, answer: bytes) -> bytes:
        """Return what the other side has given, from the answer to the second letter.

        Raises:
            TransferError: The other side has another code (``"wrong_code"``), or the answer is none (``"bad_code"``).
        """
        import nacl.bindings  # noqa: PLC0415 - needed at the end alone
        import nacl.exceptions  # noqa: PLC0415

        sealed = _content(answer, SEALED)
        try:
            return bytes(
                nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
                    sealed, None, NONCE, _derived(self._key, SEAL_LABEL)
                )
            )
        except (nacl.exceptions.CryptoError, ValueError, TypeError):
            raise TransferError("wrong_code", "the other side has another code") from None


class CodeGiver:
    """The side that has made a code. It runs once: whoever has come, a second one is refused.

    Args:
        code: The code.
        secret: What is given to whoever has it; fewer than 12,000 bytes.
        entropy: Random bytes.

    Raises:
        UsageError: The package ``spake2`` is not installed, or the secret is too long.
    """

    def __init__(self, code: Code, secret: bytes, entropy: Entropy) -> None:
        if len(secret) + 1 + 16 > MAX_LETTER:
            raise UsageError(f"{len(secret)} bytes are too many for a code")
        self._side = require_spake2().SPAKE2_B(str(code).encode(), idA=TAKER, idB=GIVER, entropy_f=entropy)
        self._secret = secret
        self._key: bytes | None = None
        self._proven = False
        self.is_burnt = False
        """Whether somebody has come with another code."""

    @property
    def is_used(self) -> bool:
        """Whether somebody has come, with whatever code."""
        return self._key is not None or self.is_burnt

    def begun(self, letter: bytes) -> bytes:
        """Return the answer to the first letter of somebody.

        Raises:
            TransferError: Somebody has come before (``"wrong_code"``), or the letter is none (``"bad_code"``), which
                burns the code too.
        """
        if self.is_used:
            raise TransferError("wrong_code", "the code was used before, and is of no use any more")
        try:
            message = self._side.start()
            self._key = _key_of(self._side, _content(letter, KEY, SPAKE_SIZE))
        except TransferError:
            self.is_burnt = True
            raise
        return bytes([KEY]) + bytes(message)

    def proven(self, letter: bytes) -> bytes:
        """Return the answer to the second letter: what is given, or that the code was wrong, see :attr:`is_burnt`.

        Raises:
            TransferError: It comes out of turn, or is none (``"bad_code"``), which burns the code too.
        """
        if self._key is None or self._proven:
            raise TransferError("bad_code", "what came for a code is out of turn")
        self._proven = True
        try:
            proof = _content(letter, PROOF, PROOF_SIZE)
        except TransferError:
            self.is_burnt = True
            raise
        if not hmac.compare_digest(proof, _derived(self._key, PROOF_LABEL)):
            self.is_burnt = True
            return bytes([WRONG])
        import nacl.bindings  # noqa: PLC0415 - needed at the end alone

        sealed = nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            self._secret, None, NONCE, _derived(self._key, SEAL_LABEL)
        )
        return bytes([SEALED]) + bytes(sealed)
