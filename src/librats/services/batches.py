"""Blocking work for one object: a thread does it in order, and takes what has come meanwhile together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")

LINGER = 0.25
"""Seconds that a thread without work waits for more: to begin one takes longer than many a call."""


class _Entry(NamedTuple, Generic[Item, Result]):
    item: Item
    size: int
    future: asyncio.Future[Result]


class Batches(Generic[Item, Result]):
    """Hands items to a function on a thread, one batch at a time, in order.

    The thread begins with the first item and ends when there are none for a moment, or in :meth:`drain`. In a loop
    that carries an attribute ``librats_inline_calls``, a simulated one, the function is called in its own thread.

    Args:
        work: Called on a thread with a batch; returns a result for each item. What it raises is the outcome of all.
        max_bytes: Bytes of a batch; one item may be more.
        name: Of the thread.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], *, max_bytes: int, name: str) -> None:
        self._work = work
        self._max_bytes = max_bytes
        self._name = name
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._changed = threading.Condition()  # guards what waits, and which thread takes it
        self._thread: threading.Thread | None = None
        self._draining = 0
        self._left = 0
        self._running = 0
        self._rooms: list[asyncio.Future[None]] = []
        self.bytes = 0
        """Bytes of the items that are not done yet."""

    def add(self, item: Item, size: int) -> asyncio.Future[Result]:
        """Add an item, and return what becomes of it.

        Args:
            item: What the function is called with.
            size: Its bytes, for what a batch holds.
        """
        loop = asyncio.get_running_loop()
        entry: _Entry[Item, Result] = _Entry(item, size, loop.create_future())
        self.bytes += size
        self._left += 1
        with self._changed:
            self._waiting.append(entry)
            if getattr(loop, "librats_inline_calls", False):
                loop.call_soon(self._do_inline)
            elif self._thread is not None:
                self._changed.notify()
            else:
                self._thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
                self._running += 1
                self._thread.start()
        return entry.future

    async def room(self) -> None:
        """Wait until a batch is done; at once where there is nothing to do."""
        if self._left or self._running:
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._rooms.append(room)
            await room

    async def drain(self) -> None:
        """Wait until everything is done that was added, and the thread has ended."""
        with self._changed:
            self._draining += 1
            self._changed.notify()
        try:
            while self._left or self._running:
                await self.room()
        finally:
            self._draining -= 1

    # On the thread

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while batch := self._next_batch():
                loop.call_soon_threadsafe(self._done, *self._do(batch))
            loop.call_soon_threadsafe(self._ended, threading.current_thread())
        except RuntimeError:  # the loop has closed meanwhile: nobody waits any more
            return

    def _next_batch(self) -> list[_Entry[Item, Result]]:
        """Return what is to be done next; nothing where the thread is to end."""
        with self._changed:
            if not self._waiting and not self._draining:
                self._changed.wait(LINGER)
            if not self._waiting:
                self._thread = None  # what is added from here on begins another one
            return self._take()

    def _take(self) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0].size <= self._max_bytes):
            entry = self._waiting.popleft()
            batch.append(entry)
            size += entry.size
        return batch

    def _do(
        self, batch: Sequence[_Entry[Item, Result]]
    ) -> tuple[Sequence[_Entry[Item, Result]], Sequence[_Entry[Item, Result]], Sequence[Result] | BaseException]:
        """Do a batch; return it, those of it that somebody still wanted, and what has come of these."""
        wanted = [entry for entry in batch if not entry.future.done()]
        try:
            return batch, wanted, self._work([entry.item for entry in wanted]) if wanted else ()
        except BaseException as error:
            return batch, wanted, error

    # On the loop

    def _do_inline(self) -> None:
        if batch := self._take():
            self._done(*self._do(batch))

    def _done(
        self,
        batch: Sequence[_Entry[Item, Result]],
        wanted: Sequence[_Entry[Item, Result]],
        outcome: Sequence[Result] | BaseException,
    ) -> None:
        self._left -= len(batch)
        self.bytes -= sum(entry.size for entry in batch)
        for number, entry in enumerate(wanted):
            if entry.future.done():
                continue
            if isinstance(outcome, BaseException):
                entry.future.set_exception(outcome)
            else:
                entry.future.set_result(outcome[number])
        self._make_room()

    def _ended(self, thread: threading.Thread) -> None:
        thread.join()  # all that is left of it is its exit
        self._running -= 1
        self._make_room()

    def _make_room(self) -> None:
        rooms, self._rooms = self._rooms, []
        for room in rooms:
            if not room.done():
                room.set_result(None)
