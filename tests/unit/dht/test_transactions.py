"""Queries under way: who answers them, how long is waited, and what the table is told."""

from __future__ import annotations

import pytest

from librats._core import krpc, krpc_writer
from librats._core.krpc import KrpcMessage
from librats.dht.addresses import compact
from librats.dht.node_ids import bound_node_id
from librats.dht.tables import Tables
from librats.dht.transactions import Query, Transactions, Wait
from librats.testing.entropy import SeededEntropy

OWN, NODE, OTHER = b"o" * 20, b"n" * 20, b"p" * 20
ADDRESS, ELSEWHERE = compact("198.51.100.7", 6881), compact("198.51.100.8", 6881)


def some() -> tuple[Transactions, Tables]:
    tables = Tables(OWN)
    return Transactions(tables, SeededEntropy(1)), tables


def response(query: Query, node_id: bytes = NODE) -> KrpcMessage:
    return krpc.parse(krpc_writer.response(query.transaction_id, node_id))


def test_an_answer_finds_its_query_once_and_gives_the_node_a_place() -> None:
    transactions, tables = some()
    query = transactions.begin(ADDRESS, now=0.0, node_id=NODE, context="why")
    assert transactions.is_under_way(query)
    assert transactions.answered(response(query), ADDRESS, now=0.1) is query
    assert query.context == "why"
    assert tables.closest(NODE, 6) == NODE + ADDRESS
    assert transactions.answered(response(query), ADDRESS, now=0.1) is None
    assert (len(transactions), transactions.next_timer()) == (0, None)
    assert transactions.counts == {"answers": 1, "not asked for": 1}


def test_an_answer_from_another_address_is_refused_and_the_right_one_still_counts() -> None:
    transactions, tables = some()
    query = transactions.begin(ADDRESS, now=0.0)
    for source in (ELSEWHERE, ADDRESS[:4] + b"\0\1"):
        assert transactions.answered(response(query), source, now=0.1) is None
    assert len(tables) == 0
    assert transactions.answered(response(query), ADDRESS, now=0.2) is query


def test_a_node_under_another_id_is_another_node() -> None:
    transactions, tables = some()
    tables.heard(NODE, ADDRESS, now=0.0)
    query = transactions.begin(ADDRESS, now=1.0, node_id=NODE)
    transactions.answered(response(query, OTHER), ADDRESS, now=1.1)
    assert NODE not in tables.closest(NODE, 6)
    assert tables.closest(NODE, 6) == OTHER + ADDRESS


def test_an_error_ends_a_query_and_gives_no_place() -> None:
    transactions, tables = some()
    query = transactions.begin(ADDRESS, now=0.0, node_id=NODE)
    error = krpc.parse(krpc_writer.error(query.transaction_id, 202, b"Server Error"))
    assert transactions.answered(error, ADDRESS, now=0.1) is query
    assert len(tables) == 0


def test_an_answer_without_an_id_is_none() -> None:
    transactions, _ = some()
    query = transactions.begin(ADDRESS, now=0.0)
    nothing = krpc.parse(b"d1:rde1:t4:" + query.transaction_id + b"1:y1:re")
    assert transactions.answered(nothing, ADDRESS, now=0.1) is None
    assert transactions.is_under_way(query)


def test_a_query_is_late_first_and_fails_later_and_the_node_goes_with_the_third() -> None:
    transactions, tables = some()
    tables.heard(NODE, ADDRESS, now=0.0)
    for number in range(3):
        begun = 10.0 * number
        query = transactions.begin(ADDRESS, now=begun, node_id=NODE)
        assert transactions.next_timer() == begun + 1.0
        assert transactions.handle_timer(now=begun + 0.9) == []
        assert transactions.handle_timer(now=begun + 1.0) == [query]
        assert query.late
        assert transactions.is_under_way(query)
        assert transactions.next_timer() == begun + 4.0
        assert len(tables) == 1
        assert transactions.handle_timer(now=begun + 4.0) == [query]
        assert not transactions.is_under_way(query)
    assert len(tables) == 0
    assert transactions.counts["failed"] == 3


def test_a_late_answer_counts() -> None:
    transactions, tables = some()
    query = transactions.begin(ADDRESS, now=0.0, node_id=NODE)
    transactions.handle_timer(now=1.0)
    assert transactions.answered(response(query), ADDRESS, now=3.0) is query
    assert transactions.handle_timer(now=9.0) == []
    assert len(tables) == 1
    assert transactions.counts["late answers"] == 1


def test_a_machine_that_slept_past_both_times_fails_a_query_once() -> None:
    transactions, _ = some()
    query = transactions.begin(ADDRESS, now=0.0)
    assert transactions.handle_timer(now=100.0) == [query]
    assert transactions.handle_timer(now=200.0) == []


def test_how_long_is_waited_follows_the_node_and_for_a_stranger_all_of_them() -> None:
    transactions, _ = some()
    now = 0.0
    for address, seconds in ((ADDRESS, 0.02), (ELSEWHERE, 0.4)) * 40:
        query = transactions.begin(address, now=now)
        transactions.answered(response(query), address, now=now + seconds)
        now += 1.0
    stranger = compact("198.51.100.9", 6881)
    assert transactions.late_after(ADDRESS) == pytest.approx(Wait().least)
    assert transactions.late_after(ELSEWHERE) == pytest.approx(0.4, rel=0.1)
    assert 0.5 < transactions.late_after(stranger) < 1.5


def test_waiting_has_bounds() -> None:
    transactions = Transactions(Tables(OWN), SeededEntropy(1), wait=Wait(first=2.0, most=0.5))
    assert transactions.late_after(ADDRESS) == 2.0
    query = transactions.begin(ADDRESS, now=0.0)
    transactions.answered(response(query), ADDRESS, now=5.0)
    assert transactions.late_after(ADDRESS) == 0.5


def test_where_ids_must_be_bound_only_such_a_node_gets_a_place() -> None:
    tables = Tables(OWN, require_bound=True)
    transactions = Transactions(tables, SeededEntropy(1))
    for node_id, places in ((NODE, 0), (bound_node_id("198.51.100.7", bytes(20)), 1)):
        query = transactions.begin(ADDRESS, now=0.0)
        assert transactions.answered(response(query, node_id), ADDRESS, now=0.1) is query
        assert len(tables) == places


def test_transaction_ids_are_not_used_twice_at_a_time() -> None:
    class Repeating(SeededEntropy):
        def token_bytes(self, size: int) -> bytes:
            return bytes([super().token_bytes(1)[0] % 4]) * size

    transactions = Transactions(Tables(OWN), Repeating(1))
    assert len({transactions.begin(ADDRESS, now=0.0).transaction_id for _ in range(4)}) == 4
