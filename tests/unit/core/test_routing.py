"""Ids, which are the nearest, and the routing table: places, spares, who is let in, who is asked, who goes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from librats._core import routing
from librats._core.routing import ADDED, KNOWN, REFUSED, SPARE, RoutingTable, SortedIds
from librats.errors import UsageError

OWN = bytes(20)


def node_id(bucket: int, number: int = 0) -> bytes:
    """Return an id that has that many bits in common with OWN."""
    return (1 << (159 - bucket) | number).to_bytes(20)


def at(host: int, port: int = 6881) -> bytes:
    return (0xC0000200 + host).to_bytes(4) + port.to_bytes(2)


def members(table: RoutingTable) -> set[bytes]:
    return {node for node, _, _ in table.nodes()}


def nearest(ids: list[bytes], target: bytes, count: int) -> list[bytes]:
    return sorted(ids, key=lambda one: int.from_bytes(one) ^ int.from_bytes(target))[:count]


# Ids


@pytest.mark.vectors("dht/xor_distance")
def test_ids_are_put_in_the_order_of_their_distance(case: dict[str, Any]) -> None:
    target = bytes.fromhex(case["target"])
    ids = [bytes.fromhex(one) for one in case["ids"]]
    wanted = [bytes.fromhex(one) for one in case["closest_first"]]
    raw = b"".join(ids)
    assert [ids[number] for number in routing.closest(raw, target, len(ids))] == wanted
    assert SortedIds(raw).closest(target, len(ids)) == b"".join(wanted)
    assert [routing.shared_bits(target, one) for one in wanted] == case["shared_prefix_bits"]
    for one in wanted:
        assert routing.distance(one, target) == int.from_bytes(one) ^ int.from_bytes(target)


@pytest.mark.parametrize("count", [0, 1, 8, 20, 33, 200, 1001])
def test_as_many_as_wanted_are_found_if_there_are_so_many(count: int) -> None:
    chance = random.Random(count)  # noqa: S311 - made-up ids
    ids = [chance.randbytes(20) for _ in range(1000)]
    target = chance.randbytes(20)
    wanted = nearest(ids, target, count)
    assert SortedIds(b"".join(ids)).closest(target, count) == b"".join(wanted)
    assert [ids[number] for number in routing.closest(b"".join(ids), target, count)] == wanted


@pytest.mark.parametrize("count", [1, 8, 60])
def test_the_nearest_are_found_among_many_on_one_side_of_the_target(count: int) -> None:
    chance = random.Random(count)  # noqa: S311 - made-up ids
    for side in (0, 0x80):
        ids = [bytes([side | chance.randrange(0x80)]) + chance.randbytes(19) for _ in range(1000)]
        target = bytes([side ^ 0x80]) + chance.randbytes(19)
        assert SortedIds(b"".join(ids)).closest(target, count) == b"".join(nearest(ids, target, count))


def test_an_array_of_numpy_is_searched_and_taken_as_it_is() -> None:
    ids: Any = np.arange(200, dtype=np.uint8).reshape(10, 20)
    target = ids[7].tobytes()
    assert routing.closest(ids, target, 3)[0] == 7
    kept = SortedIds(ids)
    assert kept.closest(target, 1) == target
    assert (len(kept), target in kept, bytes(20) in kept) == (10, True, False)


def test_the_same_id_is_in_a_set_once() -> None:
    ids = SortedIds(node_id(1) * 3 + node_id(0))
    assert len(ids) == 2
    assert not ids.add(node_id(0))
    ids.update(node_id(0) + node_id(2) + node_id(2))
    assert ids.closest(OWN, 10) == node_id(2) + node_id(1) + node_id(0)
    assert ids.discard(node_id(1))
    assert not ids.discard(node_id(1))
    assert not ids.discard(b"\xff" * 20)
    assert ids.closest(OWN, 10) == node_id(2) + node_id(0)
    assert SortedIds().closest(OWN) == b""


@pytest.mark.parametrize("bad", [b"", bytes(19), bytes(21)])
def test_an_id_of_another_size_is_refused(bad: bytes) -> None:
    ids, table = SortedIds(), RoutingTable(OWN)
    calls: list[Any] = [
        lambda: routing.distance(OWN, bad),
        lambda: routing.shared_bits(bad, OWN),
        lambda: routing.closest(OWN, bad),
        lambda: ids.add(bad),
        lambda: ids.discard(bad),
        lambda: ids.closest(bad),
        lambda: bad in ids,
        lambda: RoutingTable(bad),
        lambda: table.heard(bad, at(1), now=0.0),
        lambda: table.failed(bad, at(1)),
        lambda: table.closest(bad),
        lambda: table.target_in(0, bad),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="20 bytes"):
            call()


def test_what_is_no_number_of_ids_is_refused() -> None:
    with pytest.raises(UsageError, match="number of ids"):
        routing.closest(bytes(39), OWN)
    with pytest.raises(UsageError, match="number of ids"):
        SortedIds().update(bytes(39))
    with pytest.raises(UsageError, match="less than none"):
        routing.closest(OWN, OWN, -1)
    with pytest.raises(UsageError, match="less than none"):
        SortedIds(OWN).closest(OWN, -1)


# The table


def test_a_bucket_has_its_places_and_the_first_ones_have_more() -> None:
    for bucket, places in ((0, 128), (1, 64), (2, 32), (3, 16), (4, 8), (100, 8)):
        table = RoutingTable(OWN)
        verdicts = [table.heard(node_id(bucket, number), at(number), now=0.0) for number in range(places + 9)]
        assert verdicts == [ADDED] * places + [SPARE] * 9
        assert (len(table), table.spares) == (places, 8)


def test_ourselves_are_not_in_the_table() -> None:
    table = RoutingTable(OWN)
    assert table.heard(OWN, at(1), now=0.0) == REFUSED
    assert table.failed(OWN, at(1))
    assert (len(table), table.own_id) == (0, OWN)


def test_who_only_asked_is_no_more_than_a_spare() -> None:
    table = RoutingTable(OWN)
    assert table.heard(node_id(5), at(1), now=0.0, answered=False) == SPARE
    assert (len(table), table.closest(OWN)) == (0, b"")
    assert table.heard(node_id(5), at(1), now=1.0) == ADDED
    assert (len(table), table.spares) == (1, 0)
    assert table.heard(node_id(5), at(1), now=2.0, answered=False) == KNOWN
    assert table.nodes() == [(node_id(5), at(1), 1.0)]


def test_strangers_do_not_push_spares_out_that_answered() -> None:
    table = RoutingTable(OWN)
    for number in range(16):
        table.heard(node_id(5, number), at(number), now=0.0)
    assert table.spares == 8
    for number in range(16, 40):
        assert table.heard(node_id(5, number), at(number), now=9.0, answered=False) == REFUSED
    assert table.heard(node_id(5, 50), at(50), now=9.0) == SPARE
    assert table.heard(node_id(5, 8), at(8), now=9.0, answered=False) == REFUSED


def test_one_network_has_one_node_in_a_bucket() -> None:
    table = RoutingTable(OWN)
    assert table.heard(node_id(5, 1), at(1), now=0.0) == ADDED
    assert table.heard(node_id(5, 2), at(1, 7000), now=0.0) == REFUSED
    assert table.heard(node_id(6, 2), at(1, 7000), now=0.0) == ADDED
    six = RoutingTable(OWN, address_size=18)
    net = bytes.fromhex("20010db800000001")
    assert six.heard(node_id(5, 1), net + bytes(7) + b"\1" + bytes(2), now=0.0) == ADDED
    assert six.heard(node_id(5, 2), net + bytes(7) + b"\2" + bytes(2), now=0.0) == REFUSED
    assert six.heard(node_id(5, 2), net[:7] + b"\2" + bytes(10), now=0.0) == ADDED


@pytest.mark.parametrize("host", [bytes([127, 0, 0, 1]), bytes(15) + b"\1"])
def test_on_the_host_itself_each_port_has_a_place(host: bytes) -> None:
    table = RoutingTable(OWN, address_size=len(host) + 2)
    far = bytes(byte ^ 0xFF for byte in OWN)
    verdicts = [table.heard(far[:-1] + bytes([port]), host + bytes([26, port]), now=1.0) for port in range(3)]
    assert verdicts == [ADDED] * 3


def test_one_network_has_one_spare_in_a_bucket() -> None:
    table = RoutingTable(OWN)
    for number in range(8):
        table.heard(node_id(5, number), at(number), now=0.0)
    for number in range(8, 30):
        table.heard(node_id(5, number), at(100, number), now=0.0, answered=False)
    assert table.spares == 1
    assert table.heard(node_id(5, 31), at(100, 31), now=0.0) == SPARE
    assert table.heard(node_id(5, 32), at(100, 32), now=0.0, answered=False) == SPARE
    assert table.spares == 1
    table.failed(node_id(5, 0), at(0))
    assert node_id(5, 31) in members(table)


def test_an_id_stays_at_its_address_while_that_answers() -> None:
    table = RoutingTable(OWN)
    table.heard(node_id(5), at(1), now=0.0)
    assert table.heard(node_id(5), at(2), now=1.0) == REFUSED
    assert not table.failed(node_id(5), at(1))
    assert table.heard(node_id(5), at(2), now=2.0, answered=False) == REFUSED
    assert table.heard(node_id(5), at(2), now=2.0) == ADDED
    assert table.nodes() == [(node_id(5), at(2), 2.0)]


def test_a_node_that_began_anew_takes_the_place_of_the_old_one() -> None:
    table = RoutingTable(OWN)
    table.heard(node_id(5, 1), at(1), now=0.0)
    assert table.heard(node_id(5, 2), at(1), now=0.0, answered=False) == REFUSED
    assert table.heard(node_id(5, 2), at(1), now=0.0) == ADDED
    assert members(table) == {node_id(5, 2)}


def test_a_node_goes_when_it_failed_three_times_or_a_spare_that_answered_waits() -> None:
    table = RoutingTable(OWN)
    table.heard(node_id(5), at(1), now=0.0)
    table.heard(node_id(5, 9), at(9), now=0.0, answered=False)
    assert [table.failed(node_id(5), at(1)) for _ in range(3)] == [False, False, True]
    assert (len(table), table.spares) == (0, 1)
    for number in range(10):
        table.heard(node_id(5, number), at(number), now=float(number))
    assert table.failed(node_id(5, 3), at(3))
    assert members(table) == {node_id(5, number) for number in range(10) if number not in {3, 8}}
    assert table.spares == 1


def test_failing_elsewhere_is_of_no_account() -> None:
    table = RoutingTable(OWN)
    table.heard(node_id(5), at(1), now=0.0)
    for _ in range(5):
        assert table.failed(node_id(5), at(2))
    assert len(table) == 1
    table.heard(node_id(5, 7), at(7), now=0.0, answered=False)
    assert table.failed(node_id(5, 7), at(7))
    assert table.spares == 0


def test_an_answer_makes_up_for_failures() -> None:
    table = RoutingTable(OWN)
    table.heard(node_id(5), at(1), now=0.0)
    table.failed(node_id(5), at(1))
    table.failed(node_id(5), at(1))
    assert table.closest(OWN) == b""
    assert table.heard(node_id(5), at(1), now=5.0) == KNOWN
    assert table.closest(OWN) == node_id(5) + at(1)
    assert not table.failed(node_id(5), at(1))


def test_a_node_that_failed_makes_room_for_one_that_answers() -> None:
    table = RoutingTable(OWN)
    for number in range(8):
        table.heard(node_id(5, number), at(number), now=0.0)
    table.failed(node_id(5, 2), at(2))
    assert table.heard(node_id(5, 20), at(20), now=1.0) == ADDED
    assert members(table) == {node_id(5, number) for number in (0, 1, 3, 4, 5, 6, 7, 20)}


@pytest.mark.parametrize("address_size", [6, 18])
def test_the_nearest_of_the_table_are_those_of_all_its_nodes(address_size: int) -> None:
    chance = random.Random(3)  # noqa: S311 - made-up ids
    own = chance.randbytes(20)
    table = RoutingTable(own, address_size=address_size)
    for number in range(4000):
        one = chance.randbytes(20) if number % 2 else table.target_in(chance.randrange(60), chance.randbytes(20))
        table.heard(
            one,
            number.to_bytes(4) + bytes(4) + chance.randbytes(10)
            if address_size == 18
            else number.to_bytes(4) + b"\1\2",
            now=0.0,
        )
    known = {one: address for one, address, _ in table.nodes()}
    assert len(known) == len(table) > 400
    for number in range(300):
        target = table.target_in(number % 160, chance.randbytes(20)) if number else own
        for count in (0, 1, 8, 64):
            wanted = b"".join(one + known[one] for one in nearest(list(known), target, count))
            assert table.closest(target, count) == wanted


def test_a_table_can_be_asked_for_64_nodes_at_most() -> None:
    for count in (-1, 65):
        with pytest.raises(UsageError, match="64"):
            RoutingTable(OWN).closest(OWN, count)


@pytest.mark.parametrize("arguments", [{"size": 0}, {"size": 1001}, {"address_size": 4}])
def test_a_table_that_cannot_be_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        RoutingTable(OWN, **arguments)
    with pytest.raises(UsageError, match="6 bytes"):
        RoutingTable(OWN).heard(node_id(1), bytes(18), now=0.0)
    table = RoutingTable(OWN)
    with pytest.raises(UsageError, match="already"):
        table.__init__(OWN)


def test_the_nodes_that_were_silent_longest_are_told() -> None:
    table = RoutingTable(OWN)
    for number, heard in ((1, 5.0), (2, 3.0), (3, 4.0)):
        table.heard(node_id(5, number), at(number), now=heard)
    table.heard(node_id(7), at(9), now=50.0)
    assert table.quiet(now=60.0, seconds=30.0) == [(node_id(5, 2), at(2))]
    assert table.quiet(now=33.5, seconds=30.0) == [(node_id(5, 2), at(2))]
    assert table.quiet(now=32.5, seconds=30.0) == []


def test_spares_to_ping_are_told_where_a_bucket_has_use_for_them() -> None:
    table = RoutingTable(OWN, size=2)
    spares = [(node_id(5, host), at(host)) for host in (1, 2)]
    for spare, address in spares:
        table.heard(spare, address, now=1.0, answered=False)
    assert table.waiting(now=1.0, seconds=30.0) == spares
    table.heard(node_id(5, 3), at(3), now=1.0)
    assert table.waiting(now=1.0, seconds=30.0) == spares
    table.heard(node_id(5, 4), at(4), now=1.0)
    assert table.waiting(now=30.0, seconds=30.0) == []
    assert table.waiting(now=31.0, seconds=30.0) == spares
    table.heard(node_id(5, 3), at(3), now=40.0)
    table.heard(node_id(5, 4), at(4), now=40.0)
    assert table.waiting(now=41.0, seconds=30.0) == []
    table.failed(node_id(5, 4), at(4))
    assert table.waiting(now=41.0, seconds=30.0) == spares
    table.heard(*spares[1], now=42.0)
    assert table.waiting(now=42.0, seconds=30.0) == []


def test_buckets_in_which_nobody_answered_are_told_as_far_as_there_are_nodes() -> None:
    table = RoutingTable(OWN)
    assert table.stale(now=1000.0, seconds=900.0) == []
    table.heard(node_id(3), at(1), now=500.0)
    table.heard(node_id(1), at(2), now=50.0)
    assert table.stale(now=1000.0, seconds=900.0) == [0, 1, 2]
    table.heard(node_id(1), at(2), now=999.0)
    assert table.stale(now=1000.0, seconds=900.0) == [0, 2]


@pytest.mark.parametrize("bucket", [0, 1, 63, 64, 65, 127, 128, 129, 159])
def test_a_target_falls_into_its_bucket(bucket: int) -> None:
    own = random.Random(bucket).randbytes(20)  # noqa: S311 - a made-up id
    table = RoutingTable(own)
    for chance in (own, bytes(20), b"\xff" * 20, b"\x55" * 20):
        assert routing.shared_bits(own, table.target_in(bucket, chance)) == bucket
    for bad in (-1, 160):
        with pytest.raises(UsageError):
            table.target_in(bad, own)
