"""Holes that two applications agree to punch: from the port of a client's sessions, and from an ICE agent's sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until
from tests.simulation.test_introducers import IPV4, hosts

from librats import ConnectionMethod, NatTraversalConfig, PeerDenied, RatsClient, UsageError
from librats.errors import ClosedError, DecodeError
from librats.services.ice.agent import IceAgent
from librats.testing import SimHost, SimNetwork

NAT = NatTraversalConfig.offline()


async def start(net: SimNetwork, one: str, other: str, **fields: Any) -> tuple[list[SimHost], list[RatsClient]]:
    both = hosts(net, one, other)
    return list(both), [await start_client(host, nat=NAT, listen_host=IPV4, **fields) for host in both]


@pytest.mark.parametrize(
    ("one", "other"),
    [("port_restricted", "port_restricted"), ("restricted", "port_restricted"), ("firewall", "port_restricted")],
)
@pytest.mark.parametrize("late", [0.0, 3.0])
def test_two_applications_agree_on_a_time(simulate: Simulate, one: str, other: str, late: float) -> None:
    async def scenario(net: SimNetwork) -> None:
        (home, office), (alice, bob) = await start(net, one, other)
        alice.on("greet", lambda peer, name: f"hello {name}")
        there = net.routers[1].address
        here = home.addresses[0] if one == "firewall" else net.routers[0].address
        with home:
            data = await alice.coordinate_hole_punching(there, PORT, after=1.0)
        await asyncio.sleep(late)
        with office:
            outcome = await bob.coordinate_hole_punching(here, PORT, json.loads(json.dumps(data)))
        assert outcome["success"], outcome
        assert (outcome["peer_id"], outcome["address"]) == (alice.peer_id, f"{here}:{PORT}")
        peer = bob.peers[alice.peer_id]
        assert peer.method is ConnectionMethod.UDP
        assert await peer.request("greet", "Bob") == "hello Bob"
        await asyncio.sleep(100)
        assert await peer.request("greet", "again") == "hello again"
        await alice.stop()
        await bob.stop()

    simulate(scenario, delay=0.02)


def test_without_the_other_side_nothing_comes_of_it(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        (home, office), (alice, bob) = await start(net, "port_restricted", "port_restricted")
        with home:
            data = await alice.coordinate_hole_punching("192.0.2.99", PORT, after=0)  # the wrong address
        began = asyncio.get_running_loop().time()
        with office:
            outcome = await bob.coordinate_hole_punching(net.routers[0].address, PORT, data)
        assert not outcome["success"]
        assert outcome["error"]
        assert 7.5 < asyncio.get_running_loop().time() - began < 8.5
        assert alice.peers == bob.peers == {}
        await alice.stop()
        await bob.stop()

    simulate(scenario, delay=0.02)


def test_what_is_none_is_refused(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        (home, _), (alice, bob) = await start(net, "port_restricted", "port_restricted")
        with home:
            good = await alice.coordinate_hole_punching("192.0.2.99", PORT)
            for bad in ({}, {**good, "v": 2}, {**good, "from": "me"}, {**good, "start_ms": "now"}):
                with pytest.raises(DecodeError):
                    await alice.coordinate_hole_punching("192.0.2.99", PORT, bad)
            for start_ms in (good["start_ms"] - 200_000, good["start_ms"] + 200_000):
                with pytest.raises(DecodeError, match="seconds away"):
                    await alice.coordinate_hole_punching("192.0.2.99", PORT, {**good, "start_ms": start_ms})
            for ip, port, after in (("example.org", PORT, 1), ("192.0.2.99", 0, 1), ("192.0.2.99", PORT, 61)):
                with pytest.raises(UsageError):
                    await alice.coordinate_hole_punching(ip, port, after=after)
            alice.deny.add("192.0.2.99")
            for data in (None, good):
                with pytest.raises(PeerDenied):
                    await alice.coordinate_hole_punching("192.0.2.99", PORT, data)
            alice.deny.add(bob.peer_id)
            with pytest.raises(PeerDenied):
                await alice.coordinate_hole_punching("192.0.2.98", PORT, {**good, "from": bob.peer_id})
        await alice.stop()
        await bob.stop()

    simulate(scenario)


def test_it_takes_a_udp_port(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        _, (alice, bob) = await start(net, "port_restricted", "port_restricted", transports=("tcp",))
        with pytest.raises(UsageError, match="UDP"):
            await alice.coordinate_hole_punching("192.0.2.99", PORT)
        await alice.stop()
        await bob.stop()
        with pytest.raises(UsageError, match="not running"):
            await alice.coordinate_hole_punching("192.0.2.99", PORT)

    simulate(scenario)


async def agents(net: SimNetwork, one: str, other: str) -> tuple[IceAgent, IceAgent]:
    made = []
    for host, role in zip(hosts(net, one, other), ("controlling", "controlled"), strict=True):
        with host:
            agent = IceAgent(role, NAT, local_hosts=[host.addresses[0]])
            await agent.gather_candidates()
            made.append(agent)
    return made[0], made[1]


def port_of(agent: IceAgent) -> int:
    return agent.local_candidates[0].address.port


@pytest.mark.parametrize("order", ["both at once", "described late"])
def test_two_agents_that_no_server_has_seen_meet_at_addresses_that_are_told(simulate: Simulate, order: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        a, b = await agents(net, "port_restricted", "port_restricted")
        if order == "both at once":
            a.set_remote_description(b.local_description)
            b.set_remote_description(a.local_description)
        there = asyncio.ensure_future(a.perform_hole_punching(net.routers[1].address, port_of(b)))
        back = asyncio.ensure_future(b.perform_hole_punching(net.routers[0].address, port_of(a)))
        if order == "described late":
            await asyncio.sleep(1)
            assert [a.is_connected, b.is_connected] == [False, False]
            a.set_remote_description(b.local_description)
            b.set_remote_description(a.local_description)
        assert list(await asyncio.gather(there, back)) == [True, True]
        a.send(b"hello")
        assert await b.recv() == b"hello"
        assert await a.perform_hole_punching("192.0.2.99", 9)
        await a.close()
        await b.close()

    simulate(scenario, delay=0.02)


def test_one_agent_alone_only_opens_its_nat(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        a, b = await agents(net, "port_restricted", "port_restricted")
        began = asyncio.get_running_loop().time()
        assert not await a.perform_hole_punching(net.routers[1].address, port_of(b), timeout=2)
        assert asyncio.get_running_loop().time() - began == pytest.approx(2, abs=0.2)
        punching = asyncio.ensure_future(a.perform_hole_punching(net.routers[1].address, port_of(b)))
        await asyncio.sleep(0.5)
        await a.close()
        with pytest.raises(ClosedError):
            await punching
        for ip, port, timeout in (("host", 1, 1), ("192.0.2.1", 0, 1), ("192.0.2.1", 1, 0)):
            with pytest.raises(UsageError):
                await b.perform_hole_punching(ip, port, timeout=timeout)
        await b.close()

    simulate(scenario, delay=0.02)


def test_what_opens_a_nat_stops_when_the_peer_is_there(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        (home, office), (alice, bob) = await start(net, "port_restricted", "port_restricted")
        with home:
            data = await alice.coordinate_hole_punching(net.routers[1].address, PORT, after=0.0)
        with office:
            assert (await bob.coordinate_hole_punching(net.routers[0].address, PORT, data))["success"]
        await until(lambda: not [each for each in net.left_behind() if "opens its NAT" in each], within=0.2)
        await alice.stop()
        await bob.stop()

    simulate(scenario, delay=0.02)
