"""What a client's process holds, and what each further idle peer adds to it."""

from __future__ import annotations

import sys
from functools import partial

import pytest
from benchmarks.conftest import Stage

from librats.cli.measuring.contest import Contender, Contest, Sample, at_most
from librats.cli.measuring.idling import idle_peers

OURS = "librats.cli.measuring.idling:librats"
RIVALS = {
    "asyncio streams, plain": "librats.cli.measuring.idling:streams",
    "websockets": "benchmarks.rivals.websockets_ends:idling",
}
ROUNDS = 2
PEERS = 1000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds at the moment")
def bench_idle_peers(stage: Stage) -> None:
    peers = stage.scaled(PEERS)
    bases: list[Sample] = []

    def measure() -> Sample:
        told = idle_peers(OURS, peers)
        bases.append(told.base)
        return told.each

    def rival(ends: str) -> Sample:
        return idle_peers(ends, peers).each

    contenders = [Contender("librats", measure)]
    for name, ends in RIVALS.items():
        if not ends.startswith("benchmarks") or stage.has(name):
            contenders.append(Contender(name, partial(rival, ends)))
    contest = Contest(f"a further idle peer of {peers}", "KiB", contenders, more_is_better=False)
    base = Contest("an idle client's process", "MiB", contenders, more_is_better=False)
    stage.hold(contest, ROUNDS)
    base.rounds = [{"librats": sample} for sample in bases]
    stage.show(*(contest.beside(rival.name) for rival in contenders[1:]))
    stage.show(contest.alone(at_most(12, aim=8)), base.alone(at_most(40)))
