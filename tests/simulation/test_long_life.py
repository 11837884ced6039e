"""Sessions behind NATs that forget soon: they idle for hours, and a message is there at once."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.conftest import Simulate
from tests.simulation.test_punched_sessions import meeting

from librats.testing import RouterBehavior, SimNetwork

SHORT_IDLE, SHORT_LIFE = {"udp_timeout": 30.0}, {"udp_lifetime": 60.0}


def idle_and_deliver(simulate: Simulate, kind: RouterBehavior, hours: float) -> None:
    async def scenario(net: SimNetwork) -> None:
        loop = asyncio.get_running_loop()
        homes = [net.host(name, behind=net.router(f"router of {name}", kind)) for name in ("alice", "bob")]
        async with meeting(net, *homes, relays=True) as (_, met):
            peer = await met.connect()
            heard: asyncio.Queue[tuple[float, object]] = asyncio.Queue()
            met.bob.on("note", lambda _, data: heard.put_nowait((loop.time(), data)))
            for turn in range(3):
                await asyncio.sleep(hours * 3600 / 3 + 7.3 * turn)  # at any place in the life of a mapping
                sent = loop.time()
                await peer.send("note", turn)
                at, data = await asyncio.wait_for(heard.get(), 30)
                assert data == turn
                assert at - sent < 0.1

    simulate(scenario, delay=0.01)


@pytest.mark.parametrize("limit", [SHORT_IDLE, SHORT_LIFE], ids=["idle", "absolute"])
def test_a_session_idles_and_then_delivers_at_once(simulate: Simulate, limit: dict[str, float]) -> None:
    idle_and_deliver(simulate, RouterBehavior(ports="random", **limit), 0.3)  # type: ignore[arg-type]


@pytest.mark.parametrize("mapping", ["endpoint-independent", "address-and-port-dependent"])
def test_once_it_is_known_how_soon_a_nat_forgets_messages_are_there_at_once_at_any_time(
    simulate: Simulate, mapping: str
) -> None:
    async def scenario(net: SimNetwork) -> None:
        loop = asyncio.get_running_loop()
        kind = RouterBehavior(mapping=mapping, ports="random", udp_lifetime=60.0)
        homes = [net.host(name, behind=net.router(f"router of {name}", kind)) for name in ("alice", "bob")]
        async with meeting(net, *homes, relays=True) as (_, met):
            peer = await met.connect()
            heard: asyncio.Queue[float] = asyncio.Queue()
            met.bob.on("note", lambda _, data: heard.put_nowait(loop.time()))
            await asyncio.sleep(180)
            for _ in range(40):
                await asyncio.sleep(41.3)
                sent = loop.time()
                await peer.send("note", "at once")
                assert await asyncio.wait_for(heard.get(), 30) - sent < 0.1

    simulate(scenario, delay=0.01)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ports", ["preserving", "random"])
@pytest.mark.parametrize("limit", [SHORT_IDLE, SHORT_LIFE], ids=["idle", "absolute"])
@pytest.mark.parametrize("mapping", ["endpoint-independent", "address-and-port-dependent"])
def test_a_session_idles_for_ten_hours_and_then_delivers_at_once(
    simulate: Simulate, mapping: str, limit: dict[str, float], ports: str
) -> None:
    idle_and_deliver(simulate, RouterBehavior(mapping=mapping, ports=ports, **limit), 10)  # type: ignore[arg-type]
