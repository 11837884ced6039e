"""The report on what got slower since earlier runs of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.history import changes, report, stored_runs

MACHINE = {"node": "any", "system": "Linux", "machine": "x86_64", "python_version": "3.11.7"}


def row(figure: str, ratio: float | None, *, ours: float = 100.0, more_is_better: bool = True) -> dict[str, Any]:
    return {
        "figure": figure,
        "name": "librats",
        "rival": None if ratio is None else "rival",
        "ours": ours,
        "ratio": ratio,
        "more_is_better": more_is_better,
    }


def store(folder: Path, number: int, *rows: dict[str, Any], quick: bool = False, cpu: str = "fast") -> None:
    place = folder / "Linux-CPython-3.11-64bit"
    place.mkdir(exist_ok=True)
    run = {
        "datetime": f"2026-01-{number:02}T00:00:00",
        "commit_info": {"id": f"{number:040}"},
        "machine_info": {**MACHINE, "cpu": {"brand_raw": cpu, "count": 2}},
        "benchmarks": [{"extra_info": {"rows": list(rows), "quick": quick}}, {"extra_info": {}}],
    }
    (place / f"{number:04}_some.json").write_text(json.dumps(run), encoding="utf-8")


def test_a_ratio_that_shrank_is_told_and_so_is_a_time_that_grew(tmp_path: Path) -> None:
    for number, (speed, latency) in enumerate([(3.0, 1.0), (5.0, 1.2), (4.0, 1.1), (3.0, 1.43)], 1):
        store(tmp_path, number, row("speed", speed), row("latency", latency, more_is_better=False))
    told = "\n".join(report(stored_runs(tmp_path)))
    assert "worse by 15 %" in told
    assert "speed (librats) beside rival: 3, 4 before (3 runs): 25 % worse" in told
    assert "latency (librats) beside rival: 1.43, 1.1 before (3 runs): 30 % worse" in told


def test_what_got_better_or_hardly_changed_is_no_regression(tmp_path: Path) -> None:
    store(tmp_path, 1, row("speed", 3.0), row("memory", None, ours=10.0, more_is_better=False))
    store(tmp_path, 2, row("speed", 4.0), row("memory", None, ours=10.5, more_is_better=False))
    lines = list(report(stored_runs(tmp_path)))
    assert "nothing is worse by 15 % or more than the median of earlier runs (2 figures)" in lines
    assert any("speed" in line and "33 % better" in line for line in lines)
    assert not any("memory" in line for line in lines)


def test_only_runs_of_the_same_kind_on_such_a_machine_are_compared(tmp_path: Path) -> None:
    store(tmp_path, 1, row("speed", 9.0), quick=True)
    store(tmp_path, 2, row("speed", 9.0), cpu="slow")
    store(tmp_path, 3, row("speed", 3.0))
    assert changes(stored_runs(tmp_path)) == []
    assert "no earlier run of this kind" in list(report(stored_runs(tmp_path)))[-1]


def test_the_ratio_counts_where_there_is_one_not_the_figure(tmp_path: Path) -> None:
    store(tmp_path, 1, row("speed", 3.0, ours=1000.0))
    store(tmp_path, 2, row("speed", 3.0, ours=500.0))
    assert [change.loss for change in changes(stored_runs(tmp_path))] == [0.0]


def test_a_figure_that_was_nothing_cannot_be_compared(tmp_path: Path) -> None:
    for number, growth in enumerate((0.0, 3.0), 1):
        store(tmp_path, number, row("growth", None, ours=growth, more_is_better=False))
    assert changes(stored_runs(tmp_path)) == []


def test_nothing_stored_is_said_so(tmp_path: Path) -> None:
    assert list(report(stored_runs(tmp_path))) == ["no run of the benchmarks is stored"]
