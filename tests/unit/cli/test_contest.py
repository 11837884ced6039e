"""Rounds of measurements, what is made of them, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from librats.cli.measuring.contest import Contender, Contest, Sample, Target, at_least, at_most
from librats.cli.measuring.table import as_number, table_of


def contest_of(ours: list[float], theirs: list[float], more_is_better: bool = True) -> Contest:
    def each(values: list[float]) -> Contender:
        given: Iterator[float] = iter(values)
        name = "librats" if values is ours else "rival"
        return Contender(name, lambda: Sample(next(given), cpu=2.0))

    contest = Contest("speed", "things/s", [each(ours), each(theirs)], cpu_unit="us", more_is_better=more_is_better)
    for _ in ours:
        contest.run_round()
    return contest


def test_ratios_are_taken_within_each_round() -> None:
    # The machine is three times slower in the second round: the ratio of the medians would say 2.5.
    row = contest_of([300, 100, 250], [100, 50, 125]).beside("rival", at_least(2))
    assert (row.ours, row.theirs) == (250, 100)
    assert (row.low, row.ratio, row.high) == (2, 2, 3)
    assert row.reached is True
    assert row.verdict == "pass"


def test_contenders_take_turns_at_being_first() -> None:
    order: list[str] = []

    def noting(name: str) -> Contender:
        def measure() -> Sample:
            order.append(name)
            return Sample(1.0)

        return Contender(name, measure)

    contest = Contest("speed", "things/s", [noting("librats"), noting("rival")])
    for _ in range(3):
        contest.run_round()
    assert order == ["librats", "rival", "rival", "librats", "librats", "rival"]


def test_what_is_to_be_small_falls_short_when_it_is_big() -> None:
    contest = contest_of([30.0, 20.0], [10.0, 10.0], more_is_better=False)
    assert contest.beside("rival", at_most(1.15)).verdict == "SHORT"
    assert contest.beside("rival", at_most(2.5)).verdict == "pass"
    assert contest.alone(at_most(25)).reached is True
    assert contest.alone(at_most(24)).reached is False
    assert contest.alone().verdict == ""


def test_cpu_time_is_a_figure_of_its_own_and_better_when_smaller() -> None:
    row = contest_of([300], [100]).cpu_alone(at_most(4, aim=2))
    assert (row.figure, row.ours, row.unit, row.reached) == ("speed: CPU", 2.0, "us", True)
    assert row.more_is_better is False
    assert row.target == "<= 4, aim 2"


def test_cpu_time_that_nobody_measured_is_left_out() -> None:
    contest = Contest("speed", "things/s", [Contender("librats", lambda: Sample(1.0))])
    contest.run_round()
    assert contest.cpu("librats") is None
    assert contest.alone().cpu_ours is None


@pytest.mark.parametrize(
    ("target", "figure", "reached"),
    [(at_least(2), 2.0, True), (at_least(2), 1.99, False), (at_most(2), 2.0, True), (at_most(2), 2.01, False)],
)
def test_a_limit_is_reached_by_itself(target: Target, figure: float, reached: bool) -> None:
    assert target.reached_by(figure) is reached


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0.00"), (1.2345, "1.23"), (12.345, "12.3"), (123.45, "123"), (1_234_567.8, "1,234,568")],
)
def test_numbers_have_about_three_digits(value: float | None, text: str) -> None:
    assert as_number(value) == text


def test_the_table_has_a_line_for_each_row_and_its_columns_line_up() -> None:
    contest = contest_of([300], [100])
    head, rule, first, second = table_of([contest.beside("rival", at_least(4)), contest.alone()])
    assert set(rule) == {"-"}
    assert first.endswith(">= 4    SHORT")
    assert first.index("things/s") == second.index("things/s") == head.index("unit")
    assert first.index("300") == second.index("300")
