"""What every benchmark may use: contests in rounds, a quick mode, and one table at the end."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import TYPE_CHECKING

import pytest

from librats.cli.measuring.table import table_of

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from librats.cli.measuring.contest import Contest, Row

ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()
ABSENT: pytest.StashKey[set[str]] = pytest.StashKey()


class Stage:
    """Where a contest is held.

    Args:
        quick: Whether few and small rounds are enough.
        benchmark: Where the results are kept.
        rows: Where the rows of all benchmarks are collected.
        absent: Where the rivals that are not installed are collected.
    """

    def __init__(self, quick: bool, benchmark: BenchmarkFixture, rows: list[Row], absent: set[str]) -> None:
        self.quick = quick
        self._benchmark = benchmark
        self._rows = rows
        self._absent = absent

    def scaled(self, amount: int) -> int:
        """Return the amount, or a tenth of it where quick is enough."""
        return max(1, amount // 10) if self.quick else amount

    def hold(self, contest: Contest, rounds: int) -> None:
        """Run the rounds of a contest: two where quick is enough."""
        self._benchmark.pedantic(contest.run_round, rounds=min(rounds, 2) if self.quick else rounds)

    def show(self, *rows: Row) -> None:
        """Add rows to the table and to what is stored."""
        self._rows += rows
        stored = self._benchmark.extra_info.setdefault("rows", [])
        stored += [dataclasses.asdict(row) for row in rows]
        self._benchmark.extra_info["quick"] = self.quick

    def has(self, package: str) -> bool:
        """Whether a rival is installed; the table tells where one is not."""
        there = importlib.util.find_spec(package) is not None
        if not there:
            self._absent.add(package)
        return there


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="few and small rounds: to see that it works")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []
    config.stash[ABSENT] = set()


@pytest.fixture
def stage(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Stage:
    quick: bool = request.config.getoption("--quick")
    return Stage(quick, benchmark, request.config.stash[ROWS], request.config.stash[ABSENT])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.section("librats beside others")
    for line in table_of(rows):
        write(line)
    short = [row for row in rows if row.reached is False]
    write("")
    write(f"{sum(row.reached is True for row in rows)} targets reached, {len(short)} short")
    absent: set[str] = config.stash[ABSENT]
    for package in sorted(absent):
        write(f"not installed, left out: {package}")
