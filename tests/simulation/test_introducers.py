"""Clients behind routers that a third one introduces to each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client

from librats import Address, NatTraversalConfig, Peer, RatsClient
from librats.relay.config import RelayConfig
from librats.testing import SimHost, SimNetwork, SimRelay
from librats.types import ConnectionMethod

RELAY = "203.0.113.10"
CONES = ("open", "full_cone", "restricted", "port_restricted")


def nat(*, turn: bool = False, **fields: Any) -> NatTraversalConfig:
    servers = (f"turn:ann:secret@{RELAY}:3478",) if turn else ()
    return NatTraversalConfig(
        **{"stun_servers": (f"{RELAY}:3478",), "turn_servers": servers, "enable_port_mapping": False, **fields}
    )


async def serve(net: SimNetwork) -> SimRelay:
    config = RelayConfig(listen=(Address(RELAY, 3478),), users={"ann": "secret"})
    with net.host("relay", addresses=[RELAY]):
        relay = SimRelay(config)
        await relay.start()
    return relay


class Meeting(NamedTuple):
    introducer: RatsClient
    alice: RatsClient
    bob: RatsClient
    home: SimHost

    async def connect(self, **options: Any) -> Peer:
        """Have alice reach bob, as a program on her host does."""
        with self.home:
            return await self.alice.connect(self.bob.peer_id, **options)


@asynccontextmanager
async def meeting(
    net: SimNetwork, one: SimHost, other: SimHost, *, transports: tuple[str, ...] = ("udp", "tcp"), **fields: Any
) -> AsyncIterator[Meeting]:
    """Start two clients that know a third one, and not each other."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback((await serve(net)).close)
        clients = []
        for host in (net.host("introducer"), one, other):
            client = await start_client(host, nat=nat(**fields), transports=transports)
            stack.push_async_callback(client.stop)
            clients.append(client)
        for client in clients[1:]:
            await client.connect(f"introducer:{PORT}")
        await asyncio.sleep(1)
        introducer, alice, bob = clients
        yield Meeting(introducer, alice, bob, one)


def hosts(net: SimNetwork, one: str, other: str) -> tuple[SimHost, SimHost]:
    return net.host("alice", behind=net.router("home", one)), net.host("bob", behind=net.router("office", other))


@pytest.mark.parametrize("transports", [("udp", "tcp"), ("tcp", "udp")], ids=lambda value: value[0])
@pytest.mark.parametrize("one", CONES)
@pytest.mark.parametrize("other", CONES)
def test_peers_behind_cones_reach_each_other_by_id(
    simulate: Simulate, one: str, other: str, transports: tuple[str, ...]
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), transports=transports) as met:
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            began = asyncio.get_running_loop().time()
            peer = await met.connect()
            assert asyncio.get_running_loop().time() - began < 2
            assert peer.method is ConnectionMethod.UDP
            assert await peer.request("greet", "Alice") == "hello Alice"
            assert set(met.introducer.peers) == {met.alice.peer_id, met.bob.peer_id}
            await asyncio.sleep(60)
            assert await peer.request("greet", "again") == "hello again"

    simulate(scenario)


@pytest.mark.parametrize(("one", "other"), [("symmetric", "port_restricted"), ("symmetric", "symmetric")])
def test_peers_that_no_direct_way_joins_reach_each_other_through_a_relay(
    simulate: Simulate, one: str, other: str
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), turn=True) as met:
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            peer = await met.connect()
            assert await peer.request("greet", "Alice") == "hello Alice"
            await asyncio.sleep(60)
            assert await peer.request("greet", "again") == "hello again"

    simulate(scenario)
