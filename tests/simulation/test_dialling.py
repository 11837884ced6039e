"""One connection to one of several addresses: the first, whatever is lost or dead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.simulation.conftest import Simulate

from librats import Address
from librats.services.dialling import dial_first
from librats.testing import SimHost, SimNetwork

PORT = 3478


class Told(asyncio.Protocol):
    """A connection that notes its beginning and its end."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def connection_made(self, transport: Any) -> None:
        self.told.append("made")
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


async def listening(host: SimHost) -> tuple[list[str], Any]:
    told: list[str] = []
    return told, await host.listen_tcp(lambda: Told(told), host.addresses[0], PORT)


async def dialled(host: SimHost, *addresses: Address, timeout: float = 5.0) -> tuple[Told, float]:
    made: list[Told] = []

    def factory() -> Told:
        made.append(Told([]))
        return made[-1]

    loop = asyncio.get_running_loop()
    began = loop.time()
    await dial_first(host.dial_tcp, factory, addresses, timeout=timeout, again=addresses)
    spent = loop.time() - began
    [protocol] = made
    await asyncio.sleep(1)
    assert protocol.told == ["made"]
    return protocol, spent


def test_a_dead_address_before_a_live_one_costs_a_third_of_a_second(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        accepted, listener = await listening(net.host("server"))
        protocol, spent = await dialled(
            net.host("client"), Address("203.0.113.99", PORT), Address(net.hosts[0].addresses[0], PORT)
        )
        assert spent < 0.4
        assert accepted == ["made"]
        protocol.transport.abort()
        listener.close()

    simulate(scenario)


def test_a_first_packet_that_is_lost_is_not_waited_for(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        server, client = net.host("server"), net.host("client")
        _, listener = await listening(server)
        net.cut(client, server)
        net.at(0.2, net.mend, client, server)
        protocol, spent = await dialled(client, Address(server.addresses[0], PORT))
        assert spent < 0.4
        protocol.transport.abort()
        listener.close()

    simulate(scenario)


def test_two_connections_at_once_leave_one(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        server, client = net.host("server"), net.host("client")
        net.set_link(server, client, delay=0.2)  # the answer to the first comes when the second was sent
        accepted, listener = await listening(server)
        protocol, _ = await dialled(client, Address(server.addresses[0], PORT))
        assert accepted.count("made") - accepted.count("lost") == 1
        protocol.transport.abort()
        listener.close()

    simulate(scenario)


def test_a_refusal_is_not_tried_again(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        server, client = net.host("server"), net.host("client")
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(ConnectionRefusedError):
            await dialled(client, Address(server.addresses[0], PORT))
        assert loop.time() - began < 0.1

    simulate(scenario)


def test_silence_everywhere_is_a_timeout(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        with pytest.raises(TimeoutError):
            await dialled(net.host("client"), Address("203.0.113.99", PORT))

    simulate(scenario)
