"""Lookups: whom they ask, when they end, and what they do not believe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from librats._core import krpc, krpc_writer
from librats._core.krpc import KrpcMessage
from librats._core.routing import distance
from librats.dht.addresses import compact
from librats.dht.items import Item, immutable_target, sign_item
from librats.dht.lookup import MOST_NODES_TOLD, Lookup, Wanted
from librats.dht.node_ids import bound_node_id
from librats.errors import UsageError

TARGET = bytes(20)
SEED = bytes(32)


def node(far: int, host: int | None = None) -> tuple[bytes, bytes]:
    """Return a node: the higher the number, the farther it is from the target."""
    return bytes([far]) + b"n" * 19, compact(f"203.0.113.{far if host is None else host}", 6881)


def compact_nodes(nodes: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join(node_id + address for node_id, address in nodes)


def response(node_id: bytes, nodes: Sequence[tuple[bytes, bytes]] = (), **fields: Any) -> KrpcMessage:
    return krpc.parse(krpc_writer.response(b"aa", node_id, nodes=compact_nodes(nodes), **fields))


def ids(lookup: Lookup) -> list[int]:
    return [found.node_id[0] for found in lookup.closest()]


def run(lookup: Lookup, known: dict[int, list[int]], **fields: Any) -> list[int]:
    """Let nodes answer with those that they know; return who was asked, in order."""
    asked = []
    while not lookup.is_done:
        for one in lookup.to_ask():
            assert one.node_id is not None
            far = one.node_id[0]
            asked.append(far)
            if far in known:
                lookup.answered(one.address, response(one.node_id, [node(other) for other in known[far]], **fields))
            else:
                lookup.failed(one.address)
    return asked


def test_the_nearest_nodes_are_found_and_those_farther_are_not_asked() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, size=3, parallel=1)
    lookup.add_known([node(200)])
    known = {200: [100, 90, 80, 70], 70: [30, 20, 10], 10: [20, 30, 40], 20: [10], 30: [10], 40: []}
    assert run(lookup, known, token=b"t") == [200, 70, 10, 20, 30]
    assert ids(lookup) == [10, 20, 30]
    assert lookup.closest()[0] == (*node(10), b"t")
    assert lookup.hops == 3


def test_so_many_are_asked_at_a_time() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, parallel=3)
    lookup.add_known([node(far) for far in range(1, 9)])
    first = lookup.to_ask()
    assert [one.node_id for one in first] == [node(far)[0] for far in (1, 2, 3)]
    assert lookup.to_ask() == []
    lookup.answered(first[1].address, response(node(2)[0]))
    assert [one.node_id for one in lookup.to_ask()] == [node(4)[0]]


def test_twice_as_many_are_asked_once_nobody_is_known_who_may_be_nearer() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, parallel=2)
    lookup.add_known([node(far) for far in range(1, 9)])
    first, _ = lookup.to_ask()
    lookup.answered(first.address, response(node(1)[0]))
    assert [one.node_id for one in lookup.to_ask()] == [node(far)[0] for far in (3, 4, 5)]


def test_at_the_end_those_are_asked_too_who_are_next_where_one_fails() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, size=2, parallel=2)
    lookup.add_known([node(far) for far in range(1, 9)])
    first, second = lookup.to_ask()
    assert lookup.to_ask() == []
    lookup.answered(first.address, response(node(1)[0]))
    third, fourth = lookup.to_ask()
    assert [one.node_id for one in (third, fourth)] == [node(3)[0], node(4)[0]]
    lookup.answered(third.address, response(node(3)[0]))
    assert lookup.to_ask() == []
    before = lookup.is_done
    lookup.late(second.address)
    assert (before, lookup.is_done) == (False, True)
    assert ids(lookup) == [1, 3]


def test_a_late_node_holds_up_nobody_and_its_answer_still_counts() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, size=2, parallel=1)
    lookup.add_known([node(far) for far in (1, 2, 3)])
    (first,) = lookup.to_ask()
    lookup.late(first.address)
    for far in (2, 3):
        (asked,) = lookup.to_ask()
        assert not lookup.is_done
        lookup.answered(asked.address, response(node(far)[0]))
    assert lookup.is_done
    assert ids(lookup) == [2, 3]
    lookup.answered(first.address, response(node(1)[0]))
    assert ids(lookup) == [1, 2]


def test_where_there_are_too_few_a_late_node_is_waited_for() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, size=2)
    lookup.add_known([node(1)])
    (asked,) = lookup.to_ask()
    lookup.late(asked.address)
    assert not lookup.is_done
    lookup.failed(asked.address)
    assert lookup.is_done


def test_a_lookup_of_nobody_is_done() -> None:
    assert Lookup(TARGET, Wanted.NODES).is_done


def test_so_many_are_asked_at_the_most() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, most_asked=5)
    lookup.add_known([node(far) for far in range(1, 100)])
    assert len(run(lookup, {})) == 5


def test_a_node_to_begin_with_is_asked_last_and_gets_its_own_id() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, parallel=1)
    lookup.add_known([(None, node(9)[1]), node(20)])
    (asked,) = lookup.to_ask()
    assert asked.node_id == node(20)[0]
    lookup.answered(asked.address, response(node(20)[0]))
    (asked,) = lookup.to_ask()
    assert asked.node_id is None
    lookup.answered(asked.address, response(node(9)[0]))
    assert ids(lookup) == [9, 20]


def test_peers_are_found_and_enough_are_enough() -> None:
    lookup = Lookup(TARGET, Wanted.PEERS, enough_peers=2)
    lookup.add_known([node(1), node(2)])
    first, second = lookup.to_ask()
    values = [compact("198.51.100.1", 1), compact("192.168.0.1", 1), b"short"]
    lookup.answered(first.address, response(node(1)[0], values=values))
    assert lookup.peers == values[:1]
    assert lookup.to_ask() == []
    lookup.answered(second.address, response(node(2)[0], values=[*values[:1], compact("198.51.100.2", 1)]))
    assert lookup.is_done
    assert len(lookup.peers) == 2


def test_a_valid_immutable_item_ends_it_and_another_is_a_lie() -> None:
    lookup = Lookup(immutable_target(b"5:hello"), Wanted.ITEM, parallel=1)
    lookup.add_known([node(1), node(2)])
    (asked,) = lookup.to_ask()
    assert asked.node_id is not None
    lookup.answered(asked.address, response(asked.node_id, item=b"5:wrong"))
    assert (lookup.item, lookup.liars, lookup.closest()) == (None, 1, [])
    (asked,) = lookup.to_ask()
    assert asked.node_id is not None
    lookup.answered(asked.address, response(asked.node_id, item=b"5:hello"))
    assert lookup.item == Item(value=b"5:hello")
    assert lookup.is_done
    assert lookup.to_ask() == []


def test_of_mutable_items_the_newest_valid_one_wins() -> None:
    items = [sign_item(text, seed=SEED, sequence=sequence, salt=b"s") for sequence, text in enumerate(("a", "b", "c"))]
    lookup = Lookup(items[0].target, Wanted.ITEM, salt=b"s", parallel=6)
    lookup.add_known([node(far) for far in range(1, 7)])
    forged = {"sequence": 9, "signature": items[1].signature}
    answers: list[dict[str, Any]] = [
        {"item": one.value, "key": one.key, "signature": one.signature, "sequence": one.sequence, **changes}
        for one, changes in (
            (items[1], {}),
            (items[0], {}),
            (items[2], forged),
            (items[2], {"signature": None}),
            (sign_item("d", seed=b"x" * 32, sequence=8, salt=b"s"), {}),
        )
    ]
    for asked, fields in zip(lookup.to_ask(), [*answers, {}], strict=True):
        assert asked.node_id is not None
        lookup.answered(asked.address, response(asked.node_id, **fields))
    assert lookup.item == items[1]
    assert lookup.liars == 3
    assert len(lookup.closest()) == 3
    assert lookup.is_done


def test_addresses_that_a_node_may_not_tell_are_not_asked() -> None:
    lookup = Lookup(TARGET, Wanted.NODES)
    lookup.add_known([node(9)])
    (asked,) = lookup.to_ask()
    told = [
        (bytes([far]) * 20, compact(host, 6881)) for far, host in ((1, "127.0.0.1"), (2, "10.0.0.1"), (3, "0.1.2.3"))
    ]
    lookup.answered(asked.address, response(node(9)[0], told))
    assert lookup.to_ask() == []
    assert lookup.liars == 1


def test_a_host_counts_once_and_so_does_an_id_and_our_own_not_at_all() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, is_ours=lambda node_id, address: node_id == node(5)[0])
    lookup.add_known([node(9)])
    (asked,) = lookup.to_ask()
    told = [node(1), node(2, 1), (node(1)[0], node(3)[1]), node(5)]
    lookup.answered(asked.address, response(node(9)[0], told))
    assert [one.node_id for one in lookup.to_ask()] == [node(1)[0]]


def test_an_answer_brings_so_many_nodes_at_the_most_and_broken_ones_none() -> None:
    for cut, expected in ((0, MOST_NODES_TOLD), (1, 0)):
        lookup = Lookup(TARGET, Wanted.NODES, parallel=100, size=100)
        lookup.add_known([node(255)])
        (asked,) = lookup.to_ask()
        nodes = compact_nodes([node(far) for far in range(1, 60)])
        lookup.answered(asked.address, krpc.parse(krpc_writer.response(b"aa", node(255)[0], nodes=nodes[cut:])))
        assert len(lookup.to_ask()) == expected


def test_a_node_whose_nodes_do_not_answer_brings_no_more_of_them() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, parallel=1)
    lookup.add_known([node(200), node(100)])
    known = {100: list(range(1, 17)), 200: [150]}
    asked = run(lookup, {**known, 150: []})
    assert asked == [100, 1, 2, 3, 4, 200, 150]
    assert ids(lookup) == [100, 150, 200]


def bound(near: int, host: str) -> tuple[bytes, bytes]:
    """Return a node whose id is bound to its address: the lower the number, the nearer it is among those of a host."""
    return bound_node_id(host, bytes([near]) * 20), compact(host, 6881)


HOSTS = sorted((f"198.51.{number}.9" for number in range(40)), key=lambda host: bound(0, host)[0])


def test_the_nearest_with_bound_ids_are_found_however_many_others_are_nearer() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, size=3)
    honest = [bound(0, host) for host in HOSTS[:6]]
    near = [(bytes(3) + bytes([number]) + b"n" * 16, compact(f"203.0.{number}.113", 6881)) for number in range(1, 30)]
    lookup.add_known([*near, *honest])
    while not lookup.is_done:
        for one in lookup.to_ask():
            assert one.node_id is not None
            lookup.answered(one.address, response(one.node_id))
    found = [each.address for each in lookup.closest()]
    assert found == [address for _, address in (*near[:3], *honest[:3])]


def test_nodes_with_bound_ids_and_others_are_asked_in_turn() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, parallel=1)
    honest = [bound(0, host) for host in HOSTS[:3]]
    lookup.add_known([*(node(far) for far in (1, 2)), *honest])
    asked = []
    while not lookup.is_done:
        for one in lookup.to_ask():
            asked.append(one.address)
            assert one.node_id is not None
            lookup.answered(one.address, response(one.node_id))
    kinds = [address in {each for _, each in honest} for address in asked]
    assert kinds == [True, False, True, False, True]


def test_dead_nodes_that_those_told_of_who_were_told_of_do_not_go_on_for_ever() -> None:
    # Each answers, and tells of the next one and of many nearer ones that do not answer.
    lookup = Lookup(TARGET, Wanted.NODES, parallel=1)
    lookup.add_known([bound(0, HOSTS[-1])])
    chain = [node(200 - number) for number in range(50)]
    dead = iter(f"203.{number >> 8}.{number & 255}.9" for number in range(9999))
    at = {bound(0, HOSTS[-1])[1]: 0, **{address: number + 1 for number, (_, address) in enumerate(chain)}}
    failed = 0
    while not lookup.is_done:
        (one,) = lookup.to_ask()
        assert one.node_id is not None
        place = at.get(one.address)
        if place is None:
            failed += 1
            lookup.failed(one.address)
            continue
        told = [bound(0, next(dead)) for _ in range(15)]
        lookup.answered(one.address, response(one.node_id, [*chain[place : place + 1], *told]))
    assert lookup.asked - failed >= 8
    assert failed <= 4


def test_a_node_under_another_id_has_failed() -> None:
    lookup = Lookup(TARGET, Wanted.NODES)
    lookup.add_known([node(9)])
    (asked,) = lookup.to_ask()
    lookup.answered(asked.address, response(node(1)[0]))
    assert lookup.closest() == []
    assert lookup.is_done


def test_where_ids_must_be_bound_others_are_not_asked() -> None:
    lookup = Lookup(TARGET, Wanted.NODES, require_bound=True)
    bound = bound_node_id("203.0.113.7", bytes(20))
    lookup.add_known([node(1), (bound, node(7)[1])])
    assert [one.node_id for one in lookup.to_ask()] == [bound]


def test_answers_of_nodes_that_were_not_asked_are_nothing() -> None:
    lookup = Lookup(TARGET, Wanted.PEERS)
    lookup.add_known([node(1)])
    lookup.answered(node(1)[1], response(node(1)[0], values=[compact("198.51.100.1", 1)]))
    lookup.failed(node(1)[1])
    lookup.late(node(2)[1])
    assert lookup.peers == []
    assert len(lookup.to_ask()) == 1


def test_the_nearest_are_kept_where_there_are_very_many() -> None:
    lookup = Lookup(TARGET, Wanted.NODES)
    nodes = [
        (number.to_bytes(2) + bytes(18), bytes([203, 0, number >> 8, number & 255, 0, 1])) for number in range(1, 999)
    ]
    lookup.add_known(reversed(nodes))
    asked = [one.node_id for one in lookup.to_ask()]
    assert asked == [node_id for node_id, _ in nodes[:4]]
    assert distance(nodes[0][0], TARGET) < distance(nodes[1][0], TARGET)


def test_what_cannot_be_is_refused() -> None:
    for changes in ({"target": b"short"}, {"size": 0}, {"parallel": 0}, {"enough_peers": -1}):
        arguments: dict[str, Any] = {"target": TARGET, "wanted": Wanted.NODES, **changes}
        with pytest.raises(UsageError, match="a lookup needs"):
            Lookup(arguments.pop("target"), arguments.pop("wanted"), **arguments)
