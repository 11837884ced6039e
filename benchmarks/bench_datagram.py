"""Datagrams for each second of CPU time, beside asyncio's own transport: in, each to a Python function, and out."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from benchmarks.conftest import Stage
from benchmarks.rivals.c_programs import SHARED, compiled

from librats.cli.measuring.contest import Contender, Contest, Sample, at_least

ROOT = Path(__file__).parents[1]
ROUNDS = 7
UNIT = "k/CPU s"
FLOOR = "C, sendmmsg"


def rate(direction: str, who: str, size: int, amount: int, *, loop: str = "asyncio", portable: bool = False) -> Sample:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.datagrams", direction, who, str(size), str(amount), loop],
        cwd=ROOT,
        env=os.environ | {"LIBRATS_PORTABLE": str(int(portable))},
        capture_output=True,
        text=True,
        check=True,
    )
    return Sample(float(run.stdout) / 1000)


@pytest.mark.parametrize("size", [100, 1200])
def bench_receiving_datagrams(stage: Stage, size: int) -> None:
    amount = stage.scaled(200_000)
    contenders = [
        Contender("librats", partial(rate, "in", "librats", size, amount)),
        Contender("asyncio", partial(rate, "in", "transport", size, amount // 20)),
        Contender("librats, portable", partial(rate, "in", "librats", size, amount // 4, portable=True)),
    ]
    if stage.has("uvloop"):
        contenders += [
            Contender("librats, uvloop", partial(rate, "in", "librats", size, amount, loop="uvloop")),
            Contender("uvloop", partial(rate, "in", "transport", size, amount // 2, loop="uvloop")),
        ]
    contest = Contest(f"datagrams in, {size:,} B", UNIT, contenders)
    stage.hold(contest, ROUNDS)
    rows = [contest.beside("asyncio", at_least(16)), contest.beside("asyncio", name="librats, portable")]
    if contest.has("uvloop"):
        rows.append(contest.beside("uvloop", name="librats, uvloop"))
    stage.show(*rows)


@pytest.mark.parametrize("size", [100, 1200])
def bench_sending_datagrams(stage: Stage, size: int) -> None:
    amount = stage.scaled(200_000)
    contenders = [
        Contender("librats, runs", partial(rate, "out", "librats", size, amount * 4)),
        Contender("asyncio", partial(rate, "out", "transport", size, amount)),
        Contender("librats, singly", partial(rate, "out", "singly", size, amount)),
        Contender("librats, portable", partial(rate, "out", "librats", size, amount, portable=True)),
    ]
    if sys.platform == "linux" and compiled("udp_burst", *SHARED) is not None:
        contenders.append(Contender(FLOOR, partial(rate, "out", "sendmmsg", size, amount)))
    contest = Contest(f"datagrams out, {size:,} B", UNIT, contenders)
    stage.hold(contest, ROUNDS)
    rows = [
        contest.beside("asyncio", at_least(6), name="librats, runs"),
        contest.beside("asyncio", at_least(1.6), name="librats, singly"),
        contest.beside("asyncio", name="librats, portable"),
    ]
    if contest.has(FLOOR):
        rows += [contest.beside(FLOOR, name="librats, singly"), contest.beside("asyncio", name=FLOOR)]
    stage.show(*rows)
