"""Sessions that begin through the introducer, where what the two say to each other is long on the way."""

from __future__ import annotations

import asyncio

from tests.simulation.conftest import Simulate
from tests.simulation.test_carried_sessions import ALONE, CARRIED, HARD, carried, endings, greet
from tests.simulation.test_introducers import hosts
from tests.simulation.test_public_introducers import meeting

from librats.testing import SimNetwork


def test_a_session_whose_answer_was_long_on_the_way_begins_all_the_same(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), **ALONE) as (relay, met):
            ended = endings(met.alice)
            greet(met)
            loop = asyncio.get_running_loop()
            began = loop.time()
            [at_relay] = [host for host in net.hosts if host.name == "relay"]
            net.at(net.time + 0.045, lambda: net.cut(at_relay, met.home, one_way=True))  # the offer has left
            net.at(net.time + 5.5, lambda: net.mend(at_relay, met.home, one_way=True))
            peer = await met.connect()
            assert loop.time() - began > 6
            assert peer.method is CARRIED
            assert await peer.request("greet", "Alice") == "hello Alice"
            await asyncio.sleep(20)
            assert (ended, carried(relay)["now"]) == ([], 1)

    simulate(scenario, delay=0.01)
