"""The tables of both families: an id in each, and taking another one."""

from __future__ import annotations

import pytest

from librats import UsageError
from librats.dht.addresses import compact
from librats.dht.node_ids import bound_node_id
from librats.dht.tables import Tables
from librats.testing.entropy import SeededEntropy

FOUR, SIX = b"4" * 20, b"6" * 20


def filled(count: int = 300) -> Tables:
    tables, entropy = Tables(FOUR, own_id6=SIX), SeededEntropy(1)
    for number in range(count):
        tables.heard(entropy.token_bytes(20), compact(f"203.{number >> 8}.{number & 255}.7", 6881), now=float(number))
    return tables


def test_each_family_has_an_id_of_its_own() -> None:
    tables = Tables(FOUR, own_id6=SIX)
    assert tables.own_ids == {6: FOUR, 18: SIX}
    assert [tables.by_size[size].own_id for size in (6, 18)] == [FOUR, SIX]
    assert Tables(FOUR).own_ids == {6: FOUR, 18: FOUR}


def test_with_another_id_the_nodes_are_known_that_have_a_place_there() -> None:
    tables = filled()
    before = {node for node, _, _ in tables.by_size[6].nodes()}
    tables.take_id(b"\x81" * 20, 6)
    after = {node: heard for node, _, heard in tables.by_size[6].nodes()}
    assert tables.own_ids == {6: b"\x81" * 20, 18: SIX}
    assert tables.by_size[6].own_id == b"\x81" * 20
    assert after.keys() <= before
    assert len(after) > len(before) // 2
    assert all(tables.by_size[6].heard(node, b"\1\2\3\4\5\6", now=999.0) == 0 for node in after)
    with pytest.raises(UsageError, match="20 bytes"):
        tables.take_id(b"short", 6)


def test_what_was_saved_is_read_again() -> None:
    tables = filled()
    tables.heard(b"n" * 20, compact("2001:db8::7", 6881), now=1.0)
    own_ids, nodes = Tables.load(tables.save())
    assert own_ids == {6: FOUR, 18: SIX}
    assert {node_id for node_id, _ in nodes} == {
        node for table in tables.by_size.values() for node, _, _ in table.nodes()
    }


def test_of_a_table_that_was_saved_with_one_id_that_one_is_taken() -> None:
    assert Tables.load({"id": FOUR, "nodes": []}) == ({6: FOUR}, [])
    assert Tables.load({b"id": b"short", b"id6": SIX}) == ({18: SIX}, [])


def test_where_ids_must_be_bound_others_are_refused() -> None:
    tables = Tables(FOUR, require_bound=True)
    address = compact("203.0.113.9", 6881)
    assert tables.heard(b"n" * 20, address, now=0.0) == 0
    assert tables.heard(bound_node_id("203.0.113.9", bytes(20)), address, now=0.0) == 1
