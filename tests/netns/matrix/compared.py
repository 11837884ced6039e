"""The kernel's matrix beside the simulated one: where they differ on which cells connect, and on how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple, TextIO

from tests.netns.matrix.cells import CHANCE, Cell
from tests.netns.matrix.results import Results, Summary
from tests.netns.matrix.table import aligned, between, markdown

__all__ = ["Both", "compare", "joined", "print_comparison", "write_comparison"]

MOST = 5.0
"""Points that the two may be apart where chance decides."""


class Both(NamedTuple):
    """A cell on both sides."""

    mode: str
    name: str
    real: Summary
    simulated: Summary

    @property
    def is_chance(self) -> bool:
        """Whether it connects sometimes on one of the sides, or may be expected to."""
        sides = (self.real, self.simulated)
        is_expected = self.mode == "direct" and Cell.named(self.name) in CHANCE
        return is_expected or any(0 < each.connected < each.tries for each in sides)

    @property
    def points(self) -> float:
        """By how many of a hundred tries more the simulated one connects."""
        return 100 * (self.simulated.connected / self.simulated.tries - self.real.connected / self.real.tries)

    @property
    def is_alike(self) -> bool:
        """Whether both connect, or neither does."""
        return bool(self.real.connected) == bool(self.simulated.connected)


def joined(runs: Sequence[Results]) -> Results:
    """Return the tries of several runs together.

    Raises:
        ValueError: Their links are not alike.
    """
    if len({_links(each) for each in runs}) > 1:
        raise ValueError("these runs had other delays or losses than each other")
    together = Results(runs[0].settings if runs else {})
    for run in runs:
        for mode, cells in run.tries.items():
            for name, tries in cells.items():
                together.of(mode, name).extend(tries)
    return together


def _links(results: Results) -> tuple[float, float]:
    return results.settings["delay"], results.settings["loss"]


def compare(real: Results, simulated: Results, mode: str) -> list[Both]:
    """Return the cells of a mode that both have.

    Raises:
        ValueError: Their links are not alike.
    """
    joined([real, simulated])
    return [
        Both(mode, name, Summary.of(tries), Summary.of(others))
        for name, tries in real.tries.get(mode, {}).items()
        if tries and (others := simulated.tries.get(mode, {}).get(name))
    ]


def _words(cells: Sequence[Both]) -> Iterator[str]:
    """Tell what the comparison of a mode comes to."""
    sides = (("real", "kernel's NATs"), ("simulated", "simulated ones"))
    for side, title in sides:
        found = [getattr(each, side) for each in cells]
        counts = sorted({each.tries for each in found})
        every = sum(each.connected == each.tries for each in found)
        never = sum(not each.connected for each in found)
        tries = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
        yield f"{title}: of {len(found)} cells, {tries} tries each, {every} connect every time, {never} never."
    differ = [each.name for each in cells if not each.is_alike]
    yield f"Which cells connect: {'differs in ' + ', '.join(differ) if differ else 'the same on both sides'}."
    far = [f"{each.name} ({each.points:+.1f})" for each in cells if each.is_alike and abs(each.points) > MOST]
    yield f"More than {MOST:g} points apart: {', '.join(far) if far else 'none'}."
    ratios = [each.simulated.seconds / each.real.seconds for each in cells if each.real.seconds and each.is_alike]
    if ratios:
        yield f"Simulated p50 over the kernel's, median of the cells: {median(ratios):.2f}."


def _table(cells: Sequence[Both]) -> list[list[str]]:
    rows = [
        [
            *(each.name, _share(each.real), _share(each.simulated), f"{each.points:+.1f}"),
            *(_time(each.real), _time(each.simulated)),
        ]
        for each in cells
        if each.is_chance
    ]
    return [["cell", "kernel", "simulated", "points", "kernel p50", "simulated p50"], *rows]


def _share(found: Summary) -> str:
    return f"{found.connected}/{found.tries} ({found.connected / found.tries:.1%})"


def _time(found: Summary) -> str:
    return f"{found.seconds * 1000:.0f}" if found.connected else "—"


def print_comparison(real: Results, simulated: Results, out: TextIO) -> None:
    """Write what the comparison of every mode comes to, and the cells where chance decides."""
    for mode in real.tries:
        cells = compare(real, simulated, mode)
        if cells:
            print(f"\n{mode}\n" + "\n".join(_words(cells)), file=out)
            table = _table(cells)
            if len(table) > 1:
                print(f"\n{aligned(table)}", file=out)


def write_comparison(real: Results, simulated: Results, page: Path) -> None:
    """Put it into a page, between ``<!-- compared MODE -->`` and ``<!-- end -->``."""
    text = page.read_text(encoding="utf-8")
    for mode in real.tries:
        cells = compare(real, simulated, mode)
        if cells:
            table = _table(cells)
            words = "\n".join(f"- {line[0].upper()}{line[1:]}" for line in _words(cells))
            text = between(text, f"compared {mode}", words + (f"\n\n{markdown(table)}" if len(table) > 1 else ""))
    page.write_text(text, encoding="utf-8")
