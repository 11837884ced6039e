"""``librats relay`` beside coturn, and beside a relay in Python: packets for each second of the server's CPU time."""

from __future__ import annotations

import contextlib
import sys
from functools import partial

import pytest
from benchmarks.conftest import Stage
from benchmarks.relaying import COTURN, Traffic, callers_of, coturn, librats_relay, python_relay

from librats.cli.measuring.contest import Contender, Contest, at_least

ROUNDS = 5
LIBRATS, PORTABLE, SHARED = "librats", "librats, portable", "librats, shared socket"
TRAFFIC = {
    "bursts to peers": (Traffic(), at_least(1.6, aim=1.9)),
    "bursts to peers, 1,200 B": (Traffic(size=1200), at_least(1.6, aim=1.9)),
    "bursts to clients": (Traffic(to_clients=True), at_least(1.6, aim=1.9)),
    "merged to peers": (Traffic(merged=True), at_least(4)),
    "200 callers to peers": (Traffic(callers=200, burst=1), None),
    "200 callers to clients": (Traffic(callers=200, burst=1, to_clients=True), None),
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads CPU times from /proc")


@pytest.mark.parametrize("kind", TRAFFIC)
def bench_relaying(stage: Stage, kind: str) -> None:
    traffic, beside_coturn = TRAFFIC[kind]
    with contextlib.ExitStack() as stack:
        servers = {LIBRATS: librats_relay(), PORTABLE: librats_relay(portable=True)}
        if traffic.burst == 1:
            servers[SHARED] = librats_relay("--shared-relay-socket")
        if COTURN is not None:
            servers["coturn"] = coturn()
        if stage.has("uvloop"):
            servers["Python, uvloop"] = python_relay()
        contenders = []
        for name, server in servers.items():
            callers = stack.enter_context(callers_of(server, traffic))
            contenders.append(Contender(name, partial(callers.relayed_rate, 0.2 if stage.quick else 2.0)))
        contest = Contest(f"relay, {kind}", "k/CPU s", contenders)
        stage.hold(contest, ROUNDS)
    if contest.has("coturn"):
        stage.show(contest.beside("coturn", beside_coturn))
        if contest.has(SHARED):
            stage.show(contest.beside("coturn", name=SHARED))
    if contest.has("Python, uvloop"):
        stage.show(contest.beside("Python, uvloop", at_least(1.5), name=PORTABLE))
    stage.show(contest.alone())
