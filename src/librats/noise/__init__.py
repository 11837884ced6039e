"""The Noise Protocol Framework, revision 34 (https://noiseprotocol.org/noise.html), over libsodium.

A pure machine: handshake messages in, handshake messages out, and in the end one cipher for each direction.
It opens no socket and draws no randomness; keys are handed in.
"""

from __future__ import annotations

from librats.noise.cipher_state import CipherState
from librats.noise.dh import KEY_SIZE, exchange, public_key
from librats.noise.handshake import MAX_MESSAGE_SIZE, Handshake
from librats.noise.patterns import HandshakePattern, NoiseProtocol, Token
from librats.noise.symmetric_state import SymmetricState, hkdf

__all__ = [
    "KEY_SIZE",
    "MAX_MESSAGE_SIZE",
    "CipherState",
    "Handshake",
    "HandshakePattern",
    "NoiseProtocol",
    "SymmetricState",
    "Token",
    "exchange",
    "hkdf",
    "public_key",
]
