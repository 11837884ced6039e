"""Nodes of ours and of libtorrent in one DHT: each finds what the other has announced and put."""

from __future__ import annotations

import asyncio
from itertools import count

import nacl.bindings
import pytest
from tests.interop.dht_nodes import Mixed, OurNode, TheirNode, encoded, on_loopback

from librats.dht.items import Item, mutable_target, sign_item
from librats.runtime.entropy import SystemEntropy

pytestmark = pytest.mark.interop

SALT = b"salt"
SIZE = 50
SECONDS = 60.0
entropy = SystemEntropy()
ports = count(40_000)


async def find(node: OurNode | TheirNode, info_hash: bytes, peer: tuple[str, int]) -> bool:
    """Look for a peer again and again: libtorrent does not tell when it has announced one."""
    async with asyncio.timeout(SECONDS):
        while peer not in await node.peers(info_hash):
            pass
    return True


async def known_by_all(swarm: Mixed) -> None:
    """Let the nodes get to know each other: until a lookup of each of ours ends at nodes of both kinds."""
    theirs, others = {node.address for node in swarm.theirs}, min(8, len(swarm.nodes) - 1)
    for node in swarm.ours:
        async with asyncio.timeout(SECONDS):
            found = set[bytes]()
            while len(found) < others or not found & theirs:
                found = await node.nodes(entropy.token_bytes(20))


async def test_peers_that_one_kind_announces_are_found_by_the_other() -> None:
    async with Mixed(SIZE, on_loopback) as swarm:
        await known_by_all(swarm)
        for number in range(SIZE):
            ours, theirs = swarm.ours[number], swarm.theirs[number]
            by_us, by_them = entropy.token_bytes(20), entropy.token_bytes(20)
            port = next(ports)
            assert await ours.announce(by_us, port) >= 8
            assert await find(swarm.theirs[-1 - number], by_us, (ours.host, port))
            theirs.announce(by_them, port)
            assert await find(swarm.ours[-1 - number], by_them, (theirs.host, port))


async def test_items_that_one_kind_puts_are_read_by_the_other() -> None:
    async with Mixed(SIZE, on_loopback) as swarm:
        await known_by_all(swarm)
        for number in range(SIZE):
            ours, theirs = swarm.ours[number], swarm.theirs[number]
            fixed = Item(value=encoded(b"ours" + entropy.token_bytes(8)))
            assert (await ours.put(fixed)).stored >= 8
            assert encoded(await swarm.theirs[-1 - number].get(fixed.target)) == fixed.value
            target, taken = await theirs.put(b"theirs" + entropy.token_bytes(8))
            assert taken >= 1
            found = await swarm.ours[-1 - number].get(target)
            assert found is not None
            assert found.value.startswith(b"14:theirs")


async def test_mutable_items_with_salt_go_both_ways_and_the_newest_wins() -> None:
    async with Mixed(10, on_loopback) as swarm:
        await known_by_all(swarm)
        seed = entropy.token_bytes(32)
        key, _ = nacl.bindings.crypto_sign_seed_keypair(seed)
        first = sign_item(b"one", seed=seed, sequence=1, salt=SALT)
        assert (await swarm.ours[0].put(first)).stored >= 8
        assert await swarm.theirs[1].get_mutable(key, SALT) == (1, b"one")
        sequence, taken = await swarm.theirs[2].put_mutable(seed, b"two", SALT)
        assert (sequence, taken >= 8) == (2, True)
        found = await swarm.ours[3].get(mutable_target(key, SALT), SALT)
        assert found is not None
        assert (found.sequence, found.value, found.salt) == (2, b"3:two", SALT)


async def test_an_item_is_replaced_only_where_the_expected_one_is_there() -> None:
    # So few that each item is kept by all but by whoever has put it.
    async with Mixed(4, on_loopback) as swarm:
        await known_by_all(swarm)
        seed = entropy.token_bytes(32)
        items = [sign_item(b"%d" % number, seed=seed, sequence=number) for number in range(1, 4)]
        assert (await swarm.ours[0].put(items[0])).stored == 7
        refused = await swarm.ours[1].put(items[2], compare=2)
        assert refused.stored <= 1
        assert {code for code, _ in refused.refusals} == {301}
        assert (await swarm.ours[1].put(items[2], compare=1)).stored >= 6
        old = await swarm.ours[2].put(items[1])
        assert {code for code, _ in old.refusals} == {302}
        assert await swarm.ours[3].get(items[0].target) == items[2]


async def test_read_only_nodes_find_and_are_known_to_nobody() -> None:
    async with Mixed(4, on_loopback) as swarm:
        await known_by_all(swarm)
        ours = OurNode(on_loopback(100), read_only=True, bootstrap=[swarm.theirs[0].address])
        theirs = TheirNode(on_loopback(101), dht_read_only=True)
        info_hash = entropy.token_bytes(20)
        assert await swarm.ours[0].announce(info_hash, 4000) >= 4
        await ours.start()
        await theirs.start()
        theirs.meet(swarm.ours[0].address)
        assert await find(ours, info_hash, (swarm.ours[0].host, 4000))
        assert await find(theirs, info_hash, (swarm.ours[0].host, 4000))
        # Whoever were known would be among the nearest to his own id: all are asked.
        for node in swarm.ours:
            assert ours.address not in await node.nodes(ours.node.node_id)
            told = {address for _, address, _ in node.node.tables.by_size[6].nodes()}
            assert told.isdisjoint({ours.address, theirs.address})
        ours.close()
        theirs.close()


async def test_over_ipv6_peers_and_items_go_both_ways() -> None:
    async with Mixed(10, lambda number: "::1") as swarm:
        await known_by_all(swarm)
        by_us, by_them = entropy.token_bytes(20), entropy.token_bytes(20)
        assert await swarm.ours[0].announce(by_us, 4000) >= 8
        assert await find(swarm.theirs[1], by_us, ("::1", 4000))
        swarm.theirs[2].announce(by_them, 4001)
        assert await find(swarm.ours[3], by_them, ("::1", 4001))
        fixed = Item(value=encoded(b"six"))
        assert (await swarm.ours[1].put(fixed)).stored >= 8
        assert await swarm.theirs[3].get(fixed.target) == b"six"
