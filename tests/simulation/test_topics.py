"""Clients that find each other by topic in a simulated DHT, and nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until

from librats import DhtConfig, PeerDiscovered, RatsClient, UsageError
from librats.testing import SimNetwork

FIRST = f"node0:{PORT}"


async def swarm(net: SimNetwork, count: int, **settings: Any) -> list[RatsClient]:
    """Start clients of which all begin with the first one."""
    clients = []
    for number in range(count):
        bootstrap = (FIRST,) if number else ()
        clients.append(await start_client(net.host(f"node{number}"), dht=DhtConfig(bootstrap=bootstrap), **settings))
    await clients[0].start_dht_discovery(meet=False)
    await asyncio.gather(*(client.start_dht_discovery(meet=False) for client in clients[1:]))
    return clients


async def stop_all(clients: list[RatsClient]) -> None:
    await asyncio.gather(*(client.stop() for client in clients))


def have_met(room: dict[str, RatsClient]) -> bool:
    return all(set(client.peers) == set(room) - {client.peer_id} for client in room.values())


@pytest.mark.parametrize("afterwards", [30.0, pytest.param(900.0, marks=pytest.mark.long)])
def test_twenty_clients_find_those_on_their_topic_and_nobody_else(simulate: Simulate, afterwards: float) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 20)
        found: list[PeerDiscovered] = []
        clients[5].on_event(PeerDiscovered, found.append)
        # Those before come in one after the other, so that the first ones have to look again.
        for number, client in enumerate(clients):
            await client.join_topic("garden" if number % 2 else "kitchen")
            await asyncio.sleep(2)
        began = net.time
        rooms = [{client.peer_id: client for client in clients[start::2]} for start in (0, 1)]
        while not all(have_met(room) for room in rooms):  # noqa: ASYNC110 - looking at all of them is dear
            await asyncio.sleep(1)
        assert net.time - began < 60
        await asyncio.sleep(afterwards)
        assert all(have_met(room) for room in rooms)
        told = [event.addresses[0] for event in found]
        assert len(told) == len(set(told))
        assert {event.source for event in found} == {"dht"}
        numbers = clients[5].statistics()["topics"]["garden"]
        assert numbers["connected"] == numbers["peers"] == 9
        assert numbers["announced"] == 1 + (afterwards > 600)
        await stop_all(clients)

    simulate(main, seed=3, delay=0.03)


def test_a_client_may_be_on_several_topics_and_leave_them(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        first, ann, bob, eve = await swarm(net, 4)
        await ann.join_topic("garden")
        await ann.join_topic("kitchen")
        await bob.join_topic("garden")
        await eve.join_topic("kitchen")
        await until(lambda: len(ann.peers) == 2, within=60)
        assert bob.peers.keys() == eve.peers.keys() == {ann.peer_id}
        assert ann.topics == {"garden", "kitchen"}
        await ann.leave_topic("garden")
        await ann.leave_topic("garden")
        assert ann.topics == ann.statistics()["topics"].keys() == {"kitchen"}
        await ann.stop_dht_discovery()
        assert ann.topics == frozenset()
        assert len(ann.peers) == 2
        with pytest.raises(UsageError, match="start_dht_discovery"):
            await ann.join_topic("garden")
        await stop_all([first, ann, bob, eve])

    simulate(main, delay=0.03)


def test_nobody_is_connected_to_where_that_is_not_wanted(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        first, ann, bob = await swarm(net, 3)
        found: list[PeerDiscovered] = []
        bob.on_event(PeerDiscovered, found.append)
        await ann.join_topic("garden", connect=False)
        await asyncio.sleep(5)
        await bob.join_topic("garden", connect=False)
        await asyncio.sleep(120)
        assert {event.addresses[0] for event in found} <= set(ann.addresses)
        assert found
        assert not bob.peers
        await stop_all([first, ann, bob])

    simulate(main, delay=0.03)


def test_dials_end_at_the_number_of_peers_that_is_wanted(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 6)
        seeker = await start_client(net.host("seeker"), peer_target=3, dht=DhtConfig(bootstrap=(FIRST,)))
        for client in clients:
            await client.join_topic("garden", connect=False)
        await asyncio.sleep(10)
        await seeker.start_dht_discovery(meet=False)
        await seeker.join_topic("garden")
        await asyncio.sleep(90)
        assert len(seeker.peers) == 3
        await next(iter(seeker.peers.values())).close()
        await until(lambda: len(seeker.peers) == 3, within=90)  # the next look, which is a minute away or a little more
        await stop_all([*clients, seeker])

    simulate(main, delay=0.03)


def test_topics_go_on_when_the_dht_is_begun_anew_with_other_nodes(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 3)
        stray = await start_client(net.host("stray"), dht=DhtConfig(bootstrap=()))
        assert not await stray.start_dht_discovery(meet=False)
        await stray.join_topic("garden")
        await clients[1].join_topic("garden")
        await asyncio.sleep(60)
        assert not stray.peers
        assert await stray.start_dht_discovery(bootstrap=[FIRST], meet=False)
        await until(lambda: clients[1].peer_id in stray.peers, within=60)
        assert stray.topics == {"garden"}
        await stop_all([*clients, stray])

    simulate(main, delay=0.03)


@pytest.mark.parametrize("name", ["", "x" * 257, "\ud800", 7, None])
def test_what_is_no_topic_is_refused(simulate: Simulate, name: Any) -> None:
    async def main(net: SimNetwork) -> None:
        [client] = await swarm(net, 1)
        for verb in (client.join_topic, client.leave_topic):
            with pytest.raises(UsageError, match="a topic is"):
                await verb(name)
        await client.stop()

    simulate(main)


def test_a_client_is_on_so_many_topics_and_no_more(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        [client] = await swarm(net, 1)
        for number in range(16):
            await client.join_topic(f"topic {number}")
        with pytest.raises(UsageError, match="16 topics"):
            await client.join_topic("one more")
        assert len(client.topics) == 16
        await client.stop()

    simulate(main)
