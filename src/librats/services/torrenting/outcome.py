"""How a download ends, for those who wait for it: it is there, has failed, or was closed; and how it goes on again."""

from __future__ import annotations

import asyncio

from librats.errors import RatsError

__all__ = ["Outcome"]


class Outcome:
    """What those who wait are told."""

    def __init__(self) -> None:
        self._done = self._open()
        self.failure: RatsError | None = None
        """Why it has failed; None where it has not."""

    @staticmethod
    def _open() -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Wait for the end.

        Raises:
            RatsError: It has failed, or was closed.
        """
        await asyncio.shield(self._done)

    def succeed(self) -> None:
        """Tell that all that is wanted is there."""
        if not self._done.done():
            self._done.set_result(None)

    def fail(self, error: RatsError) -> None:
        """Tell that it has failed."""
        self.failure = error
        self.close(error)

    def close(self, error: RatsError) -> RatsError | None:
        """Tell that it was closed, where it had not ended before; return the error that it ends with, if any."""
        if not self._done.done():
            self._done.set_exception(error)
        found = self._done.exception()  # whoever waits is told; where nobody does, it is logged
        return found if isinstance(found, RatsError) else None

    def try_again(self) -> None:
        """Have a failure forgotten."""
        if self.failure is not None and self._done.done():
            self._done = self._open()
        self.failure = None

    def begin_again(self) -> None:
        """Begin once more after all was there, as more is wanted."""
        if self._done.done() and self.failure is None:
            self._done = self._open()
