"""Connecting and closing a thousand times leaves no task, socket, thread or memory."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until

from librats import Peer, RatsClient
from librats.testing import SimNetwork

WARM_UP = 50
BLOCK = 64
"""Bytes of a small object, about."""

KIBIBYTE = 1024


def resident() -> int:
    """Return the bytes of memory that this process has; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


class Scales:
    """What there is of everything that could be left behind."""

    def __init__(self) -> None:
        gc.collect()
        self.counts = (len(asyncio.all_tasks()), len(threading.enumerate()))
        self.blocks = sys.getallocatedblocks()
        self.resident = resident()


async def cycle(net: SimNetwork, a: RatsClient, b: RatsClient, number: int) -> None:
    peer = await a.connect(f"b:{PORT}")
    assert await peer.request("echo", number) == number
    how = number % 4
    if how == 0:
        await peer.close()
    elif how == 1:
        await b.peers[a.peer_id].close()
    elif how == 2:
        await asyncio.gather(peer.close(), b.peers[a.peer_id].close())
    else:
        peer.link.abort()
    await until(lambda: not a.peers and not b.peers)


@pytest.mark.parametrize("cycles", [100, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_connecting_and_closing_leaves_nothing(simulate: Simulate, cycles: int) -> None:
    async def scenario(net: SimNetwork) -> None:
        a, b = await start_client(net.host("a")), await start_client(net.host("b"))
        ended: list[str] = []

        @b.on("echo")
        async def echo(peer: Peer, data: Any) -> Any:
            return data

        b.on_disconnect(lambda peer, reason: ended.append(""))
        for number in range(WARM_UP):
            await cycle(net, a, b, number)
        await asyncio.sleep(200)
        before = Scales()
        for number in range(cycles):
            await cycle(net, a, b, number)
        await asyncio.sleep(200)
        after = Scales()
        assert after.counts == before.counts
        assert (after.blocks - before.blocks) * BLOCK < cycles * KIBIBYTE // 4
        assert after.resident - before.resident < max(cycles, 1000) * KIBIBYTE
        assert len(ended) == WARM_UP + cycles
        assert [host.connections for host in net.hosts] == [0, 0]
        await a.stop()
        await b.stop()

    simulate(scenario)
