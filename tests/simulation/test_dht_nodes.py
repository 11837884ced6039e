"""Hundreds of nodes of the DHT in memory: who announced himself is found, though some are silent and some lie."""

from __future__ import annotations

from statistics import median

import pytest
from tests.unit.dht.joined_nodes import Joined

from librats._core import krpc, krpc_writer
from librats.dht.items import sign_item
from librats.testing.entropy import SeededEntropy

SEED = bytes(32)


def address_of(number: int) -> bytes:
    return bytes([203, number >> 8, number & 255, 7, 26, 225])


def a_network(count: int, seed: int) -> Joined:
    network = Joined(seed)
    entropy = SeededEntropy(seed, "bootstrap")
    network.add(address_of(0))
    for number in range(1, count):
        network.add(address_of(number), bootstrap=[address_of(entropy.randbelow(number))])
        network.run(0.2)
    network.run(30.0)
    return network


def lying(network: Joined, liars: set[bytes]) -> None:
    """Let nodes answer with nodes near whatever was asked for: at addresses of nobody, and of others' own networks."""
    targets: dict[bytes, bytes] = {}

    def forge(data: bytes, source: bytes, target: bytes) -> bytes | None:
        message = krpc.parse(data)
        if message.kind == krpc.QUERY and target in liars:
            targets[source] = message.target or message.info_hash or bytes(20)
        if source not in liars or message.kind != krpc.RESPONSE or message.nodes is None or message.id is None:
            return data
        near = targets[target][:-1]
        nodes = b"".join(near + bytes([last]) + bytes([198, 18, source[1], last, 0, 1]) for last in range(7))
        inner = near + b"\7" + bytes([10, 0, 0, 1, 0, 1])
        return krpc_writer.response(
            message.transaction_id or b"", message.id, nodes=nodes + inner, token=b"false", seen_as=message.seen_as
        )

    network.forge = forge


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_who_announced_himself_is_found_among_silent_and_lying_nodes(seed: int) -> None:
    count = 100
    network = a_network(count, seed)
    entropy = SeededEntropy(seed, "choices")
    shuffled = sorted(network.nodes, key=lambda address: entropy.token_bytes(8))
    network.silent.update(shuffled[:10])
    lying(network, set(shuffled[10:15]))
    honest = shuffled[15:]
    found, seconds, hops = 0, [], []
    for number in range(15):
        info_hash = entropy.token_bytes(20)
        one, other = honest[number], honest[-1 - number]
        assert network.outcome(one, network.nodes[one].announce(info_hash, 4000, now=network.now)).stored >= 5
        begun = network.now
        outcome = network.outcome(other, network.nodes[other].find_peers(info_hash, now=network.now))
        found += one[:4] + (4000).to_bytes(2) in outcome.peers
        seconds.append(network.now - begun)
        hops.append(outcome.hops)
        assert outcome.asked <= 60
    assert found == 15
    assert median(hops) <= 4
    assert median(seconds) < 2


def test_items_are_found_by_all_and_the_newest_wins() -> None:
    network = a_network(100, 3)
    one, other = address_of(10), address_of(90)
    for sequence in (1, 2):
        item = sign_item(f"value {sequence}" * 20, seed=SEED, sequence=sequence)
        assert network.outcome(one, network.nodes[one].put(item, now=network.now)).stored == 8
    readers = [address_of(number) for number in range(20, 40)]
    got = [network.outcome(reader, network.nodes[reader].get(item.target, now=network.now)).item for reader in readers]
    assert got == [item] * 20
    old = sign_item("an old value", seed=SEED, sequence=1)
    outcome = network.outcome(other, network.nodes[other].put(old, now=network.now))
    assert outcome.stored <= 1
    assert 302 in {code for code, _ in outcome.refusals}
