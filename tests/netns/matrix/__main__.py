"""Measures who reaches whom behind the kernel's NATs, and how soon: ``make nat-matrix``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.netns.lab import missing
from tests.netns.matrix.beside import AGENTS
from tests.netns.matrix.cells import FURTHER, KINDS, Cell, cells_named, pairs, why_not
from tests.netns.matrix.programs import preload
from tests.netns.matrix.results import Results, Summary
from tests.netns.matrix.scene import CARRIED, MODES, Scene, Settings
from tests.netns.matrix.table import print_table, write_page

SKIPPED = 77
GIVEN_UP = 2


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make nat-matrix", description=__doc__)
    parser.add_argument("--types", metavar="A,B,...", help="each of these types of network with each (default: twelve)")
    parser.add_argument(
        "--cells",
        metavar="LEFT:RIGHT,...",
        help='these alone; "further" are those beside the matrix,'
        ' "chance" those in which chance decides, "all" everything',
    )
    parser.add_argument("--mode", choices=[*MODES, "both", CARRIED], default="both", help="relaying granted or not")
    parser.add_argument("--tries", type=int, default=5, help="tries of each cell (default: %(default)s)")
    parser.add_argument("--delay", type=float, default=20, metavar="MS", help="of each access link (default: 20)")
    parser.add_argument("--loss", type=float, default=0, metavar="PERCENT", help="of each access link, each way")
    parser.add_argument("--timeout", type=float, default=30, metavar="S", help="of each try (default: 30)")
    parser.add_argument("--fresh", action="store_true", help="give each try a node of its own")
    parser.add_argument("--cold", action="store_true", help="start Python anew for each try")
    parser.add_argument(
        "--beside",
        choices=[*AGENTS],
        action="append",
        default=[],
        help="measure ICE agents alone as well: aioice's, ours",
    )
    parser.add_argument("--alone", action="store_true", help="measure nothing but what --beside names")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every try there, and go on where it ends")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables into that page")
    return parser


def main() -> int:
    args = options().parse_args()
    reason = missing()
    if reason:
        sys.stderr.write(f"no laboratory here: {reason}\n")
        return SKIPPED
    preload()
    settings = Settings(
        delay=args.delay / 1000, loss=args.loss / 100, timeout=args.timeout, fresh=args.fresh, cold=args.cold
    )
    try:
        cells = wanted_cells(args)
        results = Results.read(args.json, asdict(settings)) if args.json else Results(asdict(settings))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return GIVEN_UP
    modes = MODES if args.mode == "both" else (args.mode,)
    run = Run(settings, results, tries=args.tries, path=args.json)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: run.stop())
    programs = [*args.beside] if args.alone else ["", *args.beside]
    run.do([(cell, mode, who) for mode in modes for cell in cells for who in programs], jobs=args.jobs)
    print_table(results, sys.stdout)
    if args.page:
        write_page(results, args.page)
    return 0


def wanted_cells(args: argparse.Namespace) -> list[Cell]:
    """Return the cells that the options name.

    Raises:
        ValueError: They name none.
    """
    found = cells_named(args.cells.split(",")) if args.cells else []
    if args.types:
        found += [cell for cell in pairs(args.types.split(",")) if cell not in found]
    return found or [*pairs(KINDS), *FURTHER]


class Run:
    """Measures cells, and keeps what comes of it.

    Args:
        settings: How.
        results: Where to.
        tries: How many each cell shall have.
        path: The file that is written after each; None for none.
    """

    def __init__(self, settings: Settings, results: Results, *, tries: int, path: Path | None) -> None:
        self._settings, self._results, self._tries, self._path = settings, results, tries, path
        self._lock = threading.Lock()
        self._left = self._done = 0
        self._began = time.monotonic()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End with the tries that are under way."""
        self._stopping.set()

    def do(self, work: list[tuple[Cell, str, str]], *, jobs: int) -> None:
        """Measure cells, several at a time: each in a mode, by the commands or by an agent alone."""
        left = [(cell, mode, who) for cell, mode, who in work if self._missing(cell, key(mode, who)) > 0]
        self._left = len(left)
        with ThreadPoolExecutor(jobs) as threads:
            for _ in threads.map(lambda each: self._measure(*each), left):
                pass

    def _missing(self, cell: Cell, mode: str) -> int:
        return self._tries - len(self._results.of(mode, cell.name))

    def _measure(self, cell: Cell, mode: str, who: str) -> None:
        if self._stopping.is_set():
            return
        folder = Path(tempfile.mkdtemp(prefix="librats-matrix-"))
        tries = self._results.of(key(mode, who), cell.name)
        load = os.getloadavg()[0]
        try:
            with Scene.of(cell, folder, self._settings, mode) as scene:
                while self._missing(cell, key(mode, who)) > 0 and not self._stopping.is_set():
                    count = 1 if self._settings.fresh else self._missing(cell, key(mode, who))
                    for each in scene.tries(cell, count) if not who else scene.tries_of(who, count):
                        tries.append(each)
                        if self._stopping.is_set():
                            break
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._done += 1
            self._results.loads.append(load)
            if self._path is not None:
                self._results.write(self._path)
            self._tell(cell, key(mode, who), Summary.of(tries))

    def _tell(self, cell: Cell, mode: str, found: Summary) -> None:
        left = (time.monotonic() - self._began) / self._done * (self._left - self._done)
        words = f"{found.seconds * 1000:.0f} ms, at most {found.slowest * 1000:.0f}, {found.ways}"
        failed = "" if found.connected == found.tries else f"; {why_not(cell) or found.errors}"
        sys.stderr.write(
            f"{self._done}/{self._left} {mode} {cell.name}: {found.connected} of {found.tries}"
            f"{', ' + words if found.connected else ''}{failed} [{left / 60:.0f} min left]\n"
        )


def key(mode: str, who: str) -> str:
    return f"{mode} {who}" if who else mode


if __name__ == "__main__":
    sys.exit(main())
