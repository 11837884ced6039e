"""Many unmodified clients in one process, over bad links, in virtual time; and that one seed gives one run."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client

from librats import Peer, PeerConnected, RatsClient, Stream
from librats.testing import SimNetwork

ROOT = Path(__file__).parents[2]


class Member:
    """One of many clients, which takes note of what it hears from whom."""

    def __init__(self, client: RatsClient) -> None:
        self.client = client
        self.heard: dict[str, list[int]] = {}
        client.on("n", self._hear)
        client.on("sum", lambda peer, data: sum(data))

    def _hear(self, peer: Peer, data: int) -> None:
        self.heard.setdefault(peer.id, []).append(data)


async def meet_and_talk(net: SimNetwork, members: int, messages: int) -> int:
    """Let every client dial a few others, and send numbers to all it knows; return how many messages arrived."""
    hosts = [net.host(f"host{number}") for number in range(members)]
    group = [Member(await start_client(host)) for host in hosts]

    async def live(number: int) -> None:
        client = group[number].client
        for step in (1, 7):
            await client.connect(f"host{(number + step) % members}:{PORT}")
        await asyncio.sleep(5)
        for message in range(messages):
            assert await client.send("n", message) == len(client.peers)
            await asyncio.sleep(0.01)
        for peer in list(client.peers.values()):
            assert await peer.request("sum", [1, 2, 3]) == 6

    await asyncio.gather(*(live(number) for number in range(members)))
    await asyncio.sleep(10)
    for member in group:
        assert len(member.client.peers) == 4
        assert member.heard == {peer_id: list(range(messages)) for peer_id in member.client.peers}
    await asyncio.gather(*(member.client.stop() for member in group))
    return sum(len(heard) for member in group for heard in member.heard.values())


@pytest.mark.parametrize(
    ("members", "messages"),
    [(100, 10), pytest.param(1000, 10, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
def test_many_clients_hear_each_other_over_lossy_links(simulate: Simulate, members: int, messages: int) -> None:
    arrived = simulate(
        lambda net: meet_and_talk(net, members, messages), seed=5, delay=0.04, jitter=0.02, loss=0.02, bandwidth=1e6
    )
    assert arrived == members * 4 * messages


def test_an_hour_of_idle_peers_takes_seconds(simulate: Simulate) -> None:
    async def idle(net: SimNetwork) -> None:
        hub = await start_client(net.host("hub"))
        clients = [await start_client(net.host(f"leaf{number}")) for number in range(10)]
        for client in clients:
            await client.connect(f"hub:{PORT}")
        await asyncio.sleep(3600)
        assert len(hub.peers) == 10
        assert all(len(client.peers) == 1 for client in clients)
        await asyncio.gather(*(client.stop() for client in (*clients, hub)))

    began = time.process_time()
    simulate(idle)
    assert time.process_time() - began < 20


async def eventful(net: SimNetwork) -> None:
    """Do some of everything: dial each other, send, ask, stream, fail, and stop."""
    hosts = [net.host(f"host{number}") for number in range(4)]
    net.set_link(hosts[0], hosts[1], delay=0.1, jitter=0.1, loss=0.1)
    clients = [await start_client(host) for host in hosts]
    for client in clients:
        client.on("echo", lambda peer, data: data)
        client.on_event(PeerConnected, lambda event: net.note(f"{event.peer.id} connected"))
        client.on_disconnect(lambda peer, reason: net.note(f"{peer.id} left: {reason}"))

        @client.on_stream("hash/1")
        async def digest(stream: Stream) -> None:
            stream.write(hashlib.sha256(await stream.read()).digest())

    async def live(number: int) -> None:
        client = clients[number]
        others = [other for other in range(4) if other != number]
        peers = await asyncio.gather(*(client.connect(f"host{other}:{PORT}") for other in others))
        for peer in peers:
            assert await peer.request("echo", {"from": number}) == {"from": number}
        stream = await peers[0].open_stream("hash/1")
        stream.write(bytes(100_000))
        stream.write_eof()
        net.note((await stream.read()).hex())

    await asyncio.gather(*(live(number) for number in range(4)))
    net.partition(hosts[:2], hosts[2:])
    await asyncio.sleep(200)
    net.heal()
    await clients[0].connect(f"host3:{PORT}")
    await asyncio.gather(*(client.stop() for client in clients))


def traced(seed: int) -> str:
    with SimNetwork(seed, delay=0.02, jitter=0.03, loss=0.03, trace=True) as net:
        net.run(eventful(net))
        assert len(net.trace.events) > 1000
        return net.trace.digest()


def test_one_seed_gives_one_run_and_another_seed_another(tmp_path: Path) -> None:
    here = traced(11)
    litter: list[Any] = [object() for _ in range(10_000)]  # other addresses for what comes
    assert traced(11) == here
    assert traced(12) != here
    del litter
    assert {trace_in_new_process(11, hash_seed) for hash_seed in ("1", "2")} == {here}


def trace_in_new_process(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.test_clients", str(seed)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.stdout.write(traced(int(sys.argv[1])))
