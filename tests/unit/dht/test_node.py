"""A whole node, among a few others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from tests.unit.dht.joined_nodes import Joined

from librats import KrpcError, UsageError
from librats._core import bencode, krpc, krpc_writer
from librats._core.routing import shared_bits
from librats.dht.addresses import compact
from librats.dht.answering import GET_PEERS, PING
from librats.dht.items import Item, sign_item
from librats.dht.node import DhtNode
from librats.dht.node_ids import bound_node_id, is_bound_to
from librats.dht.operations import Finished
from librats.testing.entropy import SeededEntropy

HASH = b"h" * 20
SEED = bytes(32)
FIRST = compact("203.0.113.0", 6881)


def address_of(number: int) -> bytes:
    return bytes([203, number >> 8, number & 255, 7, 26, 225])


def joined(count: int = 12, seed: int = 1) -> Joined:
    network = Joined(seed)
    network.add(FIRST)
    for number in range(1, count):
        network.add(address_of(number), bootstrap=[FIRST])
    network.run(40.0)
    return network


def test_nodes_find_each_other_from_one_that_they_know() -> None:
    network = joined()
    assert all(len(node.tables) >= 10 for node in network.nodes.values())
    assert network.finished == {}


def test_who_announced_himself_is_found_by_another() -> None:
    network = joined()
    one, other = address_of(1), address_of(2)
    announced = network.outcome(one, network.nodes[one].announce(HASH, 4000, now=network.now))
    assert announced.stored == 8
    assert announced.peers == []
    found = network.outcome(other, network.nodes[other].find_peers(HASH, now=network.now))
    assert found.peers == [one[:4] + (4000).to_bytes(2)]
    implied = network.outcome(other, network.nodes[other].announce(HASH, None, now=network.now))
    assert implied.stored == 8
    enough = network.outcome(one, network.nodes[one].find_peers(HASH, now=network.now, enough=1))
    assert other in enough.peers


def test_an_item_is_put_and_got_and_replaced() -> None:
    network = joined()
    one, other = address_of(1), address_of(2)
    item = sign_item("v" * 900, seed=SEED, sequence=1, salt=b"s")
    assert network.outcome(one, network.nodes[one].put(item, now=network.now)).stored == 8
    assert network.outcome(other, network.nodes[other].get(item.target, now=network.now, salt=b"s")).item == item
    newer = sign_item("newer", seed=SEED, sequence=2, salt=b"s")
    assert network.outcome(one, network.nodes[one].put(newer, now=network.now, compare=1)).stored == 8
    assert network.outcome(other, network.nodes[other].get(item.target, now=network.now, salt=b"s")).item == newer
    refused = network.outcome(other, network.nodes[other].put(item, now=network.now))
    # Among the nearest is perhaps the node that put the newer one: it keeps none itself.
    assert refused.stored <= 1
    assert {code for code, _ in refused.refusals} == {302}
    fixed = Item(value=b"5:hello")
    assert network.outcome(one, network.nodes[one].put(fixed, now=network.now)).stored == 8
    assert network.outcome(other, network.nodes[other].get(fixed.target, now=network.now)).item == fixed


def test_a_stranger_gets_an_item_that_is_too_long_for_four_to_one_once_it_has_answered() -> None:
    network = joined(4)
    item = sign_item("v" * 900, seed=SEED, sequence=1)
    network.nodes[FIRST].answerer.items.put(item, now=network.now)
    stranger = address_of(200)
    network.add(stranger, bootstrap=[FIRST])
    for node in network.nodes.values():
        node.answerer._rates._proven.clear()
    found = network.outcome(stranger, network.nodes[stranger].get(item.target, now=network.now))
    assert found.item == item
    assert network.nodes[FIRST].answerer.counts["held"] == 1


def test_a_read_only_node_finds_and_is_not_found() -> None:
    network = joined()
    reader = address_of(100)
    network.add(reader, bootstrap=[FIRST], read_only=True)
    network.run(40.0)
    assert len(network.nodes[reader].tables) >= 10
    own_id = network.nodes[reader].node_id
    assert all(own_id not in node.tables.closest(own_id, 6) for node in network.nodes.values())
    network.nodes[reader].receive_datagram(krpc_writer.query(PING, b"aa", b"x" * 20), FIRST, now=network.now)
    assert network.nodes[reader].datagrams_to_send() == []
    assert network.outcome(reader, network.nodes[reader].announce(HASH, 1, now=network.now)).stored == 8


def test_a_node_that_asks_gets_a_place_once_it_has_answered_a_ping() -> None:
    network = joined(3)
    asking = network.add(address_of(50))
    asking._bootstrap = [FIRST]
    asking.find_nodes(HASH, now=network.now)
    network.look_after(address_of(50))
    network.run(0.2)
    assert asking.node_id not in network.nodes[FIRST].tables.closest(asking.node_id, 6)
    network.run(6.0)
    assert asking.node_id in network.nodes[FIRST].tables.closest(asking.node_id, 6)


def test_nodes_that_fall_silent_lose_their_places() -> None:
    network = joined()
    gone = [address_of(number) for number in range(6, 12)]
    network.silent.update(gone)
    network.run(3000.0)
    known = {address for _, address, _ in network.nodes[FIRST].tables.by_size[6].nodes()}
    assert known == {address_of(number) for number in range(1, 6)}


def test_a_saved_table_lets_a_node_begin_without_any_other_help() -> None:
    network = joined()
    one = address_of(1)
    saved = bencode.decode(bencode.encode(network.nodes[one].save()))
    own_id = network.nodes[one].node_id
    network.remove(one)
    again = network.add(one, saved=saved)
    assert again.node_id == own_id
    network.run(10.0)
    assert len(again.tables) >= 10


@pytest.mark.parametrize(
    "saved", [None, 7, {}, {"id": b"short", "nodes": 3}, {"id": 5, "nodes": [b"x", 3, None]}, {b"nodes": b"x" * 26}]
)
def test_of_a_broken_table_nothing_is_taken(saved: object) -> None:
    node = DhtNode(SeededEntropy(1), now=0.0, saved=saved)
    assert len(node.node_id) == 20
    assert node.datagrams_to_send() == []


def test_a_node_that_reaches_nobody_tries_again_after_longer_pauses() -> None:
    network = Joined()
    one = address_of(1)
    network.add(one, bootstrap=[FIRST])
    network.run(600.0)
    assert 5 <= network.sent <= 9
    network.add(FIRST)
    network.run(300.0)
    assert len(network.nodes[one].tables) == 1


def test_nodes_to_begin_with_may_be_told_later() -> None:
    network = Joined()
    one = address_of(1)
    network.add(FIRST)
    network.add(one).add_bootstrap([FIRST], now=0.0)
    network.look_after(one)
    network.run(1.0)
    assert len(network.nodes[one].tables) == 1


def test_a_node_of_both_families_learns_the_other_one() -> None:
    network = Joined()
    network.add(FIRST)
    both = network.add(address_of(1), bootstrap=[FIRST], families=(6, 18))
    network.run(1.0)
    six = compact("2001:db8::1", 6881)
    network.nodes[FIRST].tables.heard(b"6" * 20, six, now=network.now)
    network.add(six, saved={"id": b"6" * 20})
    network.outcome(address_of(1), both.find_nodes(HASH, now=network.now))
    network.run(10.0)
    assert both.statistics()["nodes6"] == 1


def test_with_nobody_there_all_ends_at_once() -> None:
    node = DhtNode(SeededEntropy(1), now=0.0)
    number = node.announce(HASH, 1, now=0.0)
    event = node.next_event()
    assert event == Finished(
        number=number, target=HASH, nodes=[], peers=[], item=None, stored=0, refusals=[], asked=0, hops=0
    )
    assert node.next_event() is None


def test_what_was_given_up_does_not_finish() -> None:
    network = joined()
    one = network.nodes[FIRST]
    one.cancel(one.find_peers(HASH, now=network.now))
    network.look_after(FIRST)
    network.run(10.0)
    assert network.finished == {}
    assert one.statistics()["operations"] == 0


def test_where_ids_must_be_bound_others_have_no_place() -> None:
    network = Joined()
    network.add(FIRST)
    for number in range(1, 6):
        bound = bound_node_id(f"203.0.{number}.7", bytes([number]) * 20)
        network.add(address_of(number), bootstrap=[FIRST], saved={"id": bound})
    strict = network.add(address_of(9), bootstrap=[FIRST], require_bound=True)
    network.run(20.0)
    known = {address for _, address, _ in strict.tables.by_size[6].nodes()}
    assert known == {address_of(number) for number in range(1, 6)}


def test_a_forged_answer_changes_nothing() -> None:
    network = joined(3)
    node = network.nodes[FIRST]
    before = node.statistics()
    node.receive_datagram(krpc_writer.response(b"guess", b"f" * 20), address_of(99), now=network.now)
    after = node.statistics()
    assert after["nodes"] == before["nodes"]
    assert after["asking: not asked for"] == 1
    node.receive_datagram(b"rubbish", address_of(99), now=network.now)
    assert node.statistics()["answering: malformed"] == 1


def test_what_cannot_be_is_refused() -> None:
    node = DhtNode(SeededEntropy(1), now=0.0)
    families: Sequence[tuple[int, ...]] = ((), (4,))
    for each in families:
        with pytest.raises(UsageError, match="families"):
            DhtNode(SeededEntropy(1), now=0.0, families=each)
    with pytest.raises(UsageError, match="ports"):
        node.announce(HASH, 0, now=0.0)
    with pytest.raises(KrpcError, match="205"):
        node.put(Item(value=b"1000:" + bytes(1000)), now=0.0)


def test_an_answer_says_who_we_are() -> None:
    node = DhtNode(SeededEntropy(1), now=0.0, version=b"LR\0\1")
    query = krpc_writer.query(GET_PEERS, b"aa", b"x" * 20, info_hash=HASH)
    node.receive_datagram(query, FIRST, now=1.0)
    ((data, address),) = node.datagrams_to_send()
    answer = krpc.parse(data)
    assert (address, answer.version, answer.id) == (FIRST, b"LR\0\1", node.node_id)


def test_a_node_that_lost_everybody_begins_anew_without_waiting_long() -> None:
    network = joined(3)
    network.run(4000.0)
    node = network.nodes[address_of(1)]
    network.silent.update(network.nodes)
    while len(node.tables):
        network.run(60.0)
    network.run(20.0)
    network.silent.clear()
    network.run(200.0)
    assert len(node.tables) >= 1


def targets_asked_for(node: DhtNode, seconds: range) -> list[bytes]:
    """Call a node each second, while the one that it knows answers; return what it asks for."""
    near = node.tables.by_size[6].target_in(5, bytes(20))
    targets = []
    for second in seconds:
        node.tables.heard(near, FIRST, now=float(second))
        node.handle_timer(now=float(second))
        targets += [krpc.parse(data).target for data, _ in node.datagrams_to_send()]
    return [target for target in targets if target is not None]


def test_buckets_in_which_nobody_answers_are_looked_into() -> None:
    node = DhtNode(SeededEntropy(1), now=0.0)
    node._beginning._due = 10_000.0
    asked = targets_asked_for(node, range(895, 960))
    assert {shared_bits(target, node.node_id) for target in asked} == {0, 1, 2, 3, 4}


def test_who_knows_somebody_asks_for_itself_and_for_the_other_half() -> None:
    node = DhtNode(SeededEntropy(1), now=0.0)
    asked = targets_asked_for(node, range(9, 15))
    assert [shared_bits(target, node.node_id) for target in asked] == [160, 0]


def test_what_is_too_old_is_forgotten() -> None:
    node = DhtNode(SeededEntropy(1), now=0.0)
    node.answerer.peers.announce(HASH, FIRST, now=0.0)
    node.handle_timer(now=1799.0)
    assert node.statistics()["hashes"] == 1
    node.handle_timer(now=1860.0)
    assert node.statistics()["hashes"] == 0


def apart(number: int) -> bytes:
    """Return an address in a network of its own."""
    return bytes([64 + number, number, 113, 7, 26, 225])


def far_apart(count: int = 20) -> Joined:
    network = Joined()
    for number in range(count):
        network.add(apart(number), bootstrap=[apart(0)] * (number > 0))
        network.run(0.2)
    return network


def is_known(network: Joined, node: DhtNode, address: bytes) -> bool:
    return any(
        each == (node.node_id, address)
        for other in network.nodes.values()
        for each in ((node_id, where) for node_id, where, _ in other.tables.by_size[6].nodes())
    )


def test_a_node_takes_an_id_that_is_bound_to_the_address_that_others_see() -> None:
    network = far_apart()
    before = {address: node.node_id for address, node in network.nodes.items()}
    network.run(60.0)
    for address, node in network.nodes.items():
        assert node.external_addresses == {6: address}
        assert node.node_id != before[address]
        assert is_bound_to(node.node_id, address)
        assert is_known(network, node, address)
        assert len(node.tables) >= 15


def test_what_is_under_way_goes_on_while_the_id_changes() -> None:
    network = far_apart()
    one, other = apart(3), apart(7)
    assert not is_bound_to(network.nodes[one].node_id, one)
    network._run_until(60.0, lambda: network.nodes[one].external_addresses != {})
    begun = network.nodes[one].announce(HASH, 4000, now=network.now)
    old = network.nodes[one].node_id
    network.look_after(one)
    network.nodes[one]._keep_fresh(network.now)
    assert network.nodes[one].node_id != old
    assert network.outcome(one, begun).stored >= 8
    found = network.outcome(other, network.nodes[other].find_peers(HASH, now=network.now))
    assert found.peers == [one[:4] + (4000).to_bytes(2)]


def test_liars_in_a_few_networks_do_not_move_a_node() -> None:
    network = far_apart()
    network.run(60.0)
    ids = {address: node.node_id for address, node in network.nodes.items()}
    liars = {apart(number) for number in range(6)}

    def forge(data: bytes, source: bytes, target: bytes) -> bytes:
        message = krpc.parse(data)
        if source not in liars or message.kind != krpc.RESPONSE or message.id is None:
            return data
        seen_as = compact("198.51.100.99", 1)
        return krpc_writer.response(message.transaction_id, message.id, nodes=message.nodes, seen_as=seen_as)

    network.forge = forge
    network.run(3000.0)
    honest = network.nodes.keys() - liars
    assert {address: network.nodes[address].node_id for address in honest} == {
        address: ids[address] for address in honest
    }


def test_a_node_changes_its_id_at_most_every_ten_minutes() -> None:
    node = DhtNode(SeededEntropy(1), now=0.0)
    changed = []
    for second in range(0, 3000, 5):
        seen_as = compact(f"198.51.100.{second // 100 + 1}", 6881)
        for number in range(60):
            node._own_addresses.told(seen_as, apart(number), now=float(second))
        before = node.node_id
        node.handle_timer(now=float(second))
        if node.node_id != before:
            changed.append(second)
    assert len(changed) == 5
    assert min(later - sooner for sooner, later in itertools.pairwise(changed)) >= 600


def test_a_node_has_an_id_in_each_family() -> None:
    node = DhtNode(SeededEntropy(1), now=0.0, families=(6, 18))
    four, six = node.node_ids[6], node.node_ids[18]
    assert node.node_id == four != six
    for address, own_id in ((FIRST, four), (compact("2001:db8::1", 6881), six)):
        node.receive_datagram(krpc_writer.query(PING, b"aa", b"x" * 20), address, now=0.0)
        ((data, _),) = node.datagrams_to_send()
        assert krpc.parse(data).id == own_id
    again = DhtNode(SeededEntropy(2), now=0.0, families=(6, 18), saved=node.save())
    assert again.node_ids == node.node_ids
    assert DhtNode(SeededEntropy(2), now=0.0, families=(18,), saved={"id6": six}).node_id == six


def test_a_node_that_is_there_answers_a_ping_with_its_id() -> None:
    network = joined(3)
    one = address_of(1)
    finished = network.outcome(one, network.nodes[one].ping(FIRST, now=network.now))
    assert [(found.node_id, found.address) for found in finished.nodes] == [(network.nodes[FIRST].node_id, FIRST)]
    assert (finished.stored, finished.asked, finished.refusals) == (1, 0, [])


def test_a_ping_that_is_not_answered_finishes_without_a_node_and_a_cancelled_one_not_at_all() -> None:
    network = joined(2)
    one, nobody = address_of(1), address_of(99)
    finished = network.outcome(one, network.nodes[one].ping(nobody, now=network.now))
    assert (finished.nodes, finished.stored) == ([], 0)
    number = network.nodes[one].ping(FIRST, now=network.now)
    network.nodes[one].cancel(number)
    network.look_after(one)
    network.run(30.0)
    assert (one, number) not in network.finished
    assert network.nodes[one].statistics()["operations"] == 0
