"""Threads on which the handlers of a blocking client run."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from librats.errors import ClosedError

__all__ = ["POOL_SIZE", "Workers"]

logger = logging.getLogger("librats.blocking")

POOL_SIZE = 32
"""Handlers that may run at once, those of streams not counted."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    lane: Hashable


class Workers:
    """A pool of daemon threads, made as they are needed: a handler that never returns does not keep a program alive.

    Args:
        size: Threads at the most, those with a job of their own not counted.
    """

    def __init__(self, size: int = POOL_SIZE) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._ready: deque[_Job] = deque()
        self._lanes: dict[Hashable, deque[_Job]] = {}
        self._pool: list[threading.Thread] = []
        self._alone: list[threading.Thread] = []
        self._free = 0
        self._closed = False
        self.failures = 0
        """Exceptions of handlers whose outcome nobody waits for."""

    def submit(
        self, function: Callable[..., Any], *args: Any, lane: Hashable = None, alone: bool = False
    ) -> Future[Any]:
        """Run a function on a worker thread.

        Args:
            function: What to run.
            args: With what.
            lane: Functions of one lane run one at a time, in this order; those without one run at once.
            alone: Whether it gets a thread of its own, because it may take long.

        Raises:
            ClosedError: The client has stopped.
            RuntimeError: The system has no thread for it.
        """
        job = _Job(Future(), function, args, lane)
        with self._changed:
            if self._closed:
                raise ClosedError("the client has stopped")
            if alone:
                self._alone = [thread for thread in self._alone if thread.is_alive()]
                self._start(self._alone, _run, job)
            elif lane in self._lanes:
                self._lanes[lane].append(job)
            else:
                self._make_ready(job)
                if lane is not None:
                    self._lanes[lane] = deque()
        return job.future

    def waiting(self, lane: Hashable) -> int:
        """Return how many functions wait in a lane, the running one not counted; for None, how many for a thread."""
        with self._changed:
            return len(self._ready if lane is None else self._lanes.get(lane, ()))

    def _make_ready(self, job: _Job) -> None:
        self._ready.append(job)
        if self._free >= len(self._ready):
            self._changed.notify()
        elif len(self._pool) < self._size:
            try:
                self._start(self._pool, self._work)
            except RuntimeError:
                if not self._pool:
                    self._ready.remove(job)
                    raise

    @staticmethod
    def _start(threads: list[threading.Thread], target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="librats worker", daemon=True)
        thread.start()
        threads.append(thread)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            _run(job)
            if job.lane is not None:
                self._advance(job.lane)
            del job  # what it refers to must not stay alive while this thread waits

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._ready:
                if self._closed:
                    return None
                self._free += 1
                self._changed.wait()
                self._free -= 1
            return self._ready.popleft()

    def _advance(self, lane: Hashable) -> None:
        with self._changed:
            if waiting := self._lanes[lane]:
                self._ready.append(waiting.popleft())  # for this very thread, or a faster one
            else:
                del self._lanes[lane]

    def close(self, timeout: float) -> None:
        """Take no more jobs, and wait that many seconds for those that are there. Idempotent.

        Where the caller is a worker itself, it is not waited for.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            threads = [*self._pool, *self._alone]
        deadline = time.monotonic() + timeout
        others = [thread for thread in threads if thread is not threading.current_thread()]
        for thread in others:
            thread.join(max(0.0, deadline - time.monotonic()))
        if busy := sum(thread.is_alive() for thread in others):
            logger.warning("%d handlers still run after the client has stopped", busy)


def _run(job: _Job) -> None:
    if not job.future.set_running_or_notify_cancel():
        return
    try:
        result = job.function(*job.args)
    except Exception as error:
        job.future.set_exception(error)
    except BaseException as error:
        # An exit or an interrupt ends the program only where the main thread raises it; the loop must not see it.
        failure = RuntimeError(f"the handler raised {type(error).__name__}")
        failure.__cause__ = error
        job.future.set_exception(failure)
        del failure
    else:
        job.future.set_result(result)
    finally:
        del job  # an exception refers to this frame, which must not refer back: a cycle outlives the call
