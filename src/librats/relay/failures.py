"""Errors that nobody foresaw, in a server that goes on."""

from __future__ import annotations

import logging

__all__ = ["Failures"]

logger = logging.getLogger("librats.relay")

_PERIOD = 60.0


class Failures:
    """Counts what was dropped because of an unexpected error, and logs one of them a minute with its traceback.

    Example:
        >>> failures = Failures()
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError:
        ...     failures.note("a request", now=0.0)
        >>> failures.count
        1
    """

    def __init__(self) -> None:
        self.count = 0
        """How many there were."""
        self._silent_until = 0.0

    def note(self, what: str, *, now: float) -> None:
        """Count the error that is being handled.

        Args:
            what: What was dropped.
            now: Monotonic seconds.
        """
        self.count += 1
        if now < self._silent_until:
            return
        self._silent_until = now + _PERIOD
        logger.exception("%s was dropped because of an unexpected error, the %d. of this thread", what, self.count)
