"""The matrix for people: on the terminal, and in the page of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import TextIO

from tests.netns.matrix.cells import FURTHER, KINDS, Cell, why_not
from tests.netns.matrix.results import Results, Summary

__all__ = ["aligned", "between", "markdown", "print_table", "write_page"]

LETTERS = {
    "udp": "u",
    "relay": "r",
    "tcp": "t",
    "simultaneous": "s",
    "prediction": "p",
    "birthday": "b",
    "carried": "c",
}
LEGEND = (
    "u: directly over UDP, as ICE found it; r: by the relay; t: over TCP from both sides; s, p, b: by a hole that "
    "was punched, sending at the same time, with foretold ports, by the birthday paradox; c: begun with the introducer."
)
TITLES = {
    "relay": "With a relay that relays for everybody",
    "direct": "Without any relaying",
    "carried": "With a relay that carries the beginnings of sessions, too",
    "relay aioice": "aioice, with TURN",
    "direct aioice": "aioice, without TURN",
    "relay agent": "IceAgent alone, with TURN",
    "direct agent": "IceAgent alone, without TURN",
}

Row = list[str]


def print_table(results: Results, out: TextIO) -> None:
    """Write all that was measured."""
    for mode, cells in results.tries.items():
        found = {name: Summary.of(tries) for name, tries in cells.items() if tries}
        if not found:
            continue
        print(f"\n{TITLES[mode]}: {_counts(found.values())}", file=out)
        for table in (_grid(found), _list(found)):
            if len(table) > 1:
                print(f"\n{aligned(table)}", file=out)
        for name, each in found.items():
            if each.connected < each.tries and not why_not(Cell.named(name)):
                print(f"{name}: {each.errors[:300]}", file=out)
    print(f"\nMilliseconds until there is a session, p50. {LEGEND}", file=out)


def write_page(results: Results, page: Path) -> None:
    """Replace the tables of a page: what stands between the comments ``<!-- MODE -->`` and ``<!-- end -->``."""
    text = page.read_text(encoding="utf-8")
    for mode, cells in results.tries.items():
        found = {name: Summary.of(tries) for name, tries in cells.items() if tries}
        if found:
            tables = "\n\n".join(markdown(table) for table in (_grid(found), _list(found)) if len(table) > 1)
            text = between(text, mode, f"{_counts(found.values())}\n\n{tables}")
    page.write_text(between(text, "settings", _settings(results)), encoding="utf-8")


def between(text: str, name: str, content: str) -> str:
    """Replace what stands in a text between the comments ``<!-- NAME -->`` and ``<!-- end -->``."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text)


def _settings(results: Results) -> str:
    settings, loads = results.settings, results.loads
    most = max(len(tries) for cells in results.tries.values() for tries in cells.values())
    words = f"{settings['delay'] * 1000:g} ms and {settings['loss']:.0%} loss on each access link, {most} tries a cell"
    if loads:
        words += f"; meanwhile {median(loads):.1f} processes in the median wanted one of the machine's CPUs"
    return f"{words}."


def _counts(found: Iterable[Summary]) -> str:
    listed = list(found)
    all_of_them = sum(each.connected == each.tries for each in listed)
    some = sum(0 < each.connected < each.tries for each in listed)
    none = sum(not each.connected for each in listed)
    return f"Of {len(listed)} cells, {all_of_them} connect every time, {some} sometimes, {none} never."


def _grid(found: dict[str, Summary]) -> list[Row]:
    """Return those of the matrix; who connects on the left, whom it connects to above."""
    inside = [Cell.named(name) for name in found]
    inside = [cell for cell in inside if not cell.shared and cell not in FURTHER]
    known = {kind: None for cell in inside for kind in (cell.left, cell.right)}
    kinds = sorted(known, key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS))
    rows = [[left, *(_cell(found.get(Cell(left, right).name)) for right in kinds)] for left in kinds]
    return [["", *kinds], *rows] if kinds else []


def _list(found: dict[str, Summary]) -> list[Row]:
    rows = [[cell.name, what, _cell(found[cell.name])] for cell, what in FURTHER.items() if cell.name in found]
    return [["cell", "what it is", ""], *rows]


def _cell(found: Summary | None) -> str:
    if found is None:
        return ""
    if not found.connected:
        return "—"
    ways = "".join(LETTERS.get(word.split()[0], word) for word in found.ways.split(", "))
    part = "" if found.connected == found.tries else f" {found.connected}/{found.tries}"
    return f"{found.seconds * 1000:.0f} {ways}{part}"


def aligned(table: Sequence[Row]) -> str:
    """Return a table for the terminal."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(lines)


def markdown(table: Sequence[Row]) -> str:
    """Return a table for a page; its first row is the head."""
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
