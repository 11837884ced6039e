"""What tests of the TURN client need around it: ears, and peers that it talks to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from librats import Address, TurnAllocation
from librats.runtime.network import current_network

__all__ = ["SECONDS", "Events", "Heard", "eventually", "exchange", "peer_on"]

SECONDS = 30.0


class Heard:
    """What a receive callback was called with."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, Address]] = []
        self._came = asyncio.Event()

    def __call__(self, batch: list[tuple[bytes, Any]]) -> None:
        self.datagrams += [(data, Address(*source)) for data, source in batch]
        self._came.set()

    async def until(self, count: int) -> list[tuple[bytes, Address]]:
        async with asyncio.timeout(SECONDS):
            while len(self.datagrams) < count:
                self._came.clear()
                await self._came.wait()
        return self.datagrams


class Events:
    """What an allocation told of itself."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self._came = asyncio.Event()

    def __call__(self, event: object) -> None:
        self.seen.append(event)
        self._came.set()

    async def until(self, kind: type, count: int = 1) -> None:
        async with asyncio.timeout(SECONDS):
            while sum(isinstance(event, kind) for event in self.seen) < count:
                self._came.clear()
                await self._came.wait()


@contextlib.asynccontextmanager
async def peer_on(host: str = "127.0.0.1") -> AsyncIterator[tuple[Heard, Any]]:
    """Open an endpoint on the loopback; give what it hears, and itself."""
    heard = Heard()
    endpoint = await current_network().open_datagram(host, receive=heard)
    try:
        yield heard, endpoint
    finally:
        endpoint.close()


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - there is no event for whatever a test waits for
            await asyncio.sleep(0.01)


async def exchange(relay: TurnAllocation, heard: Heard, host: str = "127.0.0.1", rounds: int = 20) -> None:
    """Send datagrams of many sizes to a peer on loopback, which sends them back, and compare."""
    async with peer_on(host) as (echoed, peer):
        before = len(heard.datagrams)
        sent = [bytes([number]) * (1 + 61 * number) for number in range(rounds)]
        for data in sent:
            assert relay.send(data, peer.local_address)
            await echoed.until(len(echoed.datagrams) + 1)
        assert [data for data, _ in echoed.datagrams] == sent
        assert {source for _, source in echoed.datagrams} <= set(relay.relayed_addresses)
        for data, source in echoed.datagrams:
            assert peer.send(data, source)
            await heard.until(len(heard.datagrams) + 1)
        assert heard.datagrams[before:] == [(data, peer.local_address) for data in sent]
