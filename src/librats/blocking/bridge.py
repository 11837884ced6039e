"""From threads that wait to coroutines that do not: the private event loop of a blocking client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, ParamSpec, TypeVar

from librats.blocking.workers import Workers
from librats.errors import ClosedError, UsageError

__all__ = ["Bridge"]

P = ParamSpec("P")
T = TypeVar("T")

# Windows delivers Ctrl-C to a thread only between two waits.
WAIT_SLICE = 0.2 if os.name == "nt" else None

WORKERS_TIMEOUT = 0.4
"""Seconds that the end waits for handlers."""

MOMENT = 0.1
"""Seconds after which a coroutine without its client's loop is known to wait for it."""

NOT_RUNNING = "the client is not running: use `with RatsClient(...)`, or call start()"
FORKED = "the client was started in another process, from which this one was forked"


class _LoopEndedError(Exception):
    """Nothing was started: the loop takes no more."""


class _LoopThread:
    """An event loop on a daemon thread, from here to :meth:`end`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Reentrant: a garbage collection while it is held may run code that comes back here.
        self._lock = threading.RLock()
        self._accepting = True
        self._enough = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="librats loop", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        try:
            await self._enough.wait()
        finally:
            with self._lock:
                self._accepting = False
        # One more turn: what was accepted until now becomes tasks, which the runner cancels, so that nobody waits on.
        await asyncio.sleep(0)

    @property
    def is_alive(self) -> bool:
        """False after the end, and in a process that was forked off."""
        return self._thread.is_alive()

    def refuse_itself(self) -> None:
        """Raise where the caller is the loop's own thread, which must never wait for itself."""
        if threading.get_ident() == self._thread.ident:
            raise UsageError("blocking verbs cannot be called on the client's own loop thread")

    def run(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine and wait for it; what interrupts the wait cancels it."""
        self.refuse_itself()
        future: Future[T] | None = None
        try:
            with self._lock:
                if not self._accepting or not self._thread.is_alive():
                    raise _LoopEndedError
                future = asyncio.run_coroutine_threadsafe(function(*args, **kwargs), self._loop)
            while wait([future], WAIT_SLICE).not_done:
                continue
            return future.result()
        except CancelledError:
            raise ClosedError("the client was stopped meanwhile") from None
        except BaseException:
            if future is not None:
                future.cancel()
            raise
        finally:
            del future  # it may hold an exception, which refers to this frame

    def post(self, function: Callable[[], object]) -> bool:
        """Have a function called soon, and do not wait; False where the loop has closed."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            return False
        return True

    def end(self) -> None:
        """Cancel what still runs, close the loop, and wait until the thread has ended."""
        if self._thread.is_alive() and self.post(self._enough.set):
            self._thread.join()


class Bridge:
    """The loop thread and the workers of one client, which come with its start and go with its stop."""

    def __init__(self) -> None:
        self._thread: _LoopThread | None = None
        # Held while the loop thread comes and goes, and while a verb runs without one.
        self._changing = threading.RLock()
        self._stopped = threading.Event()
        self._stopped.set()
        self.workers = Workers()
        """Where handlers run."""

    @property
    def is_open(self) -> bool:
        """True where there is a loop thread."""
        return self._thread is not None

    def open(self, start: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Make the loop thread and run a coroutine there that starts the client; False where there is one already."""
        if (current := self._thread) is not None:
            current.refuse_itself()
        with self._changing:
            if self._thread is not None:
                if not self._thread.is_alive:
                    raise UsageError(FORKED)
                return False
            thread = _LoopThread()
            # In place before the coroutine runs: peers may come, and handlers be called, as soon as it listens.
            self._thread, self.workers = thread, Workers()
            try:
                thread.run(start)
            except BaseException:
                self._thread = None
                thread.end()
                self.workers.close(0)
                raise
            self._stopped.clear()
            return True

    def close(self, stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine that stops the client, and end the threads. Idempotent."""
        if (current := self._thread) is not None:
            current.refuse_itself()
        with self._changing:
            thread, workers = self._thread, self.workers
            if thread is None:
                _for_a_moment(stop)
                return
            if not thread.is_alive:
                return  # in a forked process: the sockets are the other one's, too, and stay as they are
            try:
                with contextlib.suppress(_LoopEndedError):
                    thread.run(stop)
            finally:
                self._thread = None
                thread.end()
                self._stopped.set()
        # Not under the lock: a handler that is waited for may be about to stop the client, too.
        workers.close(WORKERS_TIMEOUT)

    def wait_closed(self) -> None:
        """Wait until :meth:`close` has ended the loop thread."""
        if (thread := self._thread) is not None:
            if not thread.is_alive:
                raise UsageError(FORKED)
            thread.refuse_itself()
        while not self._stopped.wait(WAIT_SLICE):
            continue

    def wait(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine on the loop thread and wait for it.

        Where there is no such thread, it runs for a moment on another one: that is how streams and peers whose client
        has stopped still tell what they know.

        Raises:
            UsageError: It has to wait, and the client is not running; or this is the loop thread itself.
            ClosedError: The client was stopped meanwhile.
        """
        prepared = functools.partial(function, *args, **kwargs)
        return self._do(prepared, lambda: _for_a_moment(prepared))

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function on the loop thread; here where there is none.

        Raises:
            UsageError: This is the loop thread itself.
        """

        async def as_coroutine() -> T:
            return function(*args, **kwargs)

        return self._do(as_coroutine, lambda: function(*args, **kwargs))

    def _do(self, function: Callable[[], Coroutine[Any, Any, T]], otherwise: Callable[[], T]) -> T:
        while True:
            if (thread := self._thread) is not None:
                with contextlib.suppress(_LoopEndedError):
                    return thread.run(function)
            with self._changing:
                if self._thread is None:
                    return otherwise()
                if not self._thread.is_alive:
                    raise UsageError(FORKED)

    def post(self, function: Callable[[], object]) -> None:
        """Call a plain function on the loop thread some time soon; here where there is none. Never waits."""
        thread = self._thread
        if thread is None or not thread.post(function):
            function()


def _for_a_moment(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine that has no reason to wait, on a loop that lives for this call."""

    async def within_a_moment() -> T:
        task = asyncio.ensure_future(function())
        if not (await asyncio.wait([task], timeout=MOMENT))[0]:
            task.cancel()
            raise UsageError(NOT_RUNNING)
        return task.result()

    thread = _LoopThread()
    try:
        return thread.run(within_a_moment)
    finally:
        thread.end()
