"""Messages of one type as an async iterator, with back-pressure all the way to the senders."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from librats.peers.handling.handlers import HandlerTable
from librats.session.frames import Kind

if TYPE_CHECKING:
    from librats.peers.peer import Peer

__all__ = ["MessageIterator"]

CAPACITY = 64

T = TypeVar("T")


class _Box:
    """A bounded queue whose two ends both let go when it closes."""

    def __init__(self) -> None:
        self.items: deque[tuple[Peer, Any]] = deque()
        self.closed = False
        self._waiters: list[asyncio.Future[None]] = []

    async def put(self, peer: Peer, data: Any) -> None:
        while len(self.items) >= CAPACITY and not self.closed:
            await self._change()
        if not self.closed:
            self.items.append((peer, data))
            self._wake()

    async def get(self) -> tuple[Peer, Any]:
        while not self.items:
            if self.closed:
                raise StopAsyncIteration
            await self._change()
        item = self.items.popleft()
        self._wake()
        return item

    def close(self) -> None:
        self.closed = True
        self._wake()

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class MessageIterator(Generic[T]):
    """Iterates over ``(peer, data)``; ends when the client stops or :meth:`close` is called.

    Messages are taken from the moment it is made. Where it is not read, its senders are held back.

    Args:
        handlers: Where to listen.
        name: Message type.
        model: What the data is decoded into; None for whatever comes.
    """

    def __init__(self, handlers: HandlerTable, name: str, model: type[T] | Any = None) -> None:
        self._box = _Box()
        self._handlers = handlers
        self._name = name
        self._put = self._box.put
        handlers.add(Kind.JSON, name, self._put, model=model)

    def __aiter__(self) -> MessageIterator[T]:
        """Return itself."""
        return self

    async def __anext__(self) -> tuple[Peer, T]:
        """Wait for the next message."""
        return await self._box.get()

    def close(self) -> None:
        """Stop listening. What has arrived can still be read."""
        self._handlers.remove(Kind.JSON, self._name, self._put)
        self._box.close()

    def __del__(self) -> None:
        """Let the senders go on where a loop was left early."""
        if not self._box.closed:  # what is closed may go on any thread
            self.close()
