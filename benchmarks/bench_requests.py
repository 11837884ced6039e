"""A request and its reply, one at a time, beside a bare Protocol that sends JSON both ways on the same loop."""

from __future__ import annotations

from functools import partial

import pytest
from benchmarks.conftest import Stage

from librats.cli.measuring.contest import Contender, Contest, at_most
from librats.cli.measuring.requests import request_time

ENDS = {"librats": "librats.cli.measuring.requests:librats", "Protocol": "librats.cli.measuring.requests:protocol"}
ROUNDS = 5


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def bench_request_and_reply(stage: Stage, loop: str) -> None:
    if not stage.has(loop):
        return
    contenders = [
        Contender(name, partial(request_time, ends, stage.scaled(5000), loop=loop)) for name, ends in ENDS.items()
    ]
    contest = Contest(f"request p50, {loop}", "us", contenders, cpu_unit="us", more_is_better=False)
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("Protocol", at_most(1.15)))
