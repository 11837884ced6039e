"""How long each stage of an opening may take, so that nobody holds a place by sending a byte now and then."""

from __future__ import annotations

from librats.config import SessionConfig
from librats.session.opening import LAST_MESSAGE

__all__ = ["OpeningClock"]

MESSAGES = [f"handshake message {step + 1} was not complete" for step in range(LAST_MESSAGE + 1)]


class OpeningClock:
    """The deadlines of one opening: its first byte, each handshake message, both hellos, and the whole.

    Only what is complete begins a new stage; bytes alone gain no time.

    Args:
        config: How long each may take.
        now: Monotonic seconds.
    """

    def __init__(self, config: SessionConfig, *, now: float) -> None:
        self._config = config
        self.begun = False
        """True once something was heard."""
        self.waits = False
        """Whether this side has the handshake wait for its turn."""
        self.restart(now=now)

    def restart(self, *, now: float) -> None:
        """Begin anew: this side has made the peer wait."""
        self._whole = now + self._config.handshake_timeout
        self._step = -1
        self._missing = "nothing was heard", self._config.first_byte_timeout
        self._stage = now + self._config.first_byte_timeout

    def heard(self, step: int, *, now: float) -> None:
        """Take note of bytes.

        Args:
            step: The handshake message that is being waited for now, from 0; 3 where there is none left.
            now: Monotonic seconds.
        """
        if step == self._step:
            return
        self._step = step
        if step > LAST_MESSAGE:
            self._missing = "the peer did not say hello", self._config.hello_timeout
        else:
            self._missing = MESSAGES[step], self._config.message_timeout
        self._stage = now + self._missing[1]

    def next_timer(self) -> float:
        """Return when the next deadline is, in monotonic seconds."""
        return min(self._stage, self._whole)

    def expired(self, *, now: float) -> str | None:
        """Return which deadline has passed, in words, or None."""
        if now >= self._whole:
            return f"no handshake within {self._config.handshake_timeout:g} s"
        what, seconds = self._missing
        return f"{what} within {seconds:g} s" if now >= self._stage else None
