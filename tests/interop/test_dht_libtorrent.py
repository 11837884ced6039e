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
ports = count(20_000)


async def find(node: OurNode | TheirNode, info_hash: bytes, peer: tuple[str, int]) -> bool:
    """Look for a peer again and again: libtorrent does not tell when it has announced one."""
    async with asyncio.timeout(SECONDS):
        while peer not in await node.peers(info_hash):
            pass
    return True


async def known_by_all(swarm: Mixed) -> None:
    """Let the nodes get to know each other: until a lookup of each of ours ends at nodes of both kinds."""
    theirs = {address for node in swarm.theirs for address in node.addresses}
    sizes = {len(address) for address in theirs}
    others = min(8, len(swarm.nodes) - 1)
    for node in swarm.ours:
        async with asyncio.timeout(SECONDS):
            found = set[bytes]()
            while any(
                sum(len(address) == size for address in found) < others
                or not any(len(address) == size for address in found & theirs)
                for size in sizes
            ):
                found = await node.nodes(entropy.token_bytes(20))


async def test_fifty_of_ours_and_fifty_of_theirs_find_all_that_the_other_kind_announces_and_puts() -> None:
    async with Mixed(SIZE, on_loopback) as swarm:
        await known_by_all(swarm)
        for number in range(SIZE):
            await announced_to_each_other(swarm, number)
            await put_for_each_other(swarm, number)
        for number in range(0, SIZE, 5):
            await changed_for_each_other(swarm, number)
        await found_by_read_only_nodes(swarm)


async def announced_to_each_other(swarm: Mixed, number: int) -> None:
    """Announce a peer of each kind; the other kind finds its IPv4 address and its IPv6 address."""
    ours, theirs = swarm.ours[number], swarm.theirs[number]
    by_us, by_them, port = entropy.token_bytes(20), entropy.token_bytes(20), next(ports)
    assert await ours.announce(by_us, port) >= 8
    theirs.announce(by_them, port)
    for family in (0, 1):
        assert await find(swarm.theirs[-1 - number], by_us, (ours.hosts[family], port))
        assert await find(swarm.ours[-1 - number], by_them, (theirs.hosts[family], port))


async def put_for_each_other(swarm: Mixed, number: int) -> None:
    """Put an immutable item of each kind; the other kind reads it."""
    fixed = Item(value=encoded(b"ours" + entropy.token_bytes(8)))
    assert (await swarm.ours[number].put(fixed)).stored >= 8
    assert encoded(await swarm.theirs[-1 - number].get(fixed.target)) == fixed.value
    target, taken = await swarm.theirs[number].put(b"theirs" + entropy.token_bytes(8))
    assert taken >= 1
    found = await swarm.ours[-1 - number].get(target)
    assert found is not None
    assert found.value.startswith(b"14:theirs")


async def changed_for_each_other(swarm: Mixed, number: int) -> None:
    """Put a mutable item with a salt of ours, which they read and replace, and we read that."""
    seed = entropy.token_bytes(32)
    key, _ = nacl.bindings.crypto_sign_seed_keypair(seed)
    first = sign_item(b"one", seed=seed, sequence=1, salt=SALT)
    assert (await swarm.ours[number].put(first)).stored >= 8
    assert await swarm.theirs[-1 - number].get_mutable(key, SALT) == (1, b"one")
    sequence, taken = await swarm.theirs[number].put_mutable(seed, b"two", SALT)
    assert sequence >= 2  # it counts further for its second family
    assert taken >= 8
    found = await swarm.ours[-1 - number].get(mutable_target(key, SALT), SALT)
    assert found is not None
    assert (found.sequence >= sequence, found.value, found.salt) == (True, b"3:two", SALT)


async def found_by_read_only_nodes(swarm: Mixed) -> None:
    """Let read-only nodes of both kinds join: they find what the others have, and nobody gets to know them."""
    count = 2 * SIZE
    ours = OurNode(*on_loopback(count), read_only=True, bootstrap=swarm.theirs[0].addresses)
    theirs = TheirNode(*on_loopback(count + 1), dht_read_only=True)
    info_hash = entropy.token_bytes(20)
    assert await swarm.ours[0].announce(info_hash, 4000) >= 8
    await ours.start()
    await theirs.start()
    for address in swarm.ours[0].addresses:
        theirs.meet(address)
    assert await find(ours, info_hash, (swarm.ours[0].hosts[0], 4000))
    assert await find(theirs, info_hash, (swarm.ours[0].hosts[0], 4000))
    # Whoever were known would be among the nearest to his own id: all are asked.
    secret = {*ours.addresses, *theirs.addresses}
    for node in swarm.ours:
        assert secret.isdisjoint(await node.nodes(ours.node.node_id))
        told = {address for size in (6, 18) for _, address, _ in node.node.tables.by_size[size].nodes()}
        assert told.isdisjoint(secret)
    ours.close()
    theirs.close()


async def test_an_item_is_replaced_only_where_the_expected_one_is_there() -> None:
    # So few that each item is kept by all but by whoever has put it.
    async with Mixed(4, lambda number: on_loopback(number)[:1]) as swarm:
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
