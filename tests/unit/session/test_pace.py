"""How often something may happen."""

from __future__ import annotations

import random

import pytest

from librats.session.pace import Budget, Pace, PaceTable, wait_for_all


def test_a_burst_then_the_rate() -> None:
    pace = Pace(rate=10, burst=5)
    assert [pace.wait(now=100.0) for _ in range(6)] == [0.0] * 5 + [None]
    assert pace.wait(now=100.05) is None
    assert pace.wait(now=100.1) == 0.0
    assert pace.wait(now=100.1) is None
    assert [pace.wait(now=200.0) for _ in range(6)] == [0.0] * 5 + [None]


def test_who_waits_gets_a_turn_of_his_own() -> None:
    pace = Pace(rate=10, burst=1)
    waits = [pace.wait(now=0.0, at_most=0.35) for _ in range(6)]
    assert waits == [0.0, pytest.approx(0.1), pytest.approx(0.2), pytest.approx(0.3), None, None]


@pytest.mark.parametrize("seed", range(20))
def test_never_more_than_the_burst_and_the_rate(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    rate, burst = chance.uniform(0.5, 500), chance.randrange(1, 50)
    pace = Pace(rate, burst)
    now = 0.0
    happened = []
    for _ in range(2000):
        now += chance.expovariate(rate * chance.choice((0.3, 1, 4)))
        delay = pace.wait(now=now, at_most=chance.choice((0.0, 0.2)))
        if delay is not None:
            happened.append(now + delay)
    assert len(happened) > 200
    happened.sort()
    for first in range(0, len(happened), 37):
        for last in range(first, len(happened), 11):
            span = happened[last] - happened[first]
            assert last - first + 1 <= burst + rate * span + 1e-6


def test_each_key_has_a_pace_of_its_own_and_idle_ones_are_forgotten() -> None:
    table = PaceTable(rate=100, burst=2)
    for number in range(5000):
        now = number * 0.01
        assert table.wait(f"source {number}", now=now) == 0.0
        assert table.wait("busy", now=now) is not None or number == 0
    assert len(table) < 2100
    assert table.wait("busy", now=50.0) == 0.0
    assert [table.wait("new", now=50.0) for _ in range(3)] == [0.0, 0.0, None]


def test_to_ask_books_nothing() -> None:
    pace = Pace(rate=10, burst=2)
    assert [pace.delay(now=0.0), pace.delay(2, now=0.0), pace.delay(3, now=0.0)] == [0.0, 0.0, pytest.approx(0.1)]
    assert [pace.wait(now=0.0) for _ in range(3)] == [0.0, 0.0, None]
    assert pace.delay(now=0.0) == pytest.approx(0.1)
    assert pace.delay(now=0.1) == 0.0


def test_two_budgets_are_asked_before_either_is_booked() -> None:
    few, many = Budget(rate=1, burst=1), Budget(rate=1, burst=10)
    of_few = few.taken(0.0, 1, 0.0)
    assert of_few == 1.0
    assert few.taken(of_few, 1, 0.0) is None
    assert few.taken(of_few, 1, 0.0, 1.0) == 2.0
    assert many.taken(0.0, 10, 0.0) == 10.0


def test_of_ones_own_rate_and_that_of_all_both_are_booked_or_neither() -> None:
    table, common = PaceTable(rate=1, burst=1), Pace(rate=1, burst=2)
    waits = [wait_for_all(table.of(key, now=0.0), common, now=0.0) for key in ("a", "a", "b", "c")]
    assert waits == [0.0, None, 0.0, None]  # the refusal of the second has taken nothing of what all have
    assert table.wait("c", now=0.0) == 0.0  # nor has that of the last taken anything of its own
    assert common.delay(now=0.0) == pytest.approx(1.0)


@pytest.mark.parametrize("order", [1, -1])
def test_who_waits_for_several_rates_waits_for_the_slowest(order: int) -> None:
    slow, fast = Pace(rate=2, burst=1), Pace(rate=4, burst=1)
    both = (slow, fast)[::order]
    assert [wait_for_all(*both, now=0.0, at_most=0.6) for _ in range(3)] == [0.0, pytest.approx(0.5), None]
    assert slow.delay(now=0.0) == pytest.approx(1.0)
    assert fast.delay(now=0.0) == pytest.approx(0.5)


@pytest.mark.parametrize("now", [0.0, 1e6, 1e8])
def test_a_long_time_makes_no_difference(now: float) -> None:
    pace = Pace(rate=3, burst=3)
    for step in range(300):
        assert pace.wait(3, now=now + step, at_most=1e-6) is not None
