"""A path on which little is said is not taken for dead."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client

from librats import PathChanged
from librats.testing import SimNetwork


@pytest.mark.parametrize("pause", [0.3, 3.0, 20.0])
def test_a_message_now_and_then_is_acknowledged_in_time(simulate: Simulate, pause: float) -> None:
    async def scenario(net: SimNetwork) -> None:
        server, client = await start_client(net.host("server")), await start_client(net.host("client"))
        changes: list[PathChanged] = []
        for each in (server, client):
            each.on_event(PathChanged, changes.append)
        server.on("n", lambda peer, data: None)
        peer = await client.connect(f"server:{PORT}")
        for number in range(20):
            await peer.send("n", number)
            await asyncio.sleep(pause)
            kept = peer.link.session.retained  # type: ignore[union-attr]
            assert kept is not None
            assert kept.awaited == 0
        assert changes == []
        await client.stop()
        await server.stop()

    simulate(scenario, delay=0.02)
