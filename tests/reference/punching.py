"""A plain UDP punch, the same code over real and simulated networks: each sends to where a server saw the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from librats.runtime.datagrams import Origin, Receive
from librats.runtime.udp import DatagramEndpoint
from librats.types import Address

__all__ = ["Open", "Pace", "Puncher", "punch", "tell_where_from"]

Open = Callable[[Receive], Awaitable[DatagramEndpoint]]

PAUSE = 0.1
"""Seconds that a round takes at least."""

ASKED = 3
PUNCHES = 4

ANSWERED = 2
"""Rounds that a question to the server has to be answered."""

LEFT_IS_AHEAD = 2
"""Rounds by which the left side punches first, so that what it sends meets a router that knows nothing of it."""

HEARD = 5
"""Rounds that the last punch, and what is answered to it three times, have to arrive."""


async def tell_where_from(open_endpoint: Open) -> DatagramEndpoint:
    """Return an endpoint that answers whatever comes with where it came from."""
    endpoints: list[DatagramEndpoint] = []

    def answer(batch: list[tuple[bytes, Origin]]) -> None:
        for data, origin in batch:
            if data == b"where?":
                endpoints[0].send(f"there {origin}".encode(), origin)
            elif data.startswith(b"round "):
                endpoints[0].send(data, origin)

    endpoints.append(await open_endpoint(answer))
    return endpoints[0]


class Pace:
    """Counts time in questions of an open host that the server has answered: rounds.

    The machine that has to carry the punches carries these, too. So nobody is taken for unreachable because it is slow.
    """

    def __init__(self) -> None:
        self._done = 0
        self._heard = 0
        self._turned = asyncio.Condition()
        self._answered = asyncio.Event()
        self._endpoint: DatagramEndpoint | None = None
        self._task: asyncio.Task[None] | None = None

    def _receive(self, batch: list[tuple[bytes, Origin]]) -> None:
        self._heard = max([self._heard, *(int(data[6:]) for data, _ in batch)])
        self._answered.set()

    async def start(self, open_endpoint: Open, server: Address) -> None:
        self._endpoint = await open_endpoint(self._receive)
        self._task = asyncio.create_task(self._count(self._endpoint, server))

    async def _count(self, endpoint: DatagramEndpoint, server: Address) -> None:
        while True:
            endpoint.send(b"round %d" % (self._done + 1), server)
            await asyncio.sleep(PAUSE)
            while self._heard <= self._done:
                self._answered.clear()
                await self._answered.wait()
            async with self._turned:
                self._done += 1
                self._turned.notify_all()

    async def rounds(self, count: int) -> None:
        """Wait for so many that begin from now on."""
        last = self._done + 1 + count
        async with self._turned:
            await self._turned.wait_for(lambda: self._done >= last)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._endpoint is not None:
            self._endpoint.close()


class Puncher:
    """One side."""

    def __init__(self) -> None:
        self.seen_at: Address | None = None
        self.is_through = False
        self.endpoint: DatagramEndpoint | None = None

    def receive(self, batch: list[tuple[bytes, Origin]]) -> None:
        assert self.endpoint is not None
        for data, origin in batch:
            if data.startswith(b"there "):
                self.seen_at = Address.parse(data[6:].decode())
            elif data == b"punch":
                self.endpoint.send(b"heard you", origin)
            elif data == b"heard you":
                self.is_through = True
                self.endpoint.send(b"and you me", origin)
            elif data == b"and you me":
                self.is_through = True

    async def ask(self, server: Address, pace: Pace) -> None:
        assert self.endpoint is not None
        for _ in range(ASKED):
            self.endpoint.send(b"where?", server)
            await pace.rounds(ANSWERED)
            if self.seen_at is not None:
                return

    async def punch(self, other: Address, pace: Pace) -> None:
        assert self.endpoint is not None
        for _ in range(PUNCHES):
            self.endpoint.send(b"punch", other)
            await pace.rounds(1)


async def punch(open_left: Open, open_right: Open, server: Address, pace: Pace) -> bool:
    """Return whether both sides have heard each other, there and back."""
    left, right = Puncher(), Puncher()
    for side, open_endpoint in ((left, open_left), (right, open_right)):
        side.endpoint = await open_endpoint(side.receive)
    try:
        await asyncio.gather(left.ask(server, pace), right.ask(server, pace))
        if left.seen_at is None or right.seen_at is None:
            return False
        ahead = asyncio.create_task(left.punch(right.seen_at, pace))
        await pace.rounds(LEFT_IS_AHEAD)
        await asyncio.gather(ahead, right.punch(left.seen_at, pace))
        await pace.rounds(HEARD)
        return left.is_through and right.is_through
    finally:
        for side in (left, right):
            if side.endpoint is not None:
                side.endpoint.close()
