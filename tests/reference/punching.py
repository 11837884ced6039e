"""A plain UDP punch, the same code over real and simulated networks: each sends to where a server saw the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from librats.runtime.datagrams import Origin, Receive
from librats.runtime.udp import DatagramEndpoint
from librats.types import Address

__all__ = ["Open", "Puncher", "punch", "tell_where_from"]

Open = Callable[[Receive], Awaitable[DatagramEndpoint]]

ASKED = 3
PATIENCE = 0.3
PUNCHES = 4
PAUSE = 0.1
LEFT_IS_AHEAD = 0.15
"""Seconds by which the left side punches first, so that what it sends meets a router that knows nothing of it."""


async def tell_where_from(open_endpoint: Open) -> DatagramEndpoint:
    """Return an endpoint that answers whatever comes with where it came from."""
    endpoints: list[DatagramEndpoint] = []

    def answer(batch: list[tuple[bytes, Origin]]) -> None:
        for data, origin in batch:
            if data == b"where?":
                endpoints[0].send(f"there {origin}".encode(), origin)

    endpoints.append(await open_endpoint(answer))
    return endpoints[0]


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

    async def ask(self, server: Address) -> None:
        assert self.endpoint is not None
        for _ in range(ASKED):
            self.endpoint.send(b"where?", server)
            await asyncio.sleep(PATIENCE)
            if self.seen_at is not None:
                return

    async def punch(self, other: Address, after: float) -> None:
        assert self.endpoint is not None
        await asyncio.sleep(after)
        for _ in range(PUNCHES):
            self.endpoint.send(b"punch", other)
            await asyncio.sleep(PAUSE)


async def punch(open_left: Open, open_right: Open, server: Address) -> bool:
    """Return whether both sides have heard each other, there and back."""
    left, right = Puncher(), Puncher()
    for side, open_endpoint in ((left, open_left), (right, open_right)):
        side.endpoint = await open_endpoint(side.receive)
    try:
        await asyncio.gather(left.ask(server), right.ask(server))
        if left.seen_at is None or right.seen_at is None:
            return False
        await asyncio.gather(left.punch(right.seen_at, 0), right.punch(left.seen_at, LEFT_IS_AHEAD))
        await asyncio.sleep(PATIENCE)
        return left.is_through and right.is_through
    finally:
        for side in (left, right):
            if side.endpoint is not None:
                side.endpoint.close()
