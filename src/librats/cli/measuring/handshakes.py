"""Whole Noise XX handshakes, both sides in one process, and the least that X25519 lets them take."""

from __future__ import annotations

import nacl.bindings

from librats import Identity
from librats.cli.measuring.sample import Sample
from librats.cli.measuring.sealing import operations_rate
from librats.noise.handshake import Handshake
from librats.runtime.entropy import SystemEntropy

__all__ = ["NOISE_NAME", "librats_handshake_rate", "x25519_floor_rate"]

NOISE_NAME = "Noise_XX_25519_ChaChaPoly_SHA256"
EXCHANGES = 6
"""Multiplications of XX at both sides together, beside those that make the two ephemeral keys."""


def librats_handshake_rate(count: int) -> Sample:
    """Measure handshakes a second."""
    identities = [Identity.generate() for _ in range(2)]
    new_key = SystemEntropy().token_bytes

    def shake_hands() -> None:
        alice, bob = (
            Handshake(
                NOISE_NAME,
                initiator=initiator,
                static=identity.private_key,
                static_public=identity.public_key,
                ephemeral=new_key(32),
            )
            for initiator, identity in zip((True, False), identities, strict=True)
        )
        bob.read_message(alice.write_message())
        alice.read_message(bob.write_message())
        bob.read_message(alice.write_message())
        alice.split()
        bob.split()

    return operations_rate(shake_hands, count, 1)


def x25519_floor_rate(count: int) -> Sample:
    """Measure how often a second the arithmetic of a handshake can be done: six exchanges and two new keys."""
    new_key = SystemEntropy().token_bytes
    private = new_key(32)
    public = nacl.bindings.crypto_scalarmult_base(new_key(32))

    def multiply() -> None:
        for _ in range(2):
            nacl.bindings.crypto_scalarmult_base(new_key(32))
        for _ in range(EXCHANGES):
            nacl.bindings.crypto_scalarmult(private, public)

    return operations_rate(multiply, count, 1)
