"""Long runs keep what they have found, and go on where they were ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.netns.matrix.cells import Cell
from tests.simulation import topologies
from tests.simulation.kept import Kept, seeds_named
from tests.simulation.nat_matrix import AT_ONCE, measure, missing_pieces, results_of
from tests.simulation.topologies import Outcome, run_seeds

SETTINGS = {"delay": 0.02, "loss": 0.0}
OPEN, LAN = Cell("open", "open"), Cell("none", "none", "port_restricted")


def test_seeds_are_named_by_how_many_or_by_the_first_and_the_end() -> None:
    assert seeds_named("3") == range(3)
    assert seeds_named("5..9") == range(5, 9)
    with pytest.raises(ValueError, match="invalid literal"):
        seeds_named("a..b")


def test_what_is_kept_is_there_again_but_for_a_line_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    kept = Kept(path, SETTINGS)
    kept.add({"seed": 1})
    kept.add({"seed": 2})
    with path.open("a") as out:
        out.write('{"tree": "x", "pie')
    again = Kept(path, SETTINGS)
    again.add({"seed": 3})
    assert Kept(path, SETTINGS).pieces == [{"seed": 1}, {"seed": 2}, {"seed": 3}]
    assert sum(again.trees.values()) == 3


def test_a_run_of_another_kind_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    Kept(path, SETTINGS)
    with pytest.raises(ValueError, match="is of a run with"):
        Kept(path, {**SETTINGS, "loss": 0.05})


def test_networks_that_are_kept_are_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run_seed(seed: int) -> Outcome:
        ran.append(seed)
        return Outcome(seed, "connected", "udp", 0.1, "", "")

    monkeypatch.setattr(topologies, "run_seed", run_seed)
    path = tmp_path / "run.jsonl"
    first = run_seeds(range(3), kept=Kept(path, {}))
    second = run_seeds(range(1, 5), kept=Kept(path, {}))
    assert ran == [0, 1, 2, 3, 4]
    assert second[:2] == first[1:]
    assert [one.seed for one in second] == [1, 2, 3, 4]


def test_the_matrix_goes_on_with_the_seeds_that_are_missing_a_few_of_each_cell_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    kept = Kept(path, SETTINGS)
    kept.add(measure(("direct", LAN, [0, 1]), loss=0.0))
    again = Kept(path, SETTINGS)
    pieces = list(missing_pieces([OPEN, LAN], ["direct"], range(AT_ONCE + 1), again))
    assert pieces == [
        ("direct", OPEN, [*range(AT_ONCE)]),
        ("direct", LAN, [*range(2, AT_ONCE)]),
        ("direct", OPEN, [AT_ONCE]),
        ("direct", LAN, [AT_ONCE]),
    ]
    tries = results_of(again, SETTINGS).of("direct", LAN.name)
    assert [(each.ok, each.way) for each in tries] == [(True, "udp")] * 2
    assert tries == results_of(kept, SETTINGS).of("direct", LAN.name)
