"""The relay with aioice's TURN client and its ICE agent."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aioice
import pytest
from aioice.turn import create_turn_endpoint
from tests.interop.relayed import echoing_pair, running_relay
from tests.reference.turn_talk import Heard, eventually

from librats.relay.server import RelayServer
from librats.types import Address

pytestmark = pytest.mark.interop

SECONDS = 30.0
DATA = [bytes([number]) * (1 + 61 * number) for number in range(20)]


class Ears(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard = Heard()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard([(data, addr)])


def place(server: RelayServer, transport: str) -> tuple[str, int]:
    address = (server.tls_addresses if transport == "tls" else server.addresses)[0]
    return address.host, address.port


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_its_turn_client_is_relayed(tmp_path: Path, transport: str) -> None:
    async with running_relay(tmp_path) as server, echoing_pair("127.0.0.1") as port:
        context = ssl.create_default_context(cafile=tmp_path / "server.pem") if transport == "tls" else None
        endpoint, ears = await create_turn_endpoint(
            Ears,
            place(server, transport),
            username="bob",
            password="secret",
            transport="udp" if transport == "udp" else "tcp",
            ssl=context,
        )
        try:
            assert endpoint.get_extra_info("sockname")[0] == "127.0.0.1"
            for number, data in enumerate(DATA, 1):
                endpoint.sendto(data, ("127.0.0.1", port))
                await ears.heard.until(number)
            assert ears.heard.datagrams == [(data, Address("127.0.0.1", port)) for data in DATA]
        finally:
            endpoint.close()
        await eventually(lambda: not server.statistics().allocations)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_two_ice_agents_meet_at_the_relay_alone(tmp_path: Path, transport: str) -> None:
    # Nothing but the relay's own addresses is open to peers.
    async with running_relay(tmp_path, allow_peers=()) as server:
        agents = [
            aioice.Connection(
                ice_controlling=controls,
                turn_server=place(server, transport),
                turn_username="bob",
                turn_password="secret",
                turn_transport=transport,
                transport_policy=aioice.TransportPolicy.RELAY,
                use_ipv6=False,
            )
            for controls in (True, False)
        ]
        one, other = agents
        try:
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*(agent.gather_candidates() for agent in agents))
                for here, there in ((one, other), (other, one)):
                    assert {candidate.type for candidate in here.local_candidates} == {"relay"}
                    for candidate in here.local_candidates:
                        await there.add_remote_candidate(candidate)
                    await there.add_remote_candidate(None)
                    there.remote_username, there.remote_password = here.local_username, here.local_password
                await asyncio.gather(*(agent.connect() for agent in agents))
                for data in DATA:
                    await one.send(data)
                    assert await other.recv() == data
                    await other.send(data[::-1])
                    assert await one.recv() == data[::-1]
        finally:
            await asyncio.gather(*(agent.close() for agent in agents))
        await eventually(lambda: server.statistics().packets > 2 * len(DATA))  # they are told once a second
