"""ICE agents that join over a connection, where datagrams do not get through."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.simulation.conftest import Simulate, until
from tests.simulation.test_ice import assert_they_talk, pair, settings, start

from librats.ice.events import IceState
from librats.testing import SimNetwork


@pytest.mark.parametrize("role", ["controlling", "controlled"])
def test_where_udp_is_blocked_a_connection_is_used(simulate: Simulate, role: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, desk = net.host("home", behind=net.router("router", "udp_blocked")), net.host("desk")
        hosts = (home, desk) if role == "controlling" else (desk, home)
        async with pair(*hosts, settings(stun_servers=(), ice_tcp=True)) as (a, b):
            began = net.time
            await asyncio.gather(a.connect(), b.connect())
            assert net.time - began < 0.5
            await until(lambda: a.state is b.state is IceState.COMPLETED, within=5)
            await assert_they_talk(a, b)
            for agent in (a, b):
                selected = agent.statistics().selected
                assert selected is not None
                assert selected.local.transport == selected.remote.transport == "tcp"
            await asyncio.sleep(60)
            await assert_they_talk(a, b)

    simulate(scenario)


def test_a_connection_that_ends_is_noticed_at_once(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, desk = net.host("home", behind=net.router("router", "udp_blocked")), net.host("desk")
        async with pair(home, desk, settings(stun_servers=(), ice_tcp=True)) as (a, b):
            await asyncio.gather(a.connect(), b.connect())
            await until(lambda: a.state is b.state is IceState.COMPLETED, within=5)
            await b.close()
            began = net.time
            await until(lambda: not a.is_connected, within=5)
            assert net.time - began < 0.5
            problems = {pair.problem for pair in a.statistics().pairs if pair.local.transport == "tcp"}
            assert "the peer closed the connection" in problems

    simulate(scenario)


def test_udp_goes_before_tcp_where_it_works(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with pair(net.host("one"), net.host("other"), settings(stun_servers=(), ice_tcp=True)) as (a, b):
            await asyncio.gather(a.connect(), b.connect())
            await asyncio.sleep(3)
            for agent in (a, b):
                selected = agent.statistics().selected
                assert selected is not None
                assert selected.remote.transport == "udp"
            await assert_they_talk(a, b)

    simulate(scenario)


def test_whoever_connects_and_is_not_the_peer_is_shown_out(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        desk, stranger = net.host("desk"), net.host("stranger")
        agent = await start(desk, "controlled", settings(stun_servers=(), ice_tcp=True))
        passive = next(c for c in agent.local_candidates if c.tcp_type == "passive" and c.family == 4)
        with stranger:
            for said, patience in ((b"\0\5hello", 1.0), (b"", 6.0), (b"\xff\xff", 6.0)):
                reader, writer = await asyncio.open_connection(*passive.address)
                writer.write(said)
                async with asyncio.timeout(patience):
                    with contextlib.suppress(ConnectionResetError):
                        assert await reader.read() == b""
                writer.close()
            crowd = [await asyncio.open_connection(*passive.address) for _ in range(30)]
            await asyncio.sleep(1)
            shown_out = sum(reader.at_eof() or reader.exception() is not None for reader, _ in crowd)
            assert shown_out == 30 - 16
            for _, writer in crowd:
                writer.close()
        await agent.close()

    simulate(scenario)
