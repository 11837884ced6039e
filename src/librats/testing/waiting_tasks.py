"""What is wrong where a simulation cannot go on: which tasks wait, and where."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from librats.errors import RatsError

__all__ = ["DeadlockError", "describe_tasks"]

MAX_LISTED = 20


class DeadlockError(RatsError):
    """The simulation cannot go on: nothing is left to happen, its time is up, or time does not move any more.

    The text names the tasks that wait, and where each of them does.
    """


def describe_tasks(loop: asyncio.AbstractEventLoop) -> str:
    """Return a line for every task that is not done: its name, and where it waits."""
    lines = sorted(f"  {task.get_name()} in {_place(task.get_coro())}" for task in asyncio.all_tasks(loop))
    if len(lines) > MAX_LISTED:
        lines[MAX_LISTED:] = [f"  and {len(lines) - MAX_LISTED} more"]
    return "\n".join(lines)


def _place(coroutine: Any) -> str:
    """Follow a coroutine into those that it awaits, and tell where the innermost one stands."""
    place = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            file = Path(frame.f_code.co_filename).name
            place = f"{getattr(coroutine, '__qualname__', frame.f_code.co_name)} ({file}:{frame.f_lineno})"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return str(place)
