"""The nodes of one host with several addresses: others see separate nodes, and none of them asks another one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.dht.joined_nodes import Joined

from librats._core import krpc, krpc_writer
from librats._core.routing import shared_bits
from librats.dht.addresses import compact
from librats.dht.answering import ANNOUNCE_PEER, FIND_NODE, GET_PEERS, Answerer
from librats.dht.items import Item
from librats.dht.lookup import Lookup, Wanted
from librats.dht.node import DhtNode
from librats.dht.node_ids import bound_node_id
from librats.dht.siblings import FEW_NODES, Siblings
from librats.dht.tables import Tables
from librats.testing.entropy import SeededEntropy

HASH = b"h" * 20
FIRST = compact("203.0.113.1", 6881)
OURS = [compact(f"198.{number}.100.7", 6881) for number in (18, 51, 77)]
OTHERS = [FIRST, *(compact(f"203.{number}.113.7", 6881) for number in range(1, 12))]
SOURCE = compact("192.0.2.9", 6881)


class Between:
    """Counts datagrams from one of our addresses to another one."""

    def __init__(self, network: Joined, ours: list[bytes]) -> None:
        self.count = 0
        self._ours = ours
        network.forge = self._take

    def _take(self, data: bytes, source: bytes, target: bytes) -> bytes:
        self.count += source in self._ours and target in self._ours
        return data


class Recorded(Tables):
    """Knows nobody, and counts of whom it is told."""

    def __init__(self) -> None:
        super().__init__(b"1" * 20)
        self.sizes: list[int] = []

    def told(self, nodes: bytes, address_size: int, by: bytes, *, now: float) -> None:
        self.sizes.append(address_size)


def a_host(network: Joined, **settings: Any) -> Siblings:
    """Add a node at each of our addresses, and one at each of the others, all of which begin with the first one."""
    siblings = Siblings(SeededEntropy(9), count=len(OURS))
    for address in OTHERS:
        network.add(address, bootstrap=[FIRST] * (address != FIRST))
    for address in OURS:
        siblings.bind(address)
        network.add(address, bootstrap=[FIRST], siblings=siblings, **settings)
    return siblings


def known_to(node: DhtNode) -> set[tuple[bytes, bytes]]:
    return {(node_id, address) for table in node.tables.by_size.values() for node_id, address, _ in table.nodes()}


def test_others_know_a_node_with_an_id_of_its_own_at_each_address() -> None:
    network = Joined()
    a_host(network)
    network.run(120.0)
    expected = {(network.nodes[address].node_id, address) for address in OURS}
    assert len({node_id for node_id, _ in expected}) == len(OURS)
    for address in OTHERS:
        assert expected <= known_to(network.nodes[address])
    ids = [node_id for node_id, _ in expected]
    assert max(shared_bits(one, other) for one in ids for other in ids if one != other) < 20


def test_none_asks_another_one_or_knows_it_though_all_others_tell_of_it() -> None:
    network = Joined()
    between = Between(network, OURS)
    a_host(network)
    network.run(1800.0)
    for address in OURS:
        network.outcome(address, network.nodes[address].find_nodes(network.nodes[OURS[0]].node_id, now=network.now))
        assert known_to(network.nodes[address])
        assert not {where for _, where in known_to(network.nodes[address])} & set(OURS)
    assert between.count == 0


def test_a_node_of_ours_among_those_to_begin_with_is_not_asked() -> None:
    network = Joined()
    between = Between(network, OURS)
    a_host(network)
    network.nodes[OURS[0]].add_bootstrap(OURS, now=0.0)
    network.look_after(OURS[0])
    network.run(60.0)
    assert between.count == 0


def test_a_node_that_turns_out_to_be_one_of_ours_is_none_of_the_nearest() -> None:
    siblings = Siblings(SeededEntropy(1))
    Tables(b"s" * 20, siblings=siblings)
    lookup = Lookup(HASH, Wanted.NODES, is_ours=Tables(b"t" * 20, siblings=siblings).is_ours)
    behind_nat = compact("192.0.2.7", 6881)
    lookup.add_known([(None, behind_nat)])
    assert [asked.address for asked in lookup.to_ask()] == [behind_nat]
    lookup.answered(behind_nat, krpc.parse(krpc_writer.response(b"aa", b"s" * 20)))
    assert lookup.is_done
    assert lookup.closest() == []


def test_an_address_that_others_see_one_at_is_ours_until_they_see_another() -> None:
    siblings, tables = Siblings(SeededEntropy(1)), Tables(b"1" * 20)
    seen, then = compact("192.0.2.7", 6881), compact("192.0.2.8", 6881)
    siblings.seen_at(tables, [seen])
    assert siblings.is_one(None, seen)
    siblings.seen_at(tables, [then])
    assert not siblings.is_one(None, seen)
    assert siblings.is_one(b"x" * 20, then)


def test_with_another_id_a_node_is_still_one_of_ours_and_its_old_id_is_not() -> None:
    siblings = Siblings(SeededEntropy(1))
    tables, other = Tables(b"1" * 20, siblings=siblings), Tables(b"2" * 20, siblings=siblings)
    tables.take_id(b"3" * 20, 6)
    assert other.heard(b"3" * 20, SOURCE, now=1.0) == 0
    assert other.heard(b"1" * 20, SOURCE, now=1.0)


def test_ids_are_bound_to_the_address_of_each() -> None:
    network = Joined()
    a_host(network)
    network.run(120.0)
    for address in OURS:
        node = network.nodes[address]
        assert node.external_addresses == {6: address}
        host = ".".join(map(str, address[:4]))
        assert bound_node_id(host, node.node_id)[:2] == node.node_id[:2]


def asked(answerer: Answerer, method: int, **fields: Any) -> krpc.KrpcMessage:
    query = krpc_writer.query(method, b"aa", b"a" * 20, **fields)
    answer = answerer.receive(query, SOURCE, now=1.0)
    assert answer is not None
    return krpc.parse(answer)


def test_they_keep_peers_together_and_a_token_counts_only_where_it_was_given() -> None:
    siblings = Siblings(SeededEntropy(1))
    one, other = (
        Answerer(Tables(own_id, siblings=siblings), SeededEntropy(number), now=0.0, siblings=siblings)
        for number, own_id in enumerate([b"1" * 20, b"2" * 20])
    )
    token = asked(one, GET_PEERS, info_hash=HASH).token
    refused = asked(other, ANNOUNCE_PEER, info_hash=HASH, port=4000, token=token)
    assert refused.fault == (203, b"Bad token")
    assert asked(one, ANNOUNCE_PEER, info_hash=HASH, port=4000, token=token).kind == krpc.RESPONSE
    assert asked(other, GET_PEERS, info_hash=HASH).values == [SOURCE[:4] + (4000).to_bytes(2)]


def test_an_announcement_begins_with_the_nodes_that_are_named() -> None:
    network = Joined()
    siblings = Siblings(SeededEntropy(9))
    for address in OTHERS:
        network.add(address, bootstrap=[FIRST] * (address != FIRST))
    network.run(60.0)
    named = [(network.nodes[address].node_id, address) for address in OTHERS[:8]]
    node = DhtNode(SeededEntropy(3), now=network.now, siblings=siblings)
    node.announce(HASH, 4000, now=network.now, known=named)
    assert {target for _, target in node.datagrams_to_send()} <= {address for _, address in named}


def test_nodes_of_the_other_family_are_told_to_who_knows_too_few() -> None:
    network = Joined()
    siblings = Siblings(SeededEntropy(9))
    six = [compact(f"2001:db8:{number}::1", 6881) for number in range(1, FEW_NODES + 2)]
    network.add(FIRST)
    for address in six:
        network.add(address)
        network.nodes[FIRST].tables.heard(network.nodes[address].node_id, address, now=0.0)
    four_of_ours, six_of_ours = OURS[0], compact("2001:db8:77::1", 6881)
    network.add(six_of_ours, siblings=siblings)
    network.add(four_of_ours, bootstrap=[FIRST], siblings=siblings)
    assert siblings.lack((6,))
    network.run(30.0)
    assert len(network.nodes[six_of_ours].tables.by_size[18]) >= FEW_NODES
    assert not siblings.lack((6,))
    network.nodes[four_of_ours].find_nodes(HASH, now=network.now)
    asking = [krpc.parse(data) for data, _ in network.nodes[four_of_ours].datagrams_to_send()]
    assert [message.method for message in asking] == [FIND_NODE]
    assert asking[0].want == []


@pytest.mark.parametrize(("settings", "count"), [({}, 1), ({"count": 3}, 3)])
def test_their_store_has_room_for_what_so_many_nodes_are_given(settings: dict[str, int], count: int) -> None:
    siblings = Siblings(SeededEntropy(1), **settings)
    for number in range(2000 * count + 5):
        siblings.peers.announce(number.to_bytes(20), SOURCE, now=0.0)
    for number in range(1000 * count + 5):
        siblings.items.put(Item(value=b"i%de" % number), now=0.0)
    assert (len(siblings.peers), len(siblings.items)) == (2000 * count, 1000 * count)


def test_eight_nodes_of_a_family_are_enough_for_one_of_them() -> None:
    siblings, tables = Siblings(SeededEntropy(1)), Recorded()
    siblings.join(tables, (6,))
    for number in range(8):
        assert siblings.lack((18,))
        assert not siblings.lack((6,))
        siblings.told(b"", 6, SOURCE, now=0.0)
        tables.heard(bytes([number]) * 20, compact(f"203.{number}.113.7", 6881), now=0.0)
    siblings.told(b"", 6, SOURCE, now=0.0)
    assert (len(tables), tables.sizes) == (8, [6] * 8)
    assert not siblings.lack((18,))


@pytest.mark.parametrize("families", [(6,), (18,)])
def test_a_node_is_told_of_those_of_its_own_family_alone(families: tuple[int, ...]) -> None:
    siblings, tables = Siblings(SeededEntropy(1)), Recorded()
    siblings.join(tables, families)
    siblings.told(b"s" * 20 + compact("198.51.100.1", 6881), 6, SOURCE, now=0.0)
    assert tables.sizes == [6] * (families == (6,))
