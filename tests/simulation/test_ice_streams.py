"""One UDP socket for everything: ICE finds the way on it, and reliable streams go over the same mapping."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tests.simulation.conftest import Simulate, until
from tests.simulation.test_ice import serve, settings, start, told

from librats._core.stun import parse
from librats.ice.candidates import CandidateType
from librats.ice.events import IceState
from librats.runtime.rudp import RudpPort
from librats.runtime.udp import DatagramEndpoint
from librats.services.ice.agent import IceAgent
from librats.services.ice.ports import SharedSocket
from librats.stun.constants import MessageClass
from librats.testing import SimHost, SimNetwork


class Talker(asyncio.Protocol):
    """Keeps what comes, and sends it back where that is wanted."""

    def __init__(self, *, echoes: bool = False) -> None:
        self.echoes = echoes
        self.heard = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if self.echoes:
            self.transport.write(data)


class Node:
    """A host with one UDP socket, on which streams and an ICE agent live."""

    port: RudpPort
    agent: IceAgent

    def __init__(self, host: SimHost) -> None:
        self.host = host
        self.others: list[bytes] = []
        self._shared: SharedSocket | None = None

    async def start(self, role: str) -> None:
        with self.host:
            self.port = await RudpPort.open(
                self.host,
                "",
                7000,
                accept=lambda: Talker(echoes=True),
                others=self._others_came,
                entropy=self.host.entropy,
            )
            self._shared = SharedSocket(cast("DatagramEndpoint", self.port.endpoint))
            self.agent = await start(self.host, role, settings(), shared=self._shared)
            await self.agent.gather_candidates()

    def _others_came(self, batch: list[tuple[bytes, Any]]) -> None:
        if self._shared is not None:
            self.others += [data for data, _ in self._shared.receive(batch)]

    async def close(self) -> None:
        await self.agent.close()
        self.port.close()


def test_streams_go_over_the_way_that_ice_has_found(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        nodes = [Node(net.host(f"host{n}", behind=net.router(f"home{n}", "port_restricted_random"))) for n in range(2)]
        a, b = nodes
        await asyncio.gather(a.start("controlling"), b.start("controlled"))
        for node in nodes:
            found = {candidate.type for candidate in node.agent.local_candidates}
            assert found == {CandidateType.HOST, CandidateType.SERVER_REFLEXIVE}
        a.agent.set_remote_description(told(b.agent))
        b.agent.set_remote_description(told(a.agent))
        await asyncio.gather(a.agent.connect(), b.agent.connect())
        await until(lambda: a.agent.state is b.agent.state is IceState.COMPLETED, within=5)
        address = a.agent.remote_address
        assert address is not None
        talker = Talker()
        with a.host:
            await a.port.dial(lambda: talker, address)
        talker.transport.write(bytes(200_000))
        await until(lambda: len(talker.heard) == 200_000, within=60)
        await asyncio.sleep(3600)  # the checks keep the mapping that the stream uses
        talker.transport.write(b"still here")
        await until(lambda: talker.heard.endswith(b"still here"), within=5)
        late = {parse(data).message_class for data in (*a.others, *b.others)}
        assert late <= {MessageClass.SUCCESS_RESPONSE}  # a check that was sent twice is answered twice
        talker.transport.abort()
        await asyncio.gather(a.close(), b.close(), relay.close())

    simulate(scenario, delay=0.02)
