"""Who waits on a session for an answer, a pong, or room to send."""

from __future__ import annotations

import asyncio
from typing import Any

from librats._core.messages import ReplyReceived

__all__ = ["Waiters"]


class Waiters:
    """The futures of one link."""

    __slots__ = (
        "_loop",
        "_pongs",
        "answerers",
        "replies",
        "senders",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.replies: dict[int, asyncio.Future[ReplyReceived]] = {}
        """Those who wait for the answer to a request, by its number."""
        self._pongs: dict[bytes, asyncio.Future[float]] = {}
        self.senders: list[asyncio.Future[None]] = []
        """Those who wait for room."""
        self.answerers: list[asyncio.Future[None]] = []
        """Those who wait for room for replies."""

    def forget_reply(self, number: int) -> bool:
        """Drop the future of a request; True where its answer had not come."""
        return self.replies.pop(number, None) is not None

    def fail_reply(self, number: int, reason: Exception) -> None:
        """Tell a request why there is no answer."""
        future = self.replies.pop(number, None)
        if future is not None and not future.done():
            future.set_exception(reason)

    def pong(self, token: bytes) -> asyncio.Future[float]:
        """Return the future of a ping's round trip."""
        future = self._pongs[token] = self._loop.create_future()
        return future

    def settle_pong(self, token: bytes, rtt: float) -> None:
        """Give a ping its round trip."""
        future = self._pongs.pop(token, None)
        if future is not None and not future.done():
            future.set_result(rtt)

    def forget_pong(self, token: bytes) -> None:
        """Drop the future of a ping."""
        self._pongs.pop(token, None)

    @property
    def any_pong(self) -> bool:
        """True where a ping has not been answered."""
        return bool(self._pongs)

    async def room(self) -> None:
        """Wait until :meth:`wake_senders`."""
        await self._wait(self.senders)

    async def reply_room(self) -> None:
        """Wait until :meth:`wake_answerers`."""
        await self._wait(self.answerers)

    async def _wait(self, waiting: list[asyncio.Future[None]]) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        waiting.append(future)
        try:
            await future
        finally:
            waiting.remove(future)

    def wake_senders(self) -> None:
        """Wake everybody who waits for room; each looks for itself whether there is any."""
        _wake(self.senders)

    def wake_answerers(self) -> None:
        """Wake everybody who waits for room for replies, likewise."""
        _wake(self.answerers)

    def fail(self, error: Exception) -> None:
        """Wake everybody: the session is gone."""
        waiting: list[asyncio.Future[Any]] = [*self.replies.values(), *self._pongs.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        self.wake_senders()
        self.wake_answerers()


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
