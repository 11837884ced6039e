"""A node of the DHT that answers, in a process of its own: ``python -m benchmarks.dht_ends librats|libtorrent``.

It writes its port, and answers until its standard input ends. ``neighbours PORT`` are nodes that fill its table.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from librats.dht.addresses import compact
from librats.dht.node import DhtNode
from librats.dht.rates import Limits
from librats.runtime.datagrams import Origin
from librats.runtime.entropy import SystemEntropy
from librats.runtime.tasks import TaskSet
from librats.runtime.udp import open_datagram
from librats.services.dht_driving.traffic import DhtTraffic

HOST = "127.0.0.1"
NEIGHBOURS = 60
WIDE_OPEN = Limits(queries=1e6, most_queries=1e6)


class End:
    """A node behind a socket of its own, moved as a client's is."""

    def __init__(self, bootstrap: list[bytes]) -> None:
        now = asyncio.get_running_loop().time()
        self.node = DhtNode(SystemEntropy(), now=now, limits=WIDE_OPEN, bootstrap=bootstrap)

    async def open(self, host: str) -> int:
        """Open the socket; return the port."""
        endpoint = await open_datagram(host, receive=self._receive)
        self._traffic = DhtTraffic(self.node, endpoint, TaskSet(), lambda: None)
        self._traffic.flush()
        return endpoint.local_address.port

    def _receive(self, batch: list[tuple[bytes, Origin]]) -> None:
        self._traffic.receive(batch)


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
    print(int.from_bytes(node.addresses[0][-2:]), flush=True)
    await until_input_ends()
    node.close()


async def neighbours() -> None:
    known = [compact(HOST, int(sys.argv[2]))]
    ends = []
    for number in range(NEIGHBOURS):
        ends.append(End(known))
        host = f"127.0.{number + 1}.1"
        known.append(compact(host, await ends[-1].open(host)))
    # Until they know each other, as nodes do that have been there for a while.
    while min(len(end.node.tables) for end in ends) < NEIGHBOURS // 2:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.1)
    print(0, flush=True)
    await until_input_ends()


if __name__ == "__main__":
    KINDS: dict[str, Callable[[], Any]] = {"librats": librats, "libtorrent": libtorrent, "neighbours": neighbours}
    asyncio.run(KINDS[sys.argv[1]]())
