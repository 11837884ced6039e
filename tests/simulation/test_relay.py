"""The relay and its clients behind simulated NATs: who meets there, and that an allocation outlives a new network."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from tests.simulation.conftest import Simulate, until

from librats import (
    ConfigError,
    OperationTimeout,
    TurnAllocated,
    TurnAllocation,
    TurnError,
    TurnLost,
    TurnServer,
    TurnTcpAllocation,
)
from librats.relay.config import RelayConfig
from librats.runtime.datagrams import Origin
from librats.testing import SimHost, SimNetwork, SimRelay
from librats.turn.serving.quotas import QuotaLimits
from librats.types import Address, TurnTransport

RELAY = "203.0.113.10"
USERS = {"ann": "secret"}


async def serve(net: SimNetwork, **settings: Any) -> SimRelay:
    host = next((host for host in net.hosts if host.name == "relay"), None)
    with host or net.host("relay", addresses=[RELAY, "2001:db8:10::10"]):
        relay = SimRelay(RelayConfig(**({"users": USERS} | settings)))
        await relay.start()
    return relay


def server(transport: TurnTransport = TurnTransport.UDP, **changes: str) -> TurnServer:
    login: dict[str, Any] = {"username": "ann", "password": "secret"} | changes
    return TurnServer(host="relay", port=3478, transport=transport, **login)


class Member:
    """Somebody with an allocation, and what came through it."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Address]] = []
        self.events: list[Any] = []
        self.allocation: TurnAllocation

    def receive(self, batch: list[tuple[bytes, Any]]) -> None:
        self.heard += [(data, Address(*source)) for data, source in batch]

    @classmethod
    async def on(cls, host: SimHost, transport: TurnTransport = TurnTransport.UDP, **options: Any) -> Member:
        member = cls()
        with host:
            member.allocation = await TurnAllocation.open(
                server(transport), receive=member.receive, on_event=member.events.append, **options
            )
        return member


@pytest.mark.parametrize(
    ("kinds", "transports"),
    [
        (("symmetric", "symmetric"), ("udp", "udp")),
        (("cgnat_sym", "udp_blocked"), ("udp", "tcp")),
        (("udp_blocked", "udp_blocked"), ("tcp", "tcp")),
    ],
)
def test_those_whom_no_punch_brings_together_meet_at_the_relay(
    simulate: Simulate, kinds: tuple[str, str], transports: tuple[str, str]
) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", kind)) for n, kind in enumerate(kinds)]
        a, b = [
            await Member.on(host, TurnTransport(transport)) for host, transport in zip(hosts, transports, strict=True)
        ]
        assert a.allocation.relayed_address.host == RELAY
        for one, other in ((a, b), (b, a)):
            await one.allocation.bind_channel(other.allocation.relayed_address)
        for number in range(100):
            a.allocation.send(b"a%d" % number, b.allocation.relayed_address)
            b.allocation.send(b"b%d" % number, a.allocation.relayed_address)
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        assert b.heard == [(b"a%d" % number, a.allocation.relayed_address) for number in range(100)]
        assert a.heard == [(b"b%d" % number, b.allocation.relayed_address) for number in range(100)]
        told = relay.statistics()
        assert (told.allocations, told.users, told.packets) == (2, {"ann": 2}, 400)
        assert (told.connections, told.answers["allocate", 0]) == (transports.count("tcp"), 2)
        for member in (a, b):
            await member.allocation.close()
        await asyncio.sleep(1)
        assert relay.statistics().allocations == 0
        await relay.close()

    simulate(scenario)


@pytest.mark.parametrize("channels", [True, False])
def test_an_allocation_keeps_its_address_while_a_phone_changes_its_network(simulate: Simulate, channels: bool) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        phone = net.host("phone", behind=net.router("home", "port_restricted"))
        phone.add_interface("cell", behind=net.router("carrier", "cgnat_sym"))
        peer: list[tuple[bytes, Origin]] = []
        friend = await net.host("friend").open_datagram(port=7000, receive=peer.extend)
        member = await Member.on(phone, mobility=True, channels=channels)
        relayed = member.allocation.relayed_address
        member.allocation.send(b"from home", Address("10.0.0.1", 7000))
        await asyncio.sleep(1)
        phone.interfaces["eth0"].down()
        with phone:
            assert await member.allocation.move()
        assert member.allocation.relayed_address == relayed
        member.allocation.send(b"from the train", Address("10.0.0.1", 7000))
        friend.send(b"welcome", relayed)
        await asyncio.sleep(1)
        assert peer == [(b"from home", relayed), (b"from the train", relayed)]
        assert [data for data, _ in member.heard] == [b"welcome"]
        friend.close()
        await member.allocation.close()
        await relay.close()

    simulate(scenario)


def test_an_allocation_lives_for_hours_behind_a_nat_with_short_timeouts(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        member = await Member.on(net.host("host", behind=net.router("router", "symmetric")))
        friend: list[tuple[bytes, Origin]] = []
        endpoint = await net.host("friend").open_datagram(port=7000, receive=friend.extend)
        member.allocation.send(b"x", Address("10.0.0.1", 7000))
        await asyncio.sleep(6 * 3600)
        endpoint.send(b"still there?", member.allocation.relayed_address)
        await asyncio.sleep(1)
        assert [data for data, _ in member.heard] == [b"still there?"]
        assert [type(event) for event in member.events] == [TurnAllocated]
        endpoint.close()
        await member.allocation.close()
        await relay.close()

    simulate(scenario)


def test_another_allocation_is_made_where_the_relay_starts_again(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        member = await Member.on(net.host("host", behind=net.router("router")))
        await relay.close()
        await until(lambda: any(isinstance(event, TurnLost) for event in member.events))
        relay = await serve(net)
        await until(lambda: isinstance(member.events[-1], TurnAllocated) and member.events[-1].again)
        await member.allocation.close()
        await relay.close()

    simulate(scenario)


def test_what_the_relay_refuses_is_told(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(
            net, quotas=QuotaLimits(user_allocations=1), deny_peers=(ipaddress.ip_network("10.0.0.0/24"),)
        )
        host = net.host("host")
        member = await Member.on(host)
        with host:
            with pytest.raises(TurnError) as caught:
                await TurnAllocation.open(server())
            assert caught.value.code == 486
            with pytest.raises(TurnError) as caught:
                await TurnAllocation.open(server(password="guess"))
            assert caught.value.code == 401
            with pytest.raises(TurnError):
                await TurnTcpAllocation.open(server(TurnTransport.TCP))
            with pytest.raises(ConfigError, match="listen"):
                await SimRelay(RelayConfig(users=USERS, listen=(Address("192.0.2.99", 3478),))).start()
        for peer in ("10.0.0.1", "192.168.1.1"):
            with pytest.raises(TurnError) as caught:
                await member.allocation.create_permission(peer)
            assert caught.value.code == 403
        await member.allocation.create_permission("10.0.1.1")
        await member.allocation.close()
        await relay.close()
        with host, pytest.raises(OperationTimeout):
            await TurnAllocation.open(server())

    simulate(scenario)
