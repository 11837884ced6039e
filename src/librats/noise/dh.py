"""X25519 (RFC 7748) as Noise uses it (revision 34, 12.1), by libsodium."""

from __future__ import annotations

import nacl.exceptions
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base

from librats._core import symmetric
from librats.errors import HandshakeError, UsageError

__all__ = ["KEY_SIZE", "exchange", "public_key"]

KEY_SIZE = 32
"""Bytes of a private key, of a public key, and of the secret that two of them share."""


def public_key(private_key: bytes) -> bytes:
    """Return the public key that belongs to a private key. Any 32 bytes are a private key.

    Example:
        >>> public_key(bytes(range(32))).hex()
        '8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f'
    """
    _require_size(private_key, "private")
    return symmetric.x25519_public(private_key) if symmetric.AVAILABLE else crypto_scalarmult_base(private_key)


def exchange(private_key: bytes, public_key: bytes) -> bytes:
    """Return the secret that the private key shares with the owner of the public key.

    Raises:
        HandshakeError: The public key has low order, so the secret would be all zero whoever asks.
    """
    # libsodium reads 32 bytes wherever it is pointed at, so the sizes are checked here.
    _require_size(private_key, "private")
    _require_size(public_key, "public")
    secret = symmetric.x25519(private_key, public_key) if symmetric.AVAILABLE else _by_bindings(private_key, public_key)
    if secret is None:
        raise HandshakeError("the public key has low order and protects nothing")
    return secret


def _by_bindings(private_key: bytes, public_key: bytes) -> bytes | None:
    try:
        return crypto_scalarmult(private_key, public_key)
    except nacl.exceptions.RuntimeError:
        return None


def _require_size(key: bytes, kind: str) -> None:
    if len(key) != KEY_SIZE:
        raise UsageError(f"an X25519 {kind} key has {KEY_SIZE} bytes, not {len(key)}")
