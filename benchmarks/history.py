"""The stored runs of the benchmarks, and what got slower: ``python -m benchmarks.history [--loss PERCENT]``.

The newest run is compared with the median of the earlier ones, ratio by ratio. It is a report: its status is always 0,
because no time on a shared machine is a reason to stop anybody.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Change", "Run", "changes", "report", "stored_runs"]

STORE = Path(__file__).parents[1] / ".benchmarks"
LOSS = 15.0

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run stored."""

    when: str
    commit: str
    machine: str
    quick: bool
    rows: dict[Key, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Change:
    """How a figure compares with earlier runs."""

    key: Key
    before: float
    """Median of the earlier runs: of the ratio, or of the figure itself where it stands alone."""

    now: float
    runs: int
    loss: float
    """Percent by which it got worse; below 0 where it got better."""

    def __str__(self) -> str:
        """Show it in one line."""
        figure, name, rival = self.key
        beside = f" beside {rival}" if rival else ""
        direction = "worse" if self.loss > 0 else "better"
        return (
            f"{figure} ({name}){beside}: {self.now:,.4g}, {self.before:,.4g} before ({self.runs} runs): "
            f"{abs(self.loss):.0f} % {direction}"
        )


def stored_runs(store: Path = STORE) -> list[Run]:
    """Return what is stored, oldest first."""
    runs = [_read(path) for path in sorted(store.glob("*/*.json"))]
    return sorted((run for run in runs if run.rows), key=lambda run: run.when)


def _read(path: Path) -> Run:
    stored = json.loads(path.read_text(encoding="utf-8"))
    information = [benchmark["extra_info"] for benchmark in stored["benchmarks"]]
    rows = [row for extra in information for row in extra.get("rows", [])]
    machine = stored["machine_info"]
    return Run(
        when=stored["datetime"],
        commit=str(stored["commit_info"].get("id", ""))[:8],
        machine=f"{_processor(machine)}, {machine['system']}, CPython {machine['python_version']}",
        quick=any(extra.get("quick", False) for extra in information),
        rows={(row["figure"], row["name"], row["rival"] or ""): row for row in rows},
    )


def _processor(machine: dict[str, Any]) -> str:
    cpu = machine.get("cpu", {})
    return f"{cpu.get('count', '?')} of {cpu.get('brand_raw', machine['machine'])}"


def changes(runs: Sequence[Run]) -> list[Change]:
    """Compare the newest run with the earlier ones of its kind on such a machine, worst first."""
    *earlier, newest = runs
    alike = [run for run in earlier if run.quick == newest.quick and run.machine == newest.machine]
    found = []
    for key, row in newest.rows.items():
        before = [_figure(run.rows[key]) for run in alike if key in run.rows]
        median = statistics.median(before) if before else 0.0
        if median:
            gain = _figure(row) / median - 1
            loss = -gain if row["more_is_better"] else gain
            found.append(Change(key, median, _figure(row), len(before), loss * 100))
    return sorted(found, key=lambda change: -change.loss)


def _figure(row: dict[str, Any]) -> float:
    return float(row["ours"] if row["ratio"] is None else row["ratio"])


def report(runs: Sequence[Run], loss: float = LOSS) -> Iterator[str]:
    """Yield the lines of the report.

    Args:
        runs: Oldest first.
        loss: From how many percent on a change for the worse is told.
    """
    if not runs:
        yield "no run of the benchmarks is stored"
        return
    newest = runs[-1]
    yield f"newest run: {newest.when[:16]}, commit {newest.commit}, {newest.machine}"
    found = changes(runs)
    if not found:
        yield "no earlier run of this kind on such a machine to compare with"
        return
    worse = [change for change in found if change.loss >= loss]
    yield from _under(f"worse by {loss:g} % or more than the median of earlier runs:", worse)
    if not worse:
        yield f"nothing is worse by {loss:g} % or more than the median of earlier runs ({len(found)} figures)"
    yield from _under(f"better by {loss:g} % or more:", [change for change in found if change.loss <= -loss])


def _under(title: str, found: Iterable[Change]) -> Iterator[str]:
    lines = [f"  {change}" for change in found]
    if lines:
        yield title
        yield from lines


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description="Compare the newest stored run of the benchmarks with earlier ones.")
    parser.add_argument(
        "--loss", type=float, default=LOSS, help="percent that are worth telling (default: %(default)g)"
    )
    parser.add_argument("--store", type=Path, default=STORE, help="where the runs are (default: .benchmarks)")
    options = parser.parse_args()
    print("\n".join(report(stored_runs(options.store), options.loss)))


if __name__ == "__main__":
    main()
