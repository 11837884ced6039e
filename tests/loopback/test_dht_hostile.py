"""A client whose DHT is rained upon by changed packets, on real sockets: it answers others, and stays as small."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from pathlib import Path

import pytest
from tests.loopback.conftest import MakeClient
from tests.simulation.many_nodes import Chance
from tests.unit.dht.test_hostile_packets import QUERIES, mutated

from librats import DhtConfig
from librats.types import Address

ALONE = DhtConfig(bootstrap=())
SOURCES = 50
BATCH = 256
TURNS = 8
"""Turns of the loop in which a batch is read."""
PINGED = 100
"""Batches between two pings: nobody may ask for too many answers."""
MIB = 1 << 20
MEMORY = Path("/proc/self/statm")


def memory() -> int:
    """Return the bytes of this process, where the system tells."""
    gc.collect()
    return int(MEMORY.read_text().split()[1]) * 4096 if MEMORY.exists() else 0


@pytest.mark.parametrize("count", [5_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
async def test_mutated_packets_at_a_running_client_do_no_harm(make_client: MakeClient, count: int) -> None:
    chance = Chance(3)
    client = await make_client(listen_host="127.0.0.2", dht=ALONE)
    friend = await make_client(listen_host="127.0.0.3", dht=ALONE)
    await client.start_dht_discovery(connect=False)
    where = Address("127.0.0.2", client.listen_port)
    assert await friend.start_dht_discovery(bootstrap=[str(where)], connect=False)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(SOURCES)]
        for number, sock in enumerate(sockets):
            sock.bind((f"127.0.1.{number}", 0))
            sock.setblocking(False)
        before = 0
        for number in range(0, count, BATCH):
            for packet in range(BATCH):
                data = mutated(QUERIES[packet % len(QUERIES)], chance)
                with contextlib.suppress(BlockingIOError):
                    sockets[packet % SOURCES].sendto(data, where)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if number // BATCH % PINGED == 0:
                assert (await friend.dht.ping(where)).node_id == client.dht.node_id
            if not before and number >= count // 2:
                before = memory()
    assert memory() - before < 8 * MIB
    statistics = client.statistics()["dht"]
    assert statistics["answering: malformed"] > count // 50
    assert statistics["datagrams received"] > count // 2
    assert statistics["nodes"] <= 1  # the friend, and nobody who has never answered
