"""A whole node, among a few others."""

from __future__ import annotations

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
from librats.dht.node_ids import bound_node_id
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
    node._next_beginning = 10_000.0
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


@pytest.mark.parametrize("count", [2000, pytest.param(200_000, marks=pytest.mark.long)])
def test_mutated_packets_do_no_harm(count: int) -> None:
    entropy = SeededEntropy(7)
    node = DhtNode(SeededEntropy(1), now=0.0, bootstrap=[FIRST])
    item = sign_item("value", seed=SEED, sequence=1)
    asked = {"target": HASH, "info_hash": HASH, "token": b"t", "port": 1, "want": [b"n4", b"n6"], "scrape": True}
    signed = {"item": item.value, "key": item.key, "signature": item.signature, "sequence": 1}
    packets = [krpc_writer.query(method, b"aa", b"x" * 20, **asked, **signed) for method in range(1, 8)]  # type: ignore[arg-type]
    for number in range(count):
        now = number * 0.01
        out = node.datagrams_to_send()
        if out and number % 3 == 0:
            tid = krpc.parse(out[0][0]).transaction_id or b""
            told = entropy.token_bytes(20) + address_of(number & 0xFFFF)
            packet = krpc_writer.response(tid, b"y" * 20, nodes=told * 3, values=[told[20:]], token=b"t", item=b"1:v")
            source = out[0][1]
        else:
            packet, source = packets[number % len(packets)], address_of(entropy.randbelow(500))
        data = bytearray(packet)
        for _ in range(entropy.randbelow(3)):
            data[entropy.randbelow(len(data))] = entropy.randbelow(256)
        node.receive_datagram(bytes(data[: len(data) - entropy.randbelow(2)]), source, now=now)
        if number % 50 == 0:
            node.handle_timer(now=now)
    node.datagrams_to_send()
    node.receive_datagram(krpc_writer.query(PING, b"aa", b"x" * 20), compact("198.51.100.9", 1), now=count * 0.01)
    assert len(node.datagrams_to_send()) == 1


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
