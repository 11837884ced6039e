"""Round-trip time of a session, from pings with unguessable tokens."""

from __future__ import annotations

from librats.types import Entropy

__all__ = ["RoundTrip"]

TOKEN_SIZE = 8
MAX_UNANSWERED = 1024
SMOOTHING = 8


class RoundTrip:
    """Pings under way, and the smoothed time they took (RFC 6298, section 2).

    Args:
        entropy: Where the tokens come from.
    """

    __slots__ = (
        "_entropy",
        "_sent",
        "smoothed",
    )

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._sent: dict[bytes, float] = {}
        self.smoothed: float | None = None
        """Seconds; None until the first answer."""

    def start(self, now: float) -> bytes:
        """Take note of a ping that is sent now, and return its token."""
        token = self._entropy.token_bytes(TOKEN_SIZE)
        if len(self._sent) >= MAX_UNANSWERED:
            del self._sent[next(iter(self._sent))]
        self._sent[token] = now
        return token

    def pong(self, token: bytes, now: float) -> float | None:
        """Take note of an answer; returns its round trip in seconds, or None where that ping is not ours."""
        sent = self._sent.pop(token, None)
        if sent is None:
            return None
        rtt = now - sent
        self.smoothed = rtt if self.smoothed is None else self.smoothed + (rtt - self.smoothed) / SMOOTHING
        return rtt
