"""Rows of results as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from librats.cli.measuring.contest import Row

__all__ = ["as_number", "table_of"]

HEAD = ("figure", "ours", "beside", "theirs", "unit", "ratio", "from..to", "CPU ours / theirs", "target", "")
TO_THE_RIGHT = frozenset({"ours", "theirs", "ratio"})
THREE_DIGITS = 100


def as_number(value: float | None) -> str:
    """Return a number with about three digits.

    Example:
        >>> as_number(472_113.4), as_number(86.04), as_number(1.0375), as_number(None)
        ('472,113', '86.0', '1.04', '')
    """
    if value is None:
        return ""
    if abs(value) >= THREE_DIGITS:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= THREE_DIGITS / 10 else f"{value:.2f}"


def table_of(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table, its head first."""
    cells = [HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [
        "  ".join(
            text.rjust(width) if title in TO_THE_RIGHT else text.ljust(width)
            for title, text, width in zip(HEAD, line, widths, strict=True)
        ).rstrip()
        for line in cells
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    name = row.figure if row.name == "librats" else f"{row.figure} ({row.name})"
    cpu = ""
    if row.cpu_ours is not None:
        cpu = as_number(row.cpu_ours)
        if row.cpu_theirs is not None:
            cpu += f" / {as_number(row.cpu_theirs)}"
        cpu += f" {row.cpu_unit}"
    return (
        name,
        as_number(row.ours),
        row.rival or "",
        as_number(row.theirs),
        row.unit,
        as_number(row.ratio),
        f"{as_number(row.low)}..{as_number(row.high)}",
        cpu,
        row.target,
        row.verdict,
    )
