"""Limits of how much comes and goes, and whose turn it is: exact over time, fair, and by a clock that is passed in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import pytest

from librats.bittorrent.throttle import BURST, Gate, Turns
from librats.errors import UsageError

BLOCK = 16_384


class Takers:
    """Those who always want another block."""

    def __init__(
        self, turns: Turns, gates: dict[str, Gate], *, sizes: Callable[[str], int] = lambda _name: BLOCK
    ) -> None:
        self.turns, self.gates, self.sizes = turns, gates, sizes
        self.got: Counter[str] = Counter()
        self.now = 100.0
        self.wakes = 0
        for name in gates:
            self.want(name)

    def want(self, name: str) -> None:
        def go(_now: float) -> int:
            self.got[name] += self.sizes(name)
            self.want(name)
            return self.sizes(name)

        self.turns.wait(name, self.gates[name], go)

    def run(self, seconds: float, *, lateness: float = 0.0) -> None:
        end = self.now + seconds
        while (due := self.turns.next_time(self.now)) is not None and due + lateness <= end:
            self.now = max(self.now, due) + lateness
            self.turns.run(self.now)
            self.wakes += 1
        self.now = end


def gate_of(limit: float | None, common: Gate | None = None) -> Gate:
    gate = Gate(common)
    gate.limit = limit
    return gate


@pytest.mark.parametrize("limit", [5_000, 100_000, 2_000_000, 100_000_000])
@pytest.mark.parametrize("lateness", [0.0, 0.05])
def test_a_limit_is_kept_to_a_few_percent(limit: int, lateness: float) -> None:
    gate = gate_of(limit)
    takers = Takers(Turns(), {name: gate for name in "abc"})
    takers.run(20, lateness=lateness)
    assert sum(takers.got.values()) == pytest.approx(20 * limit, rel=0.02, abs=BLOCK)
    assert takers.wakes <= 20 * limit / BLOCK + 20 / max(lateness, 0.0001)


def test_a_limit_is_kept_from_the_first_second_on_but_for_what_passes_at_once() -> None:
    gate = gate_of(1_000_000)
    takers = Takers(Turns(), {"a": gate})
    takers.run(1)
    assert 1_000_000 <= sum(takers.got.values()) <= 1_000_000 * (1 + BURST) + BLOCK


def test_everybody_gets_the_same() -> None:
    gate = gate_of(1_000_000)
    takers = Takers(Turns(), {name: gate for name in "abcdefg"})
    takers.run(10)
    assert max(takers.got.values()) - min(takers.got.values()) <= BLOCK


def test_what_one_torrent_may_not_take_goes_to_the_others() -> None:
    common = gate_of(1_000_000)
    gates = {"slow": gate_of(100_000, common), "one": gate_of(None, common), "other": gate_of(None, common)}
    takers = Takers(Turns(), gates)
    takers.run(10)
    assert takers.got["slow"] == pytest.approx(1_000_000, rel=0.02)
    assert takers.got["one"] == pytest.approx(4_500_000, rel=0.02)
    assert sum(takers.got.values()) == pytest.approx(10_000_000, rel=0.02)


def test_a_limit_that_is_raised_is_not_held_back_by_what_was_taken_below_the_old_one() -> None:
    gate = gate_of(1.0)
    takers = Takers(Turns(), {"a": gate})
    takers.run(10)
    gate.limit = 1_000_000
    takers.run(10)
    assert takers.got["a"] == pytest.approx(10_000_000, rel=0.02)


def test_without_a_limit_nobody_waits() -> None:
    gate, turns = Gate(), Turns()
    assert not gate.is_limited
    assert gate.rate == math.inf
    passed: list[float] = []

    def go(now: float) -> int:
        passed.append(now)
        return 5

    turns.wait("a", gate, go)
    assert turns.next_time(3.0) == 3.0
    turns.run(3.0)
    assert passed == [3.0]
    assert turns.next_time(3.0) is None


def test_who_takes_nothing_costs_nothing_and_does_not_wait_any_more() -> None:
    gate, turns = gate_of(1.0), Turns()
    turns.wait("a", gate, lambda _now: 0)
    turns.wait("b", gate, lambda _now: 1000)
    turns.wait("b", gate, lambda _now: 5_000_000)  # who waits already keeps its place
    turns.run(1.0)
    assert turns.next_time(1.0) is None
    assert gate.ready_at(1.0) == pytest.approx(1001.0 - BURST)


def test_who_leaves_has_no_turn_any_more_even_where_another_one_makes_it_leave() -> None:
    gate, slow, turns = Gate(), gate_of(1.0), Turns()
    slow.take(1, 5.0)
    passed: list[str] = []

    def go(name: str) -> Callable[[float], int]:
        def passes(_now: float) -> int:
            passed.append(name)
            for other in ("slow", "late"):
                turns.leave(other)
            return 1

        return passes

    for name in ("slow", "first", "late"):
        turns.wait(name, slow if name == "slow" else gate, go(name))
    turns.run(5.0)
    turns.run(50.0)
    assert passed == ["first"]


def test_what_has_not_come_is_given_back_to_both_limits() -> None:
    common = gate_of(100.0)
    gate = gate_of(50.0, common)
    gate.take(1000, 0.0)
    gate.give_back(1000)
    assert gate.ready_at(0.0) == common.ready_at(0.0) == 0.0
    assert Gate(gate).rate == 50.0


@pytest.mark.parametrize("limit", [0, -1, math.nan])
def test_a_limit_that_nothing_would_pass_is_refused(limit: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Gate().limit = limit
