"""Hole punching through the kernel's own NATs: one pair of types for each technique."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.netns.lab import SERVER, Lab, missing
from tests.netns.test_ice_nats import BoxNetwork
from tests.reference.stun_server import StunServer, binding_reply
from tests.simulation.punching import assert_streams, wires

from librats import Address, ConnectError, NatTraversalConfig, NatType, NatTypeInfo
from librats.punch import PunchSettings
from librats.runtime.tcp import TcpListener, dial_tcp, listen_tcp
from librats.services.punch.path import PunchedConnection, PunchedPath
from librats.services.punch.puncher import HolePuncher
from librats.types import FilteringBehavior, MappingBehavior, PortAllocation

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

STUN = f"{SERVER[0]}:3478"
CONFIG = NatTraversalConfig(stun_servers=(STUN,), stun_timeout=2.0)
PATIENT = PunchSettings(rounds=6, answer_time=60.0, seconds=300.0)

CONE = NatTypeInfo(
    mapping=MappingBehavior.ENDPOINT_INDEPENDENT,
    filtering=FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT,
    port_allocation=PortAllocation.PRESERVING,
)
SYMMETRIC = replace(CONE, mapping=MappingBehavior.ADDRESS_AND_PORT_DEPENDENT)
NATS = {
    "symmetric": replace(SYMMETRIC, port_allocation=PortAllocation.RANDOM),
    "symmetric_seq": replace(SYMMETRIC, port_allocation=PortAllocation.SEQUENTIAL, port_step=1),
    "udp_blocked": NatTypeInfo(type=NatType.BLOCKED),
}
"""What is known of the types: to find it out takes seconds, and is tested elsewhere."""


class TcpBoxNetwork(BoxNetwork):
    """The network of one box, connections included."""

    def _stream(self, family: int) -> socket.socket:
        with self._lab.enter(self._box):
            return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)

    async def listen_tcp(self, factory: Any, host: str, port: int, *, reuse_port: bool = False) -> TcpListener:
        return await listen_tcp(factory, host, port, reuse_port=reuse_port, new_socket=self._stream)

    async def dial_tcp(self, factory: Any, address: Address, **options: Any) -> None:
        await dial_tcp(factory, address, new_socket=self._stream, **options)


class StunOverTcp(asyncio.Protocol):
    """Answers one Binding request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reply = binding_reply(data, self.transport.get_extra_info("peername"), 0, [(SERVER[0], 3478)])
        if reply is not None:
            self.transport.write(reply[1])


@contextmanager
def laboratory(*kinds: str) -> Iterator[Lab]:
    """Make a laboratory with a STUN server that can tell everything."""
    with Lab(*kinds) as lab:
        sockets = [lab.socket("server", host, port) for host in SERVER for port in (3478, 3479)]
        with StunServer(sockets):
            yield lab


async def join(
    lab: Lab,
    kinds: tuple[str, str],
    *,
    delays: tuple[float, float] = (0.01, 0.01),
) -> str:
    """Return the technique that has joined two hosts; or why none has."""
    punchers = [
        HolePuncher(
            wire,
            leads=leads,
            config=CONFIG,
            settings=PATIENT,
            nat=NATS.get(kinds[number], CONE),
            network=TcpBoxNetwork(lab, lab.host(number)),
        )
        for number, (wire, leads) in enumerate(zip(wires(*delays), (True, False), strict=True))
    ]
    server = await TcpBoxNetwork(lab, "server").listen_tcp(StunOverTcp, SERVER[0], 3478)
    outcomes = await asyncio.gather(*(puncher.punch() for puncher in punchers), return_exceptions=True)
    server.close()
    try:
        if any(isinstance(outcome, BaseException) for outcome in outcomes):
            assert all(isinstance(outcome, ConnectError) for outcome in outcomes), outcomes
            return "; ".join(str(outcome) for outcome in outcomes)
        a, b = outcomes
        if isinstance(a, PunchedConnection) and isinstance(b, PunchedConnection):
            await assert_streams(a, b)
            return str(a.technique)
        assert isinstance(a, PunchedPath)
        assert isinstance(b, PunchedPath)
        for here, there in ((a, b), (b, a)):
            here.send(b"data")
            async with asyncio.timeout(10):
                assert await there.recv() == b"data"
        return str(a.technique)
    finally:
        for outcome in outcomes:
            if not isinstance(outcome, BaseException):
                outcome.close()


@pytest.mark.parametrize("kinds", [("bare_masquerade", "port_restricted"), ("port_restricted", "bare_masquerade")])
def test_a_router_that_takes_early_datagrams_for_its_own_hears_none(kinds: tuple[str, str]) -> None:
    with laboratory(*kinds) as lab:
        assert asyncio.run(join(lab, kinds, delays=(0.3, 0.0))) == "simultaneous"


@pytest.mark.parametrize("kinds", [("symmetric_seq", "port_restricted"), ("port_restricted", "symmetric_seq")])
def test_ports_that_come_one_after_the_other_are_foretold(kinds: tuple[str, str]) -> None:
    with laboratory(*kinds) as lab:
        assert asyncio.run(join(lab, kinds)) == "prediction"


def test_both_sides_ports_may_be_foretold() -> None:
    kinds = ("symmetric_seq", "symmetric_seq")
    with laboratory(*kinds) as lab:
        assert asyncio.run(join(lab, kinds)) == "prediction"


@pytest.mark.parametrize("kinds", [("symmetric", "port_restricted"), ("port_restricted", "symmetric")])
def test_random_ports_are_met_by_chance(kinds: tuple[str, str]) -> None:
    with laboratory(*kinds) as lab:
        assert asyncio.run(join(lab, kinds)) == "birthday"


@pytest.mark.parametrize(
    "kinds",
    [("udp_blocked", "port_restricted"), ("port_restricted", "udp_blocked"), ("udp_blocked", "openwrt")],
)
def test_where_udp_is_blocked_connections_meet(kinds: tuple[str, str]) -> None:
    with laboratory(*kinds) as lab:
        assert asyncio.run(join(lab, kinds)) == "tcp"
