"""The matrix for people: a table on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from tests.netns.matrix.cells import Cell, why_not
from tests.netns.matrix.results import Results, Summary


def print_table(results: Results, out: TextIO) -> None:
    for mode, cells in results.tries.items():
        print(f"\n{mode}:", file=out)
        for name, tries in cells.items():
            found = Summary.of(tries)
            print(f"  {name:36} {found.connected}/{found.tries} {found.seconds*1e3:6.0f} {found.introduced*1e3:6.0f} {found.slowest*1e3:6.0f} {found.ways} {found.errors[:150]}", file=out)


def write_page(results: Results, page: Path) -> None:
    pass
