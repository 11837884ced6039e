"""The relay's data plane by itself: bursts of ChannelData from a client to its peer, for each second of CPU time."""

from __future__ import annotations

import time
from functools import partial

from benchmarks.conftest import Stage
from tests.reference.relay_rig import BATCHED, PORTABLE, SLOW, Rig, channel_data, ready, received

from librats.cli.measuring.contest import Contender, Contest, Sample, at_least

ROUNDS = 5
BURST = 64
PACKET = channel_data(0x4000, bytes(172))


def forwarding_rate(kind: str, bursts: int) -> Sample:
    """Measure packets forwarded a second of the plane's own CPU time, that of the sockets around it left out."""
    rig = Rig(kind)
    peer = ready(rig)
    seconds = 0.0
    for _ in range(bursts):
        for _ in range(BURST):
            rig.client_sends(PACKET)
        started = time.process_time()
        for _ in range(BURST if kind == SLOW else 1):
            rig.plane.run(0)
        seconds += time.process_time() - started
        assert len(received(peer)) == BURST
    rig.close()
    return Sample(bursts * BURST / seconds)


def bench_relay_plane(stage: Stage) -> None:
    contenders = [
        Contender("librats", partial(forwarding_rate, BATCHED, stage.scaled(500))),
        Contender("librats, portable", partial(forwarding_rate, PORTABLE, stage.scaled(300))),
        Contender("Python", partial(forwarding_rate, SLOW, stage.scaled(50))),
    ]
    contest = Contest("relay plane", "packets/s", contenders)
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("Python", at_least(8)), contest.beside("Python", name="librats, portable"))
