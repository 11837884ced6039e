"""How long until a fresh connection can be used, its handshake included."""

from __future__ import annotations

from functools import partial

from benchmarks.conftest import Stage

from librats.cli.measuring.connecting import connect_time
from librats.cli.measuring.contest import Contender, Contest, at_most

ENDS = {
    "librats": "librats.cli.measuring.connecting:librats",
    "bare TCP": "librats.cli.measuring.connecting:streams",
    "websockets": "benchmarks.rivals.websockets_ends:connecting",
    "pyzmq CURVE": "benchmarks.rivals.zmq_curve:connecting",
}
PACKAGES = {"websockets": "websockets", "pyzmq CURVE": "zmq"}
TARGETS = {"pyzmq CURVE": at_most(0.75)}
"""What the target of 1.2 ms is on a machine where pyzmq takes 1.6."""
ROUNDS = 5


def bench_connect(stage: Stage) -> None:
    contenders = [
        Contender(name, partial(connect_time, ends, stage.scaled(400)))
        for name, ends in ENDS.items()
        if name not in PACKAGES or stage.has(PACKAGES[name])
    ]
    contest = Contest("connect p50", "ms", contenders, cpu_unit="ms", more_is_better=False)
    stage.hold(contest, ROUNDS)
    stage.show(
        *(contest.beside(rival.name, TARGETS.get(rival.name)) for rival in contenders[1:]), contest.alone(at_most(1.2))
    )
