"""Unmodified clients in a simulated DHT: lost packets, cancelled verbs, and nodes to begin with that are dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until

from librats import (
    Address,
    ClosedError,
    DhtConfig,
    DhtError,
    DhtUnreachable,
    NatTraversalConfig,
    OperationTimeout,
    PathPolicy,
    PeerDiscovered,
    RatsClient,
)
from librats.testing import SimHost, SimNetwork

HASH = b"a hash has 20 bytes."
FIRST = f"node0:{PORT}"


async def member(host: SimHost, *bootstrap: str, **settings: Any) -> RatsClient:
    return await start_client(host, dht=DhtConfig(bootstrap=bootstrap, **settings))


async def swarm(net: SimNetwork, count: int) -> list[RatsClient]:
    """Start clients that all begin with the first one, and wait until they are in."""
    clients = []
    for number in range(count):
        clients.append(await member(net.host(f"node{number}"), *([FIRST] if number else [])))
    await clients[0].start_dht_discovery(meet=False)
    assert all(await asyncio.gather(*(client.start_dht_discovery(meet=False) for client in clients[1:])))
    return clients


async def stop_all(clients: list[RatsClient]) -> None:
    await asyncio.gather(*(client.stop() for client in clients))


def addresses(client: RatsClient) -> set[Address]:
    return set(client.addresses)


def test_thirty_clients_find_each_other_over_lossy_links(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 30)
        await asyncio.sleep(60)
        announced = clients[3:6]
        for client in announced:
            assert await client.announce_for_hash(HASH) >= 4
        stored = await clients[7].dht.put([1, b"two"])
        changing = await clients[8].dht.put("text", mutable=True)
        for client in clients[20:]:
            found = set(await client.find_peers(HASH))
            assert all(found & addresses(other) for other in announced)
            fixed, newest = await client.dht.get(stored.target), await client.dht.get(changing.target)
            assert fixed is not None
            assert newest is not None
            assert (fixed.value, newest.value) == ([1, b"two"], b"text")
        await stop_all(clients)

    simulate(main, seed=11, delay=0.04, jitter=0.02, loss=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_verbs_that_are_cancelled_leave_nothing_behind(simulate: Simulate, seed: int) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 12)
        await asyncio.sleep(30)
        chance = net.entropy_for("moments")
        one = clients[5]
        verbs: list[Callable[[], Any]] = [
            lambda: one.find_peers(HASH),
            lambda: one.announce_for_hash(HASH),
            lambda: one.dht.find_nodes(HASH),
            lambda: one.dht.put("x", mutable=True),
            lambda: one.dht.get(HASH),
            lambda: one.dht.ping(FIRST),
        ]
        for number in range(48):
            task = asyncio.ensure_future(verbs[number % len(verbs)]())
            await asyncio.sleep(chance.uniform(0.0, 0.2))
            task.cancel()
            await asyncio.wait([task])
        await asyncio.sleep(30)
        left = []
        # Now and then the node pings others by itself.
        for _ in range(10):
            await asyncio.sleep(0.5)
            left.append((one.dht.statistics()["operations"], one.dht.statistics()["under way"]))
        assert min(left) == (0, 0)
        assert await one.announce_for_hash(HASH) >= 4
        await stop_all(clients)

    simulate(main, seed=seed, delay=0.03, loss=0.02)


def test_a_verb_that_takes_too_long_says_so_and_ends(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 4)
        with pytest.raises(OperationTimeout, match=r"finding peers took longer than 0\.01 s"):
            await clients[1].find_peers(HASH, timeout=0.01)
        net.hosts[2].down()
        with pytest.raises(OperationTimeout, match="no answer from node2"):
            await clients[1].dht.ping(f"node2:{PORT}")
        with pytest.raises(DhtError, match="nowhere does not resolve"):
            await clients[1].dht.ping("nowhere:1")
        await stop_all(clients)

    simulate(main, delay=0.05)


async def until_it_is(client: RatsClient, *, reachable: bool) -> None:
    async with asyncio.timeout(3600):
        while client.dht.is_reachable != reachable:  # noqa: ASYNC110 - there is no event for being reachable again
            await asyncio.sleep(0.25)


def told_by(client: RatsClient) -> list[str]:
    reasons: list[str] = []
    client.on_event(DhtUnreachable, lambda event: reasons.append(event.reason))
    return reasons


@pytest.mark.parametrize(
    ("bootstrap", "reason"),
    [
        ((), "no bootstrap node is known"),
        (("dead:1",), "no answer from 2 nodes"),
        (("10.9.9.9:1",), "no answer from 1 node"),
        (("nowhere", "nobody"), "names do not resolve: nowhere: Name or service not known; nobody: Name or service"),
        (("10.9.9.9:1", "nowhere"), "no answer from 1 node; names do not resolve: nowhere: Name or service not known"),
    ],
)
def test_why_nobody_answers_is_told_once(
    simulate: Simulate, caplog: pytest.LogCaptureFixture, bootstrap: tuple[str, ...], reason: str
) -> None:
    async def main(net: SimNetwork) -> None:
        net.host("dead").down()
        client = await member(net.host("alone"), *bootstrap)
        reasons = told_by(client)
        began = net.time
        assert not await client.start_dht_discovery()
        assert net.time - began <= (9.1 if "answer" in reason else 0.1)
        with pytest.raises(DhtError, match=reason.partition(":")[0]):
            await client.find_peers(HASH)
        await asyncio.sleep(600)
        assert len(reasons) == 1
        assert reasons[0].startswith(reason)
        assert not client.dht.is_reachable
        await client.stop()

    with caplog.at_level(logging.WARNING, "librats.dht"):
        simulate(main)
    [warning] = [record.getMessage() for record in caplog.records if record.name == "librats.dht"]
    assert warning.startswith(f"the DHT cannot be reached: {reason}")


def test_a_node_to_begin_with_that_comes_alive_later_is_found_by_itself(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        late = net.host("node0")
        late.down()
        node = await member(late)
        await node.start_dht_discovery(connect=False)
        client = await member(net.host("early"), FIRST)
        reasons = told_by(client)
        assert not await client.start_dht_discovery(connect=False)
        await asyncio.sleep(100)
        late.up()
        began = net.time
        await until_it_is(client, reachable=True)
        assert net.time - began < 61
        assert await client.announce_for_hash(HASH) == 2  # over IPv4 and over IPv6
        assert len(reasons) == 1
        await stop_all([client, node])

    simulate(main)


def test_names_that_did_not_resolve_are_looked_up_again(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        client = await member(net.host("early", addresses=["203.0.113.7"]), FIRST)
        reasons = told_by(client)
        assert not await client.start_dht_discovery(connect=False)
        await asyncio.sleep(30)
        node = await member(net.host("node0"))
        await node.start_dht_discovery(connect=False)
        await until_it_is(client, reachable=True)
        # This host has no IPv6: nobody is asked there, and no lookup waits for that.
        began = net.time
        assert await client.announce_for_hash(HASH) == 1
        assert net.time - began < 1
        assert len(reasons) == 1
        assert reasons[0].startswith("names do not resolve")
        await stop_all([client, node])

    simulate(main)


def test_a_client_that_has_lost_everybody_comes_back_and_each_outage_is_told(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 6)
        await asyncio.sleep(120)
        one, host = clients[5], net.hosts[5]
        reasons = told_by(one)
        # The node that it began with is gone for good: those that it knew are asked again.
        await clients[0].stop_dht_discovery()
        for outage in (1, 2):
            host.down()
            for _ in range(8):
                with pytest.raises((DhtError, OperationTimeout)):
                    await one.find_peers(HASH)
            await until_it_is(one, reachable=False)
            await asyncio.sleep(300)
            assert len(reasons) == outage
            host.up()
            began = net.time
            await until_it_is(one, reachable=True)
            assert net.time - began < 61
            assert await one.announce_for_hash(HASH) >= 1
            await asyncio.sleep(70)
        await stop_all(clients)

    simulate(main)


def test_a_verb_waits_until_the_node_has_got_in(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 4)
        await clients[1].announce_for_hash(HASH)
        late = await start_client(net.host("late"), dht=DhtConfig(enabled=True, bootstrap=(FIRST,)))
        await until(lambda: late.dht.is_running)
        assert addresses(clients[1]) & set(await late.find_peers(HASH))
        await stop_all([*clients, late])

    simulate(main)


def test_clients_of_one_protocol_meet_and_are_told_of_each_other(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        node = await start_client(net.host("node0"), protocol_name="other", dht=DhtConfig(bootstrap=()))
        await node.start_dht_discovery(connect=False)
        clients = [await member(net.host(f"peer{number}"), FIRST) for number in range(4)]
        found: list[PeerDiscovered] = []
        clients[3].on_event(PeerDiscovered, found.append)
        for client in clients[:3]:
            assert await client.start_dht_discovery(connect=False)
            await asyncio.sleep(10)
        assert await clients[3].start_dht_discovery()
        await until(lambda: len(clients[3].peers) == 3)
        assert {event.source for event in found} == {"dht"}
        assert not node.peers
        await stop_all([node, *clients])

    simulate(main)


def test_who_hides_behind_a_relay_shows_nothing_to_the_dht(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        nat = NatTraversalConfig(turn_servers=("turn:ann:secret@relay:3478",), path_policy=PathPolicy.RELAY_ONLY)
        dht = DhtConfig(enabled=True, bootstrap=(FIRST,))
        client = await start_client(net.host("hidden"), nat=nat, dht=dht)
        assert not await client.start_dht_discovery()
        await asyncio.sleep(1)
        assert not client.dht.is_running
        await client.stop()

    simulate(main)


def test_stopping_while_it_is_starting_leaves_nothing_behind(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        for moment in (0.0, 0.001, 0.5, 5.0, 20.0):
            client = await start_client(
                net.host(f"host at {moment}"), dht=DhtConfig(enabled=True, bootstrap=("10.9.9.9:1", "nowhere"))
            )
            await asyncio.sleep(moment)
            starting = asyncio.ensure_future(client.start_dht_discovery(bootstrap=["10.9.9.8:1"]))
            await asyncio.sleep(moment)
            await client.stop()
            [result] = await asyncio.gather(starting, return_exceptions=True)
            assert result is False or isinstance(result, ClosedError)

    simulate(main)


def test_a_start_that_is_cancelled_is_undone(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        client = await member(net.host("alone"), "10.9.9.9:1")
        for moment in (0.0, 0.001, 1.0, 8.0):
            starting = asyncio.ensure_future(client.start_dht_discovery())
            await asyncio.sleep(moment)
            starting.cancel()
            await asyncio.wait([starting])
            assert not client.dht.is_running
        await client.stop()

    simulate(main)
