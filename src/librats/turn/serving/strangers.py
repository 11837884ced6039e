"""What answers strangers before the machine is asked."""

from __future__ import annotations

from librats._core.gate import Gate
from librats.turn.serving.authentication import Authenticator
from librats.turn.serving.machine import AMPLIFICATION
from librats.turn.serving.tables import Settings
from librats.types import Entropy

__all__ = ["new_gate"]

_SECRET_SIZE = 32
_MOST_ANSWERS = 0xFFFF
"""What the gate counts up to."""


def new_gate(settings: Settings, authenticator: Authenticator | None, *, binding: bool, entropy: Entropy) -> Gate:
    """Return a gate that answers as a machine with the same settings would.

    Args:
        settings: How the server behaves.
        authenticator: Checks credentials; None where nobody is asked for any.
        binding: Whether it answers Binding requests: not where the server helps to find out what NAT a client has.
        entropy: Where its secrets come from.
    """
    nonces = None if authenticator is None else authenticator.nonces
    return Gate(
        realm=None if authenticator is None else authenticator.credentials.realm,
        nonce_key=entropy.token_bytes(_SECRET_SIZE) if nonces is None else nonces.key,
        nonce_lifetime=0 if nonces is None else nonces.lifetime,
        amplification=AMPLIFICATION,
        source_answers=min(settings.source_answers, _MOST_ANSWERS),
        binding=binding,
        knows_names=authenticator is not None and authenticator.credentials.knows_names,
        seed=entropy.token_bytes(_SECRET_SIZE),
    )
