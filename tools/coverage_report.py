"""Tell which lines and branches the tests reach, and fail where either are fewer than 90 in 100."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import coverage

WANTED = 90.0


def main() -> int:
    """Print the report of the data in the current directory; return 1 where it is below what is wanted."""
    measured = coverage.Coverage()
    measured.load()
    measured.report()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "coverage.json")
        measured.json_report(outfile=str(path))
        totals = json.loads(path.read_text(encoding="utf-8"))["totals"]
    shares = {
        "lines": (totals["covered_lines"], totals["num_statements"]),
        "branches": (totals["covered_branches"], totals["num_branches"]),
    }
    enough = True
    print()
    for what, (covered, there) in shares.items():
        share = 100 * covered / there
        enough = enough and share >= WANTED
        print(f"{what}: {covered:,} of {there:,}, {share:.1f} %{'' if share >= WANTED else f'; wanted {WANTED:g} %'}")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
