"""ICE agents behind the kernel's own NATs: who can meet directly does, and the way is a direct one."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest
from tests.netns.lab import SERVER, Lab, missing
from tests.netns.test_punching import USUAL
from tests.reference.stun_server import binding_reply

from librats import ConnectError, IceAgent, IceState, NatTraversalConfig
from librats.runtime.datagrams import Origin, Receive
from librats.runtime.network import SystemNetwork
from librats.runtime.udp import DatagramEndpoint, open_datagram
from librats.runtime.udp_sockets import udp_socket
from librats.types import Address

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

WHERE = Address(SERVER[0], 3478)
CONFIG = NatTraversalConfig(stun_servers=(str(WHERE),))
STRICT = {"port_restricted", "double_nat", "symmetric"}


class BoxNetwork(SystemNetwork):
    """The network of one box of the laboratory."""

    def __init__(self, lab: Lab, box: str) -> None:
        super().__init__()
        self._lab, self._box = lab, box

    def _socket(self, family: int) -> socket.socket:
        with self._lab.enter(self._box):
            return udp_socket(family)

    async def open_datagram(
        self, host: str = "", port: int = 0, *, receive: Receive, **options: Any
    ) -> DatagramEndpoint:
        return await open_datagram(host, port, receive=receive, **{"new_socket": self._socket} | options)

    async def interface_addresses(self) -> list[str]:
        with self._lab.enter(self._box), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(WHERE)
            return [str(sock.getsockname()[0])]

    async def start(self, role: str) -> IceAgent:
        """Start an agent in the box."""
        cast("Any", asyncio.get_running_loop()).librats_network = self
        agent = IceAgent(role, CONFIG)
        await agent.start()
        return agent


async def answer_stun(network: BoxNetwork) -> DatagramEndpoint:
    endpoints: list[DatagramEndpoint] = []

    def answer(batch: list[tuple[bytes, Origin]]) -> None:
        for data, origin in batch:
            reply = binding_reply(data, (origin.host, origin.port), 0, [(WHERE.host, WHERE.port)])
            if reply is not None:
                endpoints[0].send(reply[1], origin)

    endpoints.append(await network.open_datagram(*WHERE, receive=answer))
    return endpoints[0]


async def meet(one: BoxNetwork, other: BoxNetwork) -> bool:
    """Return whether two agents have met and talked."""
    agents = [await one.start("controlling"), await other.start("controlled")]
    a, b = agents
    try:
        await asyncio.gather(a.gather_candidates(), b.gather_candidates())
        a.set_remote_description(b.local_description)
        b.set_remote_description(a.local_description)
        outcomes = await asyncio.gather(a.connect(), b.connect(), return_exceptions=True)
        if any(isinstance(outcome, BaseException) for outcome in outcomes):
            assert all(isinstance(outcome, ConnectError) for outcome in outcomes), outcomes
            return False
        async with asyncio.timeout(10):
            while a.state is not IceState.COMPLETED or b.state is not IceState.COMPLETED:  # noqa: ASYNC110 - until both
                await asyncio.sleep(0.01)
            for here, there in ((a, b), (b, a)):
                here.send(b"data")
                assert await there.recv() == b"data"
        return True
    finally:
        await asyncio.gather(*(agent.close() for agent in agents))


@pytest.mark.long
def test_whoever_can_meet_directly_does() -> None:
    async def main(lab: Lab) -> list[bool]:
        server = await answer_stun(BoxNetwork(lab, "server"))
        boxes = [BoxNetwork(lab, lab.host(number)) for number in range(2 * len(USUAL))]
        pairs = [(left, len(USUAL) + right) for left in range(len(USUAL)) for right in range(len(USUAL))]
        through = await asyncio.gather(*(meet(boxes[left], boxes[right]) for left, right in pairs))
        server.close()
        return through

    with Lab(*USUAL, *USUAL) as lab:
        through = asyncio.run(main(lab))
    matrix = dict(zip(((a, b) for a in USUAL for b in USUAL), through, strict=True))
    for (a, b), met in matrix.items():
        in_vain = "udp_blocked" in (a, b) or ("symmetric" in (a, b) and {a, b} <= STRICT)
        assert met is not in_vain, (a, b)
