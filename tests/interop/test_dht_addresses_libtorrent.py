"""A client of ours with a node of the DHT at each of several addresses, among nodes of libtorrent."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from tests.interop.dht_nodes import OurNode, TheirNode, on_loopback

from librats import Address, DhtConfig, Identity, RatsClient, RatsConfig
from librats.dht.addresses import address_of, compact
from librats.dht.node import DhtNode

pytestmark = pytest.mark.interop

HASH = b"a hash has 20 bytes."
THEIRS = 6
ADDRESSES = ("127.9.1.1", "127.9.2.1", "127.9.3.1", "::1")
SECONDS = 60.0


async def test_theirs_take_it_for_several_nodes_and_find_it_at_each_address() -> None:
    theirs = [TheirNode(*on_loopback(number)) for number in range(THEIRS)]
    for node in theirs:
        await node.start()
    for node in theirs:
        for other in theirs:
            for address in other.addresses if other is not node else ():
                node.meet(address)
    begin = tuple(str(address_of(address)) for address in theirs[0].addresses)
    dht = DhtConfig(bootstrap=begin, addresses=ADDRESSES)
    config = RatsConfig(listen_host="127.0.0.1", dht=dht)
    async with RatsClient(config=config, identity=Identity.generate()) as client:
        assert await client.start_dht_discovery(connect=False, meet=False)
        outsider = OurNode(*on_loopback(THEIRS), bootstrap=theirs[1].addresses, read_only=True)
        await outsider.start()
        async with asyncio.timeout(SECONDS):
            await known_to_theirs(client, outsider)
            assert await client.announce_for_hash(HASH) >= len(ADDRESSES)
            for node in theirs:
                found = set[tuple[str, int]]()
                while found != {(host, client.listen_port) for host in ADDRESSES}:
                    found |= await node.peers(HASH)
        outsider.close()
    for node in theirs:
        node.close()


async def known_to_theirs(client: RatsClient, outsider: OurNode) -> None:
    """Wait until each of our nodes is told of under its own id, by nodes of theirs: nobody else is asked."""
    each: dict[str, Any] = {}
    while len(each) < len(ADDRESSES):
        each = client.dht.statistics()["addresses"]
        await asyncio.sleep(0)
    for text, numbers in each.items():
        address, own_id = compact(*Address.parse(text)), bytes.fromhex(numbers["node id"])
        told: dict[bytes, bytes] = {}
        while told.get(address) != own_id:
            found = await outsider.ended(partial(looking_for, own_id))
            told = {node.address: node.node_id for node in found.nodes}


def looking_for(target: bytes, node: DhtNode, now: float) -> int:
    return node.find_nodes(target, now=now)
