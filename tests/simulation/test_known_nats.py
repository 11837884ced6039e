"""What a client learns of its NAT is kept: the next one of the same home begins with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, until
from tests.simulation.test_introducers import IPV4, RELAY
from tests.simulation.test_public_introducers import config, serve

from librats import Address, RatsClient, RatsConfig, ReconnectConfig, SessionConfig
from librats.services import mapping_watch
from librats.services.mapping_watch import SETTLE, WAITS
from librats.stun.mapping_habits import MappingTimes
from librats.testing import RouterBehavior, SimHost, SimNetwork

SECOND = "203.0.113.11"
STRICT = RouterBehavior(ports="random", udp_timeout=8.0)
GENEROUS = RouterBehavior(ports="random", udp_timeout=300.0)
LEARNT = SETTLE + WAITS[-1] + 20.0
IDLE = 600.0


SILENT: dict[str, Any] = {"session": SessionConfig(ping_interval=5000.0, idle_timeout=9000.0)}
"""Sessions that ask nothing of each other, so that what is sent is sent for the sake of NATs."""


def client_of(folder: Path | None = None, **fields: Any) -> RatsClient:
    settings = RatsConfig(
        reconnect=ReconnectConfig(enabled=False),
        nat=config(),
        listen_host=IPV4,
        transports=("udp",),
        protocol_name="chat",
        **fields,
    )
    return RatsClient(PORT, config=settings, data_dir=folder)


def sent_over_udp(client: RatsClient) -> int:
    listener = client._listener
    assert listener is not None
    assert listener.udp is not None
    return listener.udp.counters["sent"]


@asynccontextmanager
async def running(host: SimHost, folder: Path | None = None, **fields: Any) -> AsyncIterator[RatsClient]:
    with host:
        client = client_of(folder, **fields)
        await client.start()
    try:
        await until(lambda: client.introducers, within=5)
        yield client
    finally:
        await client.stop()


async def home_and_friend(net: SimNetwork, kind: RouterBehavior) -> tuple[SimHost, SimHost]:
    net.host("relay", addresses=[RELAY, SECOND])
    return net.host("home", behind=net.router("router", kind)), net.host("friend")


async def learn(host: SimHost, folder: Path) -> MappingTimes:
    async with running(host, folder) as client:
        await asyncio.sleep(LEARNT)
        return client._nat_memory.habits.times


async def late_messages(client: RatsClient, home: SimHost, friend: RatsClient) -> list[float]:
    """Have a friend send a message every now and then over an idle session; return how late those came that were."""
    loop = asyncio.get_running_loop()
    with home:
        peer = await client.connect(f"friend:{PORT}")
    assert peer.method == "udp"
    there = friend.peers[client.peer_id]
    heard: asyncio.Queue[float] = asyncio.Queue()
    client.on("note", lambda _, data: heard.put_nowait(loop.time() - data))
    delays = []
    for _ in range(40):
        await asyncio.sleep(14.3)
        await there.send("note", loop.time())
        delays.append(await asyncio.wait_for(heard.get(), 30))
    return [delay for delay in delays if delay > 0.1]


@pytest.mark.parametrize("knows", [True, False], ids=["which knows", "which does not"])
def test_behind_a_strict_nat_a_client_that_knows_it_loses_no_mapping(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, friend = await home_and_friend(net, STRICT)
        relay = await serve(net, alternate=Address(SECOND, 3479))
        async with running(friend) as other:
            if knows:
                learnt = await learn(home, tmp_path)
                assert learnt == MappingTimes(outlived=5.0, lost=10.0)
            monkeypatch.setattr(mapping_watch, "SETTLE", 1e6)  # nothing is measured in the second run
            async with running(home, tmp_path) as client:
                late = await late_messages(client, home, other)
            assert (late == []) is knows
        await relay.close()

    simulate(scenario, delay=0.01)


def test_behind_a_generous_nat_a_client_that_knows_it_sends_less_and_keeps_its_mapping(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, friend = await home_and_friend(net, GENEROUS)
        relay = await serve(net, alternate=Address(SECOND, 3479))
        sent = {}
        async with running(friend, **SILENT) as other:  # which learns as well: what it sends is answered
            assert await learn(home, tmp_path) == MappingTimes(outlived=WAITS[-1])
            monkeypatch.setattr(mapping_watch, "SETTLE", 1e6)  # nothing is measured from now on
            for folder in (None, tmp_path):
                async with running(home, folder, **SILENT) as client:
                    with home:
                        peer = await client.connect(f"friend:{PORT}")
                    assert peer.method == "udp"
                    client.on("ask", lambda _, data: f"{data}, too")
                    await asyncio.sleep(5)
                    before = sent_over_udp(client)
                    await asyncio.sleep(IDLE)
                    sent[folder] = sent_over_udp(client) - before
                    there = other.peers[client.peer_id]
                    assert await there.request("ask", "here", timeout=0.1) == "here, too"
        assert sent[tmp_path] < sent[None]
        await relay.close()

    simulate(scenario, delay=0.01)


def test_it_is_kept_beside_what_has_worked_and_is_of_that_network_alone(simulate: Simulate, tmp_path: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, _ = await home_and_friend(net, STRICT)
        relay = await serve(net, alternate=Address(SECOND, 3479))
        await learn(home, tmp_path)
        [(mark, kept)] = json.loads((tmp_path / "worked.json").read_text())["mappings"].items()
        assert (len(mark), kept["outlived"], kept["lost"]) == (32, 5.0, 10.0)
        hotel = net.host("hotel", behind=net.router("other", GENEROUS))
        async with running(hotel, tmp_path) as client:
            assert client._nat_memory.habits.times == MappingTimes()
        await relay.close()

    simulate(scenario, delay=0.01)
