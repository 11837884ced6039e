"""Running a sub-command in an event loop until it is done, or told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any

from librats.cli.output import Output

__all__ = ["Interrupted", "run"]

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
DEAF_TO = "SIGHUP"  # what nohup has us ignore; a shell that starts us in the background ignores SIGINT, which we heed
FAILURE = 1


class Interrupted(Exception):
    """The user, or the system, stopped the command before it was done."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number
        """The exit status that says so."""


def run(main: Coroutine[Any, Any, int], output: Output, *, endless: bool = False) -> int:
    """Run a coroutine; a signal, or a standard output that nobody reads any more, cancels it.

    Args:
        main: What to run; it tidies up when it is cancelled. It returns the exit status.
        output: Where it writes.
        endless: Whether a signal is the ordinary way to end it.

    Raises:
        Interrupted: A signal ended what was not endless.
    """
    try:
        return asyncio.run(_supervise(main, output, endless=endless))
    except KeyboardInterrupt:
        # Where the loop knows no signal handlers, asyncio.run has cancelled the coroutine and raises this.
        return _stopped(signal.SIGINT, endless=endless)


async def _supervise(main: Coroutine[Any, Any, int], output: Output, *, endless: bool) -> int:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    with contextlib.suppress(NotImplementedError):
        for number in SIGNALS:
            if number.name != DEAF_TO or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, stop, number)
    output.when_closed = task.cancel
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            return _stopped(received[0], endless=endless)
        if output.trouble:
            return FAILURE
        raise


def _stopped(number: int, *, endless: bool) -> int:
    if endless:
        return 0
    raise Interrupted(number)
