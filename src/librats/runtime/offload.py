"""One blocking call on a thread of its own, awaited from the loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar, TypeVarTuple

__all__ = ["run_in_thread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_in_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run one blocking call without holding up the loop.

    The thread lives for this call only and has ended when this returns; the default executor's threads would
    stay until the loop closes. The call sees a copy of the caller's context variables. Cancelling returns at
    once: the call itself cannot be stopped, runs to its end on a daemon thread, and its outcome is dropped.
    A loop that carries an attribute ``librats_inline_calls``, a simulated one, has the call made in its own thread.

    Example:
        >>> asyncio.run(run_in_thread(sum, [1, 2, 3]))
        6
    """
    loop = asyncio.get_running_loop()
    if getattr(loop, "librats_inline_calls", False):
        result = function(*args)
        await asyncio.sleep(0)
        return result
    context = contextvars.copy_context()
    # Unlike an asyncio future, this one is silent where its exception is never collected.
    outcome: Future[T] = Future()
    finished: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not finished.done():
            finished.set_result(None)

    def work(outcome: Future[T]) -> None:
        try:
            result = context.run(function, *args)
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)
        del outcome  # an exception refers to this frame, which must not refer back: a cycle outlives the call
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(wake)

    name = getattr(function, "__name__", type(function).__name__)
    thread = threading.Thread(target=work, args=(outcome,), name=f"librats {name}", daemon=True)
    thread.start()
    await finished
    thread.join()  # all that is left of it is its exit
    try:
        return outcome.result()
    finally:
        del outcome
