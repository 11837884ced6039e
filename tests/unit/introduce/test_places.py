"""Places where two meet who know a number."""

from __future__ import annotations

import random

from librats.introduce.notices import Notice, Op, Refusal
from librats.introduce.passing import Passing
from librats.introduce.places import PlaceLimits, Places

ANN, BOB, EVE = "aa" * 32, "bb" * 32, "ee" * 32


def places(**limits: float) -> Places:
    return Places(random.Random(1).randrange, PlaceLimits(**limits))  # type: ignore[arg-type] # noqa: S311


def is_empty(table: Places, number: int, visitor: str, now: float, source: str = "") -> bool | None:
    try:
        return None if table.visit(number, visitor, now=now, source=source) is None else False
    except LookupError:
        return True


def test_a_place_has_a_small_number_and_is_used_up_by_the_first_visit() -> None:
    table = places()
    number = table.open(ANN, 1, now=0.0)
    assert number is not None
    assert 1 <= number <= 99
    assert table.visit(number, BOB, now=1.0) == ANN
    assert is_empty(table, number, EVE, 1.0)
    assert len(table) == 0


def test_numbers_are_not_given_twice_and_grow_with_their_count() -> None:
    table = places(per_owner=1e9, per_source=1e9, opened_per_minute=1e9)
    numbers = [table.open(ANN, one, now=0.0) for one in range(300)]
    assert len(set(numbers)) == 300
    assert max(number or 0 for number in numbers) <= 999


def test_a_place_is_closed_in_the_end() -> None:
    table = places(lifetime=600.0)
    number = table.open(ANN, 1, now=0.0)
    assert number is not None
    assert is_empty(table, number, BOB, 600.0)
    assert len(table) == 0


def test_an_owner_closes_its_own_places_alone() -> None:
    table = places()
    table.open(ANN, 1, now=0.0)
    table.open(BOB, 1, now=0.0)
    table.close(ANN, 2)
    assert len(table) == 2
    table.close(ANN, 1)
    assert len(table) == 1
    table.left(BOB)
    table.left(BOB)
    assert len(table) == 0


def test_places_are_limited_for_each_owner_source_and_in_all() -> None:
    table = places(per_owner=2)
    assert [table.open(ANN, one, now=0.0) is None for one in range(3)] == [False, False, True]
    table = places(per_source=2)
    assert [table.open(f"{one}", 1, now=0.0, source="net") is None for one in range(3)] == [False, False, True]
    assert table.open(ANN, 1, now=0.0, source="other") is not None
    table = places(total=2)
    assert [table.open(f"{one}", 1, now=0.0, source=f"{one}") is None for one in range(3)] == [False, False, True]
    table = places(opened_per_minute=4.0)
    assert [table.open(f"{one}", 1, now=0.0, source="net") is None for one in range(3)] == [False, False, True]


def test_numbers_cannot_be_tried_out_quickly() -> None:
    table = places(visits_per_minute=10.0)
    tried = [is_empty(table, number, EVE, 0.0, "net") for number in range(1, 100)]
    assert tried.count(True) == 5
    assert tried.count(None) == 94
    assert is_empty(table, 1, BOB, 0.0, "other")


def passing() -> Passing:
    return Passing({ANN: bytes(32)}.get, first=100, places=places())


def test_letters_go_both_ways_between_owner_and_visitor() -> None:
    introducer = passing()
    [(to, told)] = introducer.take(ANN, Notice(Op.OPEN_PLACE, 5), now=0.0)
    assert (to, told.op, told.number) == (ANN, Op.PLACE, 5)
    [(to, visited)] = introducer.take(BOB, Notice(Op.VISIT, 9, place=told.place, letter=b"one"), now=0.0)
    assert (to, visited) == (ANN, Notice(Op.VISITED, 100, place=told.place, letter=b"one"))
    assert introducer.take(ANN, Notice(Op.ANSWER, 100, letter=b"two"), now=0.0) == [
        (BOB, Notice(Op.ANSWERED, 9, letter=b"two"))
    ]
    assert introducer.take(BOB, Notice(Op.ADD, 9, letter=b"three"), now=0.0) == [
        (ANN, Notice(Op.PASSED_ADD, 100, letter=b"three"))
    ]
    assert introducer.take(ANN, Notice(Op.MORE, 100, letter=b"four"), now=0.0) == [
        (BOB, Notice(Op.ADDED, 9, letter=b"four"))
    ]
    [(_, again)] = introducer.take(EVE, Notice(Op.VISIT, 1, place=told.place, letter=b"guess"), now=0.0)
    assert again.code == Refusal.UNKNOWN_PLACE
    assert introducer.counters["visits_passed"] == 1


def test_a_visitor_is_told_when_the_owner_leaves() -> None:
    introducer = passing()
    [(_, told)] = introducer.take(ANN, Notice(Op.OPEN_PLACE, 5), now=0.0)
    introducer.take(BOB, Notice(Op.VISIT, 9, place=told.place, letter=b"one"), now=0.0)
    [(to, gone)] = introducer.left(ANN)
    assert (to, gone.code) == (BOB, Refusal.GONE)


def test_places_of_an_owner_that_has_left_are_gone() -> None:
    introducer = passing()
    [(_, told)] = introducer.take(ANN, Notice(Op.OPEN_PLACE, 5), now=0.0)
    introducer.left(ANN)
    [(_, refused)] = introducer.take(BOB, Notice(Op.VISIT, 9, place=told.place, letter=b"one"), now=0.0)
    assert refused.code == Refusal.UNKNOWN_PLACE


def test_nobody_chooses_a_number_at_somebody_elses() -> None:
    assert Notice.decode(Notice(Op.OPEN_PLACE, 5, place=77).encode()).place == 0


def test_an_introducer_without_places_says_so() -> None:
    introducer = Passing(lambda _: None)
    for op in (Op.OPEN_PLACE, Op.VISIT):
        [(_, refused)] = introducer.take(ANN, Notice(op, 1, place=1, letter=b"x"), now=0.0)
        assert refused.code == Refusal.NOT_ALLOWED
