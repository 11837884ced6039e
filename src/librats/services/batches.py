"""Blocking work for one object: what comes while a thread is busy is handed to the next one together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from librats.runtime.offload import run_in_thread

__all__ = ["Batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """Hands items to a function on a thread, one batch at a time, in order.

    Args:
        work: Called on a thread with a batch; returns a result for each item. What it raises is the outcome of all.
        max_bytes: Bytes of a batch; one item may be more.
        name: Of the task that does it.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], *, max_bytes: int, name: str) -> None:
        self._work = work
        self._max_bytes = max_bytes
        self._name = name
        self._waiting: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._pump: asyncio.Task[None] | None = None
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
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, size, future))
        self.bytes += size
        if self._pump is None:
            self._pump = loop.create_task(self._run(), name=self._name)
        return future

    async def room(self) -> None:
        """Wait until a batch is done; at once where there is nothing to do."""
        if self._pump is not None:
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._rooms.append(room)
            await room

    async def drain(self) -> None:
        """Wait until everything is done that was added."""
        while self._pump is not None:
            await asyncio.wait([self._pump])

    def _next_batch(self) -> list[tuple[Item, int, asyncio.Future[Result]]]:
        batch: list[tuple[Item, int, asyncio.Future[Result]]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0][1] <= self._max_bytes):
            entry = self._waiting.popleft()
            self.bytes -= entry[1]
            if not entry[2].done():  # nobody wants it any more
                batch.append(entry)
                size += entry[1]
        self.bytes += size
        return batch

    async def _run(self) -> None:
        batch: list[tuple[Item, int, asyncio.Future[Result]]] = []
        try:
            while batch := self._next_batch():
                await self._do(batch)
                self._make_room()
        finally:
            for _, _, future in (*batch, *self._waiting):  # the loop is being closed
                future.cancel()
            self._waiting.clear()
            self.bytes = 0
            self._pump = None
            self._make_room()

    async def _do(self, batch: list[tuple[Item, int, asyncio.Future[Result]]]) -> None:
        try:
            results = await run_in_thread(self._work, [item for item, _, _ in batch])
        except Exception as error:
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, _, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        self.bytes -= sum(size for _, size, _ in batch)

    def _make_room(self) -> None:
        rooms, self._rooms = self._rooms, []
        for room in rooms:
            if not room.done():
                room.set_result(None)
