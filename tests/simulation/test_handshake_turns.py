"""Handshakes that come faster than their source may begin them, over whole clients."""

from __future__ import annotations

import asyncio

from tests.simulation.conftest import Simulate, start_client

from librats import NatTraversalConfig
from librats.testing import SimNetwork

RATE = 4
OFFLINE = NatTraversalConfig.offline()


def test_a_handshake_whose_turn_a_later_one_has_got_waits_for_the_turn_after_it(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        server = await start_client(net.host("server"), nat=OFFLINE, max_handshake_rate_per_source=RATE)
        begun, met = net.loop.time(), []
        server.on_connect(lambda peer: met.append((net.loop.time() - begun, peer.id)))
        home = net.host("home")
        ahead = [await start_client(home, 9000 + number, nat=OFFLINE) for number in range(RATE)]
        last = [await start_client(home, 9100 + number, nat=OFFLINE) for number in range(2)]
        for client in ahead:
            with home:
                await client.connect(f"{server.addresses[0]}", timeout=5)
        began = net.loop.time()
        dialling = []
        for client in last:
            with home:
                dialling.append(asyncio.ensure_future(client.connect(f"{server.addresses[0]}", timeout=5)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*dialling)
        turns = [round((when + begun - began) * RATE, 1) for when, _ in met[RATE:]]
        assert [who for _, who in met[RATE:]] == [client.peer_id for client in reversed(last)], "the newest goes first"
        assert 0.5 <= turns[1] - turns[0] <= 1.5
        await asyncio.gather(*(client.stop() for client in (server, *ahead, *last)))

    simulate(scenario)
