"""Both sides dial each other at once, over every kind of link: one session comes of it, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client

from librats import ConnectionMethod, Peer, RatsClient
from librats.testing import SimHost, SimNetwork
from librats.testing.entropy import SeededEntropy

MESSAGES = 10
SPREAD = (0.0, 0.0005, 0.01, 0.05, 0.2, 1.5)
"""Up to how many seconds apart the two sides dial."""


class Side:
    """One of two clients, and what it hears."""

    def __init__(self, client: RatsClient) -> None:
        self.client = client
        self.events: Counter[str] = Counter()
        self.sent: list[list[int]] = []
        self.heard: list[list[int]] = []
        client.on_connect(lambda peer: self.events.update(["connect"]))
        client.on_disconnect(lambda peer, reason: self.events.update([reason]))
        client.on("n", lambda peer, data: self.heard.append(data))
        client.on_bytes(lambda peer, data: self.heard.append(list(data)))
        client.on_text(lambda peer, text: self.heard.append(json.loads(text)))
        client.on("ask", lambda peer, data: data)

    async def dial(self, target: SimHost, after: float, dial: int, pause: float) -> Peer:
        await asyncio.sleep(after)
        peer = await self.client.connect(f"{target.name}:{PORT}")
        for number in range(MESSAGES):
            self.sent.append([dial, number])
            if number % 3 == 0:
                await peer.send("n", [dial, number])
            elif number % 3 == 1:
                await peer.send_bytes(bytes([dial, number]))
            else:
                await peer.send_text(json.dumps([dial, number]))
            await asyncio.sleep(pause)
            if number == MESSAGES // 2:
                assert await peer.request("ask", [dial, number]) == [dial, number]
        return peer


async def meet(net: SimNetwork, number: int, dials: tuple[int, int]) -> None:
    """Let two clients dial each other that many times each."""
    chance = SeededEntropy(net.seed, f"pair {number}")
    hosts = [net.host(f"{name}{number}") for name in "ab"]
    delay = chance.uniform(0.0001, 0.15)
    net.set_link(*hosts, delay=delay, jitter=delay * chance.randbelow(2), loss=0.05 * chance.randbelow(2))
    sides = [Side(await start_client(host)) for host in hosts]
    spread = SPREAD[chance.randbelow(len(SPREAD))]
    pause = chance.uniform(0, delay) * chance.randbelow(2)
    peers = await asyncio.gather(
        *(
            side.dial(other, chance.uniform(0, spread), dial, pause)
            for side, other, count in zip(sides, reversed(hosts), dials, strict=True)
            for dial in range(count)
        )
    )
    await asyncio.sleep(30)
    a, b = (side.client for side in sides)
    for sender, hearer, count in zip(sides, reversed(sides), dials, strict=True):
        where = f"seed {net.seed}, pair {number}"
        assert hearer.events == {"connect": 1}, where
        assert hearer.heard == sender.sent, where
        assert len(sender.sent) == MESSAGES * count
    to_b, to_a = a.peers[b.peer_id], b.peers[a.peer_id]
    assert {id(peer) for peer in peers} == {id(peer) for peer, count in zip((to_b, to_a), dials, strict=True) if count}
    assert len(to_b.links) == len(to_a.links) == 1, f"seed {net.seed}, pair {number}"
    assert to_b.link.method is to_a.link.method
    if to_b.link.method is ConnectionMethod.TCP:
        assert to_b.link.local_address == to_a.link.address
    assert await to_b.request("ask", "still there") == "still there"
    for side in sides:
        await side.client.stop()


async def meet_all(net: SimNetwork, pairs: int, dials: tuple[int, int]) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(pairs):
            group.create_task(meet(net, number, dials))


@pytest.mark.parametrize(
    ("seed", "pairs"),
    [(1, 40), *(pytest.param(seed, 1000, marks=[pytest.mark.long, pytest.mark.timeout(900)]) for seed in range(2, 7))],
)
def test_who_dials_each_other_at_once_meets_once_and_loses_nothing(simulate: Simulate, seed: int, pairs: int) -> None:
    simulate(lambda net: meet_all(net, pairs, (1, 1)), seed)


@pytest.mark.parametrize(("seed", "number"), [(3, 763)])
def test_pairs_that_went_wrong_once(simulate: Simulate, seed: int, number: int) -> None:
    simulate(lambda net: meet(net, number, (1, 1)), seed)


@pytest.mark.parametrize(("seed", "dials"), [(1, (2, 0)), (2, (0, 3)), (3, (2, 2)), (4, (3, 1))])
@pytest.mark.parametrize("pairs", [6, pytest.param(250, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_any_number_of_dials_comes_to_one_session(
    simulate: Simulate, seed: int, dials: tuple[int, int], pairs: int
) -> None:
    simulate(lambda net: meet_all(net, pairs, dials), seed)
