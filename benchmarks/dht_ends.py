"""A node of the DHT that answers, in a process of its own: ``python -m benchmarks.dht_ends librats|libtorrent``.

It writes its port, and answers until its standard input ends. ``neighbours PORT`` are nodes that fill its table.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from librats.dht.addresses import IPV4_SIZE, compact, host_of
from librats.dht.node import DhtNode
from librats.dht.rates import Limits
from librats.runtime.entropy import SystemEntropy
from librats.runtime.udp import DatagramEndpoint, open_datagram
from librats.types import Address

HOST = "127.0.0.1"
NEIGHBOURS = 60
WIDE_OPEN = Limits(queries=1e6, most_queries=1e6)


class End:
    """A node on an endpoint, as a driver has it: batches in, batches out."""

    def __init__(self, bootstrap: list[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self.node = DhtNode(SystemEntropy(), now=self._loop.time(), limits=WIDE_OPEN, bootstrap=bootstrap)
        self._compact: dict[Address, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, host: str) -> int:
        """Open its socket; return the port."""
        self._endpoint: DatagramEndpoint = await open_datagram(host, receive=self.receive)
        self._flush()
        self._tick()
        return self._endpoint.local_address.port

    def receive(self, batch: list[tuple[bytes, Any]]) -> None:
        now = self._loop.time()
        known, receive = self._compact, self.node.receive_datagram
        for data, origin in batch:
            address = known.get(origin)
            if address is None:
                address = known[origin] = compact(origin.host, origin.port)
            receive(data, address, now=now)
        self._flush()

    def _flush(self) -> None:
        out = self.node.datagrams_to_send()
        if out:
            self._endpoint.send_many(
                [(data, Address(host_of(address), int.from_bytes(address[IPV4_SIZE - 2 :]))) for data, address in out]
            )

    def _tick(self) -> None:
        self.node.handle_timer(now=self._loop.time())
        self._flush()
        self._timer = self._loop.call_later(0.2, self._tick)


async def until_input_ends() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def librats() -> None:
    end = End([])
    print(await end.open(HOST), flush=True)
    await until_input_ends()


async def libtorrent() -> None:
    from tests.interop.dht_nodes import TheirNode

    node = TheirNode(HOST, dht_block_ratelimit=1_000_000, dht_upload_rate_limit=2_000_000_000)
    await node.start()
    print(node.port, flush=True)
    await until_input_ends()
    node.close()


async def neighbours() -> None:
    asked = compact(HOST, int(sys.argv[2]))
    ends = [End([asked]) for _ in range(NEIGHBOURS)]
    for number, end in enumerate(ends):
        await end.open(f"127.0.{number + 1}.1")
    # Until they know each other, as nodes do that have been there for a while.
    while min(len(end.node.tables) for end in ends) < NEIGHBOURS // 2:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.1)
    print(0, flush=True)
    await until_input_ends()


if __name__ == "__main__":
    KINDS: dict[str, Callable[[], Any]] = {"librats": librats, "libtorrent": libtorrent, "neighbours": neighbours}
    asyncio.run(KINDS[sys.argv[1]]())
