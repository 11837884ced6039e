"""How much of a path sessions make use of over UDP, all layers included, with the usual settings; in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client

from librats import RatsClient, Stream
from librats.testing import SimNetwork

FAST_ETHERNET = 100e6 / 8
GIGABIT = 1e9 / 8
PACKET = 1472
BLOCK = bytes(1 << 16)


class Sink:
    """Counts what comes on streams, and when."""

    def __init__(self, client: RatsClient) -> None:
        self.came: list[tuple[float, int]] = []

        @client.on_stream("bulk")
        async def bulk(stream: Stream) -> None:
            loop = asyncio.get_running_loop()
            while data := await stream.read(1 << 20):
                self.came.append((loop.time(), len(data)))

    def rate(self, start: float, stop: float) -> float:
        return sum(size for when, size in self.came if start <= when < stop) / (stop - start)


async def fill(stream: Stream) -> None:
    while True:
        stream.write(BLOCK)
        await stream.drain()


async def carried(net: SimNetwork, seconds: float, measured: float) -> float:
    """Fill a stream, and return the bytes a second that came in the last so many of the seconds."""
    settings: dict[str, Any] = {"transports": ("udp",), "max_packet": PACKET}
    a = await start_client(net.host("alice"), **settings)
    b = await start_client(net.host("bob"), **settings)
    sink = Sink(b)
    peer = await a.connect(f"bob:{PORT}")
    filling = asyncio.ensure_future(fill(await a.open_stream(peer, "bulk")))
    loop = asyncio.get_running_loop()
    await asyncio.sleep(seconds)
    rate = sink.rate(loop.time() - measured, loop.time())
    filling.cancel()
    for client in (a, b):
        await client.stop()
    return rate


@pytest.mark.parametrize(("loss", "least"), [pytest.param(0.0, 0.9, marks=pytest.mark.long), (0.01, 0.6)])
def test_a_stream_fills_a_path(simulate: Simulate, loss: float, least: float) -> None:
    path: dict[str, Any] = {
        "delay": 0.025,
        "bandwidth": FAST_ETHERNET,
        "queue": int(FAST_ETHERNET * 0.05),
        "loss": loss,
    }
    assert simulate(lambda net: carried(net, 6, 4), **path) >= least * FAST_ETHERNET


@pytest.mark.long
def test_a_stream_fills_a_fast_and_very_long_path(simulate: Simulate) -> None:
    path: dict[str, Any] = {"delay": 0.15, "bandwidth": GIGABIT, "queue": int(GIGABIT * 0.3), "coalescing": 0.0002}
    assert simulate(lambda net: carried(net, 8, 2), **path) >= 0.7 * GIGABIT
