"""Who makes room when too many handshakes are under way."""

from __future__ import annotations

from dataclasses import dataclass

from librats.peers.entry.half_open import HalfOpenTable


@dataclass(eq=False)
class Connection:
    name: str
    opening_step: int = 0


def table_of(limit: int, source_limit: int) -> HalfOpenTable[Connection]:
    return HalfOpenTable(limit, source_limit)


def test_the_oldest_of_a_source_at_its_limit_makes_room() -> None:
    table = table_of(100, 3)
    connections = [Connection(str(number)) for number in range(5)]
    evicted = [table.add("one", connection) for connection in connections]
    assert evicted[:3] == [None] * 3
    assert evicted[3:] == [(connections[n], "max_half_open_per_source") for n in (0, 1)]
    assert (len(table), table.most_of_a_source) == (3, 3)


def test_one_that_has_come_further_stays() -> None:
    table = table_of(100, 3)
    first, second = Connection("first", opening_step=2), Connection("second")
    for connection in (first, second, Connection("third")):
        table.add("one", connection)
    assert table.add("one", Connection("fourth")) == (second, "max_half_open_per_source")


def test_the_source_with_the_most_makes_room_for_the_others() -> None:
    table = table_of(10, 8)
    honest = Connection("honest")
    table.add("honest", honest)
    flood = [Connection(str(number)) for number in range(200)]
    evicted = [table.add("flood", connection) for connection in flood]
    others = [table.add(f"other {number}", Connection("other")) for number in range(4)]
    gone = {entry[0] for entry in [*evicted, *others] if entry is not None}
    assert honest not in gone
    assert gone <= set(flood)
    assert others[0] is None
    assert all(entry is not None and entry[1] == "max_half_open" for entry in others[1:])
    assert len(table) == 10


def test_what_is_over_is_forgotten_once() -> None:
    table = table_of(4, 4)
    connection = Connection("it")
    table.add("one", connection)
    for _ in range(2):
        table.remove("one", connection)
        table.remove("nobody", connection)
    assert (len(table), table.most_of_a_source) == (0, 0)
    assert table.add("one", connection) is None
