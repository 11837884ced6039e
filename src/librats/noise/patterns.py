"""Noise protocol names and handshake patterns (revision 34, 7, 8, 9 and 18.1)."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct

from librats.errors import UsageError

__all__ = ["HandshakePattern", "NoiseProtocol", "Token"]


class Token(StrEnum):
    """One step of a handshake message (7.1). A Diffie-Hellman step names the initiator's key first."""

    E = "e"
    """The sender's ephemeral public key."""

    S = "s"
    """The sender's static public key, encrypted where there is a key."""

    EE = "ee"
    """Ephemeral with ephemeral."""

    ES = "es"
    """The initiator's ephemeral with the responder's static key."""

    SE = "se"
    """The initiator's static with the responder's ephemeral key."""

    SS = "ss"
    """Static with static."""

    PSK = "psk"
    """The next pre-shared key."""


# The messages of each pattern, the initiator's first. Which keys are known beforehand follows from the name.
_MESSAGES = {
    # One-way patterns (7.4).
    "N": "e es",
    "K": "e es ss",
    "X": "e es s ss",
    # Interactive patterns (7.5).
    "NN": "e, e ee",
    "NK": "e es, e ee",
    "NX": "e, e ee s es",
    "KN": "e, e ee se",
    "KK": "e es ss, e ee se",
    "KX": "e, e ee se s es",
    "XN": "e, e ee, s se",
    "XK": "e es, e ee, s se",
    "XX": "e, e ee s es, s se",
    "IN": "e s, e ee se",
    "IK": "e es s ss, e ee se",
    "IX": "e s, e ee se s es",
    # Deferred patterns (18.1): a 1 puts the key's authentication off to the next message.
    "NK1": "e, e ee es",
    "NX1": "e, e ee s, es",
    "K1N": "e, e ee, se",
    "K1K": "e es, e ee, se",
    "KK1": "e, e ee se es",
    "K1K1": "e, e ee es, se",
    "K1X": "e, e ee s es, se",
    "KX1": "e, e ee se s, es",
    "K1X1": "e, e ee s, se es",
    "X1N": "e, e ee, s, se",
    "X1K": "e es, e ee, s, se",
    "XK1": "e, e ee es, s se",
    "X1K1": "e, e ee es, s, se",
    "X1X": "e, e ee s es, s, se",
    "XX1": "e, e ee s, es s se",
    "X1X1": "e, e ee s, es s, se",
    "I1N": "e s, e ee, se",
    "I1K": "e es s, e ee, se",
    "IK1": "e s, e ee se es",
    "I1K1": "e s, e ee es, se",
    "I1X": "e s, e ee s es, se",
    "IX1": "e s, e ee se s, es",
    "I1X1": "e s, e ee s, se es",
}

_DIGESTS = {"SHA256": "sha256", "SHA512": "sha512", "BLAKE2s": "blake2s", "BLAKE2b": "blake2b"}

_NAME = re.compile(
    r"Noise_(?P<pattern>[NKXI]1?[NKX]?1?)(?P<modifiers>(?:psk[0-9](?:\+psk[0-9])*)?)"
    r"_25519_ChaChaPoly_(?P<hash>SHA256|SHA512|BLAKE2s|BLAKE2b)"
)

_MAX_NAME_SIZE = 255


class HandshakePattern(Struct, frozen=True):
    """Who sends what, and what each side has to know beforehand."""

    messages: tuple[tuple[Token, ...], ...]
    """The tokens of each message, the initiator's first, then turn by turn."""

    initiator_known: bool
    """True where the responder knows the initiator's static key beforehand."""

    responder_known: bool
    """True where the initiator knows the responder's static key beforehand."""

    psk_count: int
    """How many pre-shared keys both sides need."""

    @property
    def is_one_way(self) -> bool:
        """True where the initiator alone ever sends."""
        return len(self.messages) == 1

    def is_known(self, *, initiator: bool) -> bool:
        """Tell whether that side's static key is known to the other beforehand."""
        return self.initiator_known if initiator else self.responder_known

    def sends(self, token: Token, *, initiator: bool) -> bool:
        """Tell whether one of that side's messages has the token."""
        return any(token in message for message in self.messages[0 if initiator else 1 :: 2])


class NoiseProtocol(Struct, frozen=True):
    """What a Noise protocol name stands for.

    Example:
        >>> protocol = NoiseProtocol.parse("Noise_XXpsk3_25519_ChaChaPoly_SHA256")
        >>> [str(token) for token in protocol.pattern.messages[2]]
        ['s', 'se', 'psk']
    """

    name: str
    """The full name."""

    pattern: HandshakePattern
    """The handshake pattern, pre-shared keys included."""

    digest: str
    """Name of the hash function as hashlib has it."""

    @classmethod
    def parse(cls, name: str) -> NoiseProtocol:
        """Read ``Noise_<pattern>[psk...]_25519_ChaChaPoly_<hash>``.

        Raises:
            UsageError: It is not such a name, or asks for a pattern, function or modifier that is not here.
        """
        return _parse(name)


@lru_cache(maxsize=64)
def _parse(name: str) -> NoiseProtocol:
    match = _NAME.fullmatch(name)
    if match is None or match["pattern"] not in _MESSAGES or len(name) > _MAX_NAME_SIZE:
        raise UsageError(f"not a supported Noise protocol: {name[:_MAX_NAME_SIZE]!r}")
    base = match["pattern"]
    messages = [[Token(token) for token in message.split()] for message in _MESSAGES[base].split(",")]
    positions = [int(digit) for digit in re.findall(r"[0-9]", match["modifiers"])]
    # Section 8: modifiers whose order means nothing are sorted, so that a protocol has one name only.
    if positions != sorted(set(positions)):
        raise UsageError(f"psk modifiers stand in rising order, each once: {name!r}")
    for position in positions:
        if position > len(messages):
            raise UsageError(f"psk{position} needs {position} handshake messages: {name!r}")
        if position == 0:
            messages[0].insert(0, Token.PSK)
        else:
            messages[position - 1].append(Token.PSK)
    pattern = HandshakePattern(
        messages=tuple(tuple(message) for message in messages),
        # 7.4 and 7.5: K stands for a key that is known, the initiator's letter first; a one-way message needs
        # its recipient's key.
        initiator_known=base[0] == "K",
        responder_known=len(messages) == 1 or "K" in base[1:],
        psk_count=len(positions),
    )
    return NoiseProtocol(name, pattern, _DIGESTS[match["hash"]])
