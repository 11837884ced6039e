"""``librats bench``: how fast this machine is."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import platform
import time
from typing import TYPE_CHECKING

import librats
from librats._core.aead import BACKEND, INTERPRETER_OPENSSL, load_openssl
from librats.cli.arguments import add_command, positive, whole_positive
from librats.cli.measuring.contest import Row
from librats.cli.measuring.sections import SECTIONS, Job
from librats.cli.measuring.table import table_of
from librats.cli.output import Output
from librats.errors import UsageError

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

SHOWN = "\n".join(f"  {name:<12}{section.about}" for name, section in SECTIONS.items())

EPILOG = f"""\
sections:
{SHOWN}

Each figure stands beside one of what every Python has, or of what librats itself is built on, measured in the same run:
on a machine that does other things too, only the ratio of the two says something. What is sent goes over loopback,
between two processes; CPU is the time of both together, for each message or byte.

examples:
  librats bench                         everything once, in some ten seconds
  librats bench messages bulk           some of it
  librats bench messages --rounds 7     more reliable: the median of seven
  librats bench --scale 5 --json        measure longer, and write JSON
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "bench", _run, help="measure how fast this machine is", epilog=EPILOG)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help="what to measure, one or more of those below (default: all)"
    )
    parser.add_argument(
        "--rounds",
        type=whole_positive,
        default=1,
        metavar="N",
        help="how often each is measured (default: 1)",
    )
    parser.add_argument(
        "--scale", type=positive, default=1.0, metavar="X", help="how much more is measured each time (default: 1)"
    )
    parser.add_argument(
        "--loop", choices=["asyncio", "uvloop", "winloop"], default="asyncio", help="event loop (default: %(default)s)"
    )


def _run(args: argparse.Namespace, output: Output) -> int:
    unknown = [name for name in args.sections if name not in SECTIONS]
    if unknown:
        raise UsageError(f"no section is called {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    if args.loop != "asyncio" and importlib.util.find_spec(args.loop) is None:
        raise UsageError(f"{args.loop} is not installed: pip install 'librats[loop]'")
    chosen = list(dict.fromkeys(args.sections)) or list(SECTIONS)
    job = Job(rounds=args.rounds, scale=args.scale, loop=args.loop)
    machine = {
        "librats": librats.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "loop": args.loop,
        "aead": BACKEND,
        "openssl": "interpreter" if INTERPRETER_OPENSSL else "cryptography" if load_openssl() else None,
    }
    output.emit(event="machine", **machine)
    output.hint(", ".join(f"{key} {value}" for key, value in machine.items()))
    started = time.perf_counter()
    rows: list[Row] = []
    for number, name in enumerate(chosen, 1):
        output.hint(f"[{number}/{len(chosen)}] {name}: {SECTIONS[name].about}")
        for row in SECTIONS[name].run(job):
            rows.append(row)
            output.emit(event="figure", section=name, **_as_event(row))
    if not output.as_json:
        for line in table_of(rows):
            output.say(line)
    output.emit(event="done", seconds=round(time.perf_counter() - started, 3))
    return 0


def _as_event(row: Row) -> dict[str, object]:
    event = dataclasses.asdict(row)
    for key in ("target", "reached"):
        del event[key]
    return event
