"""Unmodified clients with nodes of the DHT at several addresses, in the simulated network."""

from __future__ import annotations

import asyncio

from tests.simulation.conftest import PORT, Simulate, until
from tests.simulation.test_dht import FIRST, HASH, member, stop_all, swarm

from librats import Address, DhtUnreachable, RatsClient
from librats.testing import SimNetwork

SEVERAL = ("198.18.7.1", "198.18.130.1", "198.19.9.1")


def reachable(client: RatsClient) -> set[str]:
    each = client.dht.statistics()["addresses"]
    return {Address.parse(text).host for text, numbers in each.items() if numbers["reachable"]}


def at_ipv4(client: RatsClient) -> Address:
    return next(address for address in client.addresses if ":" not in address.host)


async def until_only(client: RatsClient, hosts: tuple[str, ...]) -> None:
    """Wait until the nodes at these addresses know others, and no more, looking every ten seconds of virtual time."""
    async with asyncio.timeout(10_000):
        while reachable(client) != set(hosts):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(10)


def test_over_lossy_links_a_host_is_found_at_each_of_its_addresses(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 20)
        client = await member(net.host("many", addresses=SEVERAL), FIRST, addresses=SEVERAL)
        assert await client.start_dht_discovery(meet=False)
        await until(lambda: reachable(client) == set(SEVERAL))
        await asyncio.sleep(60)
        assert await client.announce_for_hash(HASH) >= 3 * 4
        expected = {Address(host, PORT) for host in SEVERAL}
        for other in clients[3:6]:
            assert set(await other.find_peers(HASH)) == expected
        assert set(await client.find_peers(HASH)) == expected
        stored = await clients[7].dht.put([1, b"two"])
        item = await client.dht.get(stored.target)
        assert item is not None
        assert item.value == [1, b"two"]
        await stop_all([client, *clients])

    simulate(main, seed=1, delay=0.05, loss=0.05)


def test_an_address_that_is_lost_takes_nothing_from_the_others(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> None:
        clients = await swarm(net, 12)
        host = net.host("many", addresses=SEVERAL)
        client = await member(host, FIRST, addresses=SEVERAL)
        told: list[DhtUnreachable] = []
        client.on_event(DhtUnreachable, told.append)
        await client.start_dht_discovery(meet=False)
        await until(lambda: reachable(client) == set(SEVERAL))
        await asyncio.sleep(60)
        host.interfaces["eth0"].readdress(*SEVERAL[1:])
        assert await clients[2].announce_for_hash(HASH) >= 4
        for _ in range(6):
            assert at_ipv4(clients[2]) in await client.find_peers(HASH)
        assert await client.announce_for_hash(bytes(20)) >= 8
        await until_only(client, SEVERAL[1:])
        assert told == []
        assert await client.announce_for_hash(bytes(20)) >= 8
        host.interfaces["eth0"].readdress(*SEVERAL)
        await until_only(client, SEVERAL)
        await stop_all([client, *clients])

    simulate(main, seed=2, delay=0.05)
