"""ICE beside aioice: two agents of one process that meet over this host's own addresses, from nothing to a datagram."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

import aioice
from benchmarks.conftest import Stage

from librats import IceAgent, NatTraversalConfig
from librats.cli.measuring.contest import Contender, Contest, Sample, at_most

ROUNDS = 5
MEETINGS = 40
MS = 1000.0
HOSTS = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=False)


async def librats_meeting() -> float:
    """Return the seconds from two descriptions to a datagram that has come."""
    config = NatTraversalConfig.offline()
    async with (
        IceAgent("controlling", config, local_hosts=HOSTS) as one,
        IceAgent("controlled", config, local_hosts=HOSTS) as other,
    ):
        await asyncio.gather(one.gather_candidates(), other.gather_candidates())
        begun = time.perf_counter()
        other.set_remote_description(one.local_description)
        one.set_remote_description(other.local_description)
        await asyncio.gather(one.connect(), other.connect())
        one.send(b"hello")
        await other.recv()
        return time.perf_counter() - begun


async def aioice_meeting() -> float:
    """Return the same of aioice."""
    one, other = (aioice.Connection(ice_controlling=controls, use_ipv6=False) for controls in (True, False))
    try:
        await asyncio.gather(one.gather_candidates(), other.gather_candidates())
        begun = time.perf_counter()
        for here, there in ((one, other), (other, one)):
            for candidate in here.local_candidates:
                await there.add_remote_candidate(candidate)
            await there.add_remote_candidate(None)
            there.remote_username, there.remote_password = here.local_username, here.local_password
        await asyncio.gather(one.connect(), other.connect())
        await one.send(b"hello")
        await other.recv()
        return time.perf_counter() - begun
    finally:
        await asyncio.gather(one.close(), other.close())


def median_of(meeting: Callable[[], Awaitable[float]], meetings: int) -> Sample:
    async def hold() -> float:
        await meeting()  # to be warm
        return statistics.median([await meeting() for _ in range(meetings)])

    cpu = time.process_time()
    found = asyncio.run(hold())
    return Sample(found * MS, (time.process_time() - cpu) / (meetings + 1) * MS)


def bench_two_agents_meet_on_one_host(stage: Stage) -> None:
    meetings = stage.scaled(MEETINGS)
    contenders = [
        Contender("librats", partial(median_of, librats_meeting, meetings)),
        Contender("aioice", partial(median_of, aioice_meeting, meetings)),
    ]
    contest = Contest("ICE on one host", "ms", contenders, cpu_unit="ms", more_is_better=False)
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("aioice", at_most(0.25)), contest.alone(at_most(5)), contest.cpu_alone())
