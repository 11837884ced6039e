"""More datagrams than an endpoint can take: the kernel drops some, which is counted, and the loop is left to others."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest
from tests.loopback.udp.conftest import (
    LINUX,
    WAIT,
    WAYS,
    Open,
    fill,
)

from librats.runtime import udp as module
from librats.runtime.datagrams import Origin

if TYPE_CHECKING:
    from tests.loopback.conftest import Until


@pytest.mark.skipif(not LINUX, reason="only Linux tells")
@pytest.mark.parametrize(
    ("way", "asked"), [*((way, True) for way in WAYS), ("batched", False)], indirect=["way"]
)  # SO_MEMINFO, and SO_RXQ_OVFL, which only the compiled way reads
async def test_what_the_kernel_dropped_is_counted(
    endpoint: Open, until: Until, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    if not asked:
        monkeypatch.setattr(module, "dropped_by_kernel", lambda _sock: None)
    a, heard = await endpoint(buffer_size=8192)
    fill(a.local_address, 200)
    await until(lambda: heard.data)
    for _ in range(100):
        await asyncio.sleep(0)
    fill(a.local_address, 1, b"last")
    await until(lambda: heard.data[-1] == b"last")
    assert a.counters.dropped_by_kernel == 201 - len(heard.data) > 0
    a.close()
    assert a.counters.dropped_by_kernel == 201 - len(heard.data)


async def test_a_flood_leaves_the_loop_to_others(endpoint: Open, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 0.0)
    turns = 0
    seen_at: list[int] = []

    def receive(batch: list[tuple[bytes, Origin]]) -> None:
        seen_at.extend([turns] * len(batch))

    a, _ = await endpoint(receive=receive, buffer_size=4 << 20)
    loop = asyncio.get_running_loop()

    def turn() -> None:
        nonlocal turns
        turns += 1
        if len(seen_at) < 1000:
            loop.call_soon(turn)

    fill(a.local_address, 1000)
    turn()
    await until(lambda: len(seen_at) == 1000)
    assert max(seen_at.count(number) for number in set(seen_at)) <= 256
    assert len(set(seen_at)) >= 1000 // 256


FLOOD = """
import asyncio, os, sys
from librats.runtime.udp import open_datagram
from librats.types import Address

async def main():
    endpoint = await open_datagram("127.0.0.1", receive=lambda batch: None)
    items = [(bytes(100), Address("127.0.0.1", int(sys.argv[1])))] * 512
    print("go", flush=True)
    while os.getppid() == int(sys.argv[2]):
        endpoint.send_many(items)

asyncio.run(main())
"""


async def test_timers_fire_under_flood(endpoint: Open, until: Until) -> None:
    a, heard = await endpoint()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FLOOD, str(a.local_address.port), str(os.getpid())), stdout=asyncio.subprocess.PIPE
    )
    came = []
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        async with asyncio.timeout(WAIT):
            await until(lambda: heard.batches)
            for _ in range(20):
                await asyncio.sleep(0.005)
                came.append(len(heard.batches))
                heard.batches.clear()
    finally:
        process.kill()
        await process.wait()
    # How much one readiness may take is counted above; a time says more of the machine than of the endpoint.
    assert sum(came) > 20
