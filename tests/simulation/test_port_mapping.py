"""Ports that simulated routers map for clients behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client, until

from librats import (
    Address,
    ClosedError,
    ConnectionMethod,
    NatTraversalConfig,
    PathPolicy,
    PortMapped,
    PortMappingError,
    PortMappingFailed,
    PortMappingProtocol,
    RatsClient,
    TurnServer,
    UsageError,
)
from librats.portmap.pcp_wire import PcpResult
from librats.testing import RouterBehavior, SimHost, SimNetwork
from librats.testing.routers import SimRouter

PCP, NAT_PMP = PortMappingProtocol.PCP, PortMappingProtocol.NAT_PMP
BOTH = ("pcp", "nat-pmp")


def home_of(net: SimNetwork, protocols: Sequence[str] = BOTH, **behavior: Any) -> tuple[SimRouter, SimHost]:
    home = net.router("home", RouterBehavior(port_mapping=tuple(protocols), **{"ipv6": "none", **behavior}))
    return home, net.host("alice", behind=home)


class Heard:
    """The events of a client, from its start on."""

    def __init__(self) -> None:
        self.mapped: list[PortMapped] = []
        self.failed: list[PortMappingFailed] = []

    async def start(self, host: SimHost, port: int = PORT, **settings: Any) -> RatsClient:
        with host:
            client = RatsClient(port, **settings)
            client.on_event(PortMapped, self.mapped.append)
            client.on_event(PortMappingFailed, self.failed.append)
            await client.start()
        return client


@pytest.mark.parametrize(("protocols", "used"), [(BOTH, PCP), (("pcp",), PCP), (("nat-pmp",), NAT_PMP)])
@pytest.mark.parametrize("kind", ["ei", "symmetric"])
def test_a_port_is_mapped_and_others_connect_to_it(
    simulate: Simulate, protocols: Sequence[str], used: PortMappingProtocol, kind: str
) -> None:
    symmetric = {"mapping": "address-and-port-dependent", "ports": "random"} if kind == "symmetric" else {}

    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net, protocols, **symmetric)
        heard = Heard()
        alice = await heard.start(host)
        bob = await start_client(net.host("bob"))
        await until(lambda: len(alice.nat.port_mappings()) == 2)
        mappings = alice.nat.port_mappings()
        outside = Address(home.address, PORT)
        assert {(m.transport, m.external, m.protocol) for m in mappings} == {
            ("tcp", outside, used),
            ("udp", outside, used),
        }
        assert mappings[0].internal == Address(host.addresses[0], PORT)
        assert [event.mapping for event in heard.mapped] == mappings
        assert alice.addresses.count(outside) == 1
        assert alice.nat.mapped_addresses == [outside]
        with net.hosts[1]:
            to_alice = await bob.connect(outside, expect_id=alice.peer_id)
        await to_alice.send("hi", 1)
        await alice.stop()
        await bob.stop()
        assert heard.failed == []

    simulate(scenario)


def test_datagrams_come_in_at_a_mapped_port(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        alice = await start_client(host)
        bob = await start_client(net.host("bob"), transports=("udp",))
        await until(lambda: len(alice.nat.port_mappings()) == 2)
        with net.hosts[1]:
            peer = await bob.connect(Address(home.address, PORT))
        assert peer.method is ConnectionMethod.UDP
        await bob.stop()
        await alice.stop()

    simulate(scenario)


def test_further_ports_are_mapped_and_given_back(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        alice = await start_client(host)
        mapping = await alice.nat.map_port(9000, "udp")  # before the first look at the gateways is over
        other = await alice.nat.map_port(9000)
        assert (mapping.internal.port, mapping.external) == (9000, Address(home.address, 9000))
        assert other.transport == "tcp"
        assert len(alice.nat.port_mappings()) == len(home.port_mapping.leases) == 4
        with pytest.raises(UsageError):
            await alice.nat.map_port(9000)
        assert alice.nat.unmap_port(9000, "udp")
        assert not alice.nat.unmap_port(9000, "udp")
        assert len(alice.nat.port_mappings()) == 3
        await alice.nat.map_port(9000, "udp")  # while the removal is still under way
        await asyncio.sleep(4000)
        assert len(home.port_mapping.leases) == 4
        await alice.stop()
        assert home.port_mapping.leases == {}

    simulate(scenario)


def test_why_a_further_port_is_not_mapped_is_raised(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        home.port_mapping.refuses = PcpResult.NO_RESOURCES
        alice = await start_client(host)
        bob = await start_client(net.host("bob"))
        for client, code in ((alice, "no_resources"), (bob, "no_gateway")):
            with pytest.raises(PortMappingError) as error:
                await client.nat.map_port(9000)
            assert error.value.code == code
        home.port_mapping.refuses = None
        home.down()
        with pytest.raises(PortMappingError) as error:
            await alice.nat.map_port(9000, timeout=0.1)
        assert error.value.code == "no_answer"
        for wrong in ({"port": 0}, {"port": 9000, "transport": "icmp"}):
            with pytest.raises(UsageError):
                await alice.nat.map_port(**wrong)
        waiting = asyncio.ensure_future(alice.nat.map_port(9001, timeout=1000.0))
        await asyncio.sleep(0.1)
        await alice.stop()
        with pytest.raises(ClosedError):
            await waiting
        with pytest.raises(UsageError):
            await alice.nat.map_port(9000)
        await bob.stop()

    simulate(scenario)


def test_no_port_is_mapped_where_that_is_switched_off(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        _, host = home_of(net)
        alice = await start_client(host, nat=NatTraversalConfig.offline())
        with pytest.raises(UsageError, match="switched off"):
            await alice.nat.map_port(9000)
        await alice.stop()

    simulate(scenario)


def test_mappings_are_gone_when_the_client_is(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        alice = await start_client(host)
        await until(lambda: len(home.port_mapping.leases) == 2)
        began = net.time
        await alice.stop()
        assert net.time - began < 0.5
        assert home.port_mapping.leases == {}
        assert home.mappings("udp") == home.mappings("tcp") == 0
        assert alice.nat.port_mappings() == []

    simulate(scenario)


def test_a_client_starts_and_stops_at_once_whatever_the_gateway_does(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        home.down()
        began = net.time
        alice = await start_client(host)
        assert net.time == began
        await asyncio.sleep(1)
        began = net.time
        await alice.stop()
        assert net.time - began < 0.05

    simulate(scenario)


@pytest.mark.parametrize("protocols", [("pcp",), ("nat-pmp",)])
def test_a_client_that_stops_right_away_leaves_no_mapping(simulate: Simulate, protocols: Sequence[str]) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net, protocols)
        for pause in (0.0, 0.0003, 0.0008, 0.0012, 0.0018, 0.0023, 0.0028, 0.0033, 0.0038):
            alice = await start_client(host)
            await asyncio.sleep(pause)
            await alice.stop()
            await asyncio.sleep(1)
            assert home.port_mapping.leases == {}, pause

    simulate(scenario)


def test_mappings_outlive_a_day_of_lost_packets_and_restarts(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        home.port_mapping.max_lifetime = 600
        net.set_link(host, home, loss=0.2)
        heard = Heard()
        alice = await heard.start(host)
        for hour in range(24):
            await asyncio.sleep(3600)
            assert [m.external.port for m in alice.nat.port_mappings()] == [PORT, PORT]
            live = [lease for lease in home.port_mapping.leases.values() if lease.expires > net.time]
            assert len(live) == 2
            if hour % 6 == 5:
                home.restart()
                await asyncio.sleep(400)
        await alice.stop()
        assert len(heard.mapped) - len([event for event in heard.failed if event.lost]) == 2

    simulate(scenario)


def test_another_public_address_is_noticed(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        heard = Heard()
        alice = await heard.start(host)
        await until(lambda: len(alice.nat.port_mappings()) == 2)
        await asyncio.sleep(300)
        old = home.address
        home.outside.readdress()
        assert home.address != old
        await asyncio.sleep(200)
        assert {m.external.host for m in alice.nat.port_mappings()} == {home.address}
        assert [(e.previous.external.host if e.previous else "") for e in heard.mapped[2:]] == [old, old]
        assert Address(home.address, PORT) in alice.addresses
        await alice.stop()

    simulate(scenario)


@pytest.mark.parametrize("address", ["192.168.1.77", "192.168.1.11"], ids=["another address", "the same address"])
def test_a_client_that_moves_has_its_port_mapped_there(simulate: Simulate, address: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        office = net.router("office", RouterBehavior(port_mapping=BOTH, ipv6="none"))
        heard = Heard()
        alice = await heard.start(host)
        await until(lambda: len(alice.nat.port_mappings()) == 2)
        await asyncio.sleep(500)
        office.restart()
        host.interfaces["eth0"].move(office, addresses=[address])
        await asyncio.sleep(130)
        assert {m.external.host for m in alice.nat.port_mappings()} == {office.address}
        assert {m.internal.host for m in alice.nat.port_mappings()} == {address}
        lost = [event.lost.external.host for event in heard.failed if event.lost]
        assert lost == ([] if address == "192.168.1.11" else [home.address] * 2)
        await alice.stop()
        assert office.port_mapping.leases == {}

    simulate(scenario)


def test_a_refusal_is_told_and_the_port_mapped_when_it_is_over(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        home.port_mapping.refuses = PcpResult.NOT_AUTHORIZED
        heard = Heard()
        alice = await heard.start(host)
        await asyncio.sleep(3600)
        assert [(e.transport, e.code, e.gateway) for e in heard.failed] == [
            ("tcp", "not_authorized", "192.168.1.1"),
            ("udp", "not_authorized", "192.168.1.1"),
        ]
        home.port_mapping.refuses = None
        await asyncio.sleep(2000)
        assert len(heard.mapped) == 2
        await alice.stop()

    simulate(scenario)


def test_two_clients_behind_one_router_have_ports_of_their_own(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        first = await start_client(host)
        await asyncio.sleep(1)
        second = await start_client(net.host("second", behind=home))
        await asyncio.sleep(1)
        outside = {m.external for client in (first, second) for m in client.nat.port_mappings()}
        assert {address.host for address in outside} == {home.address}
        assert Address(home.address, PORT) in outside
        assert len(second.nat.port_mappings()) == 2
        assert not {m.external for m in first.nat.port_mappings()} & {m.external for m in second.nat.port_mappings()}
        await first.stop()
        await second.stop()

    simulate(scenario)


def test_behind_two_nats_a_mapping_is_told_and_not_announced(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        carrier = net.router("carrier", "full_cone")
        inner = RouterBehavior(port_mapping=BOTH, ipv6="none")
        home = net.router("home", inner, behind=carrier)
        alice = await start_client(net.host("alice", behind=home))
        await until(lambda: len(alice.nat.port_mappings()) == 2)
        assert [m.is_public for m in alice.nat.port_mappings()] == [False, False]
        assert alice.nat.mapped_addresses == []
        await alice.stop()

    simulate(scenario)


def test_the_firewall_is_opened_over_ipv6(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home = net.router("home", RouterBehavior(port_mapping=("pcp",), ipv4=False))
        host = net.host("alice", behind=home)
        alice = await start_client(host)
        bob = await start_client(net.host("bob"))
        [address] = host.addresses
        await until(lambda: len(alice.nat.port_mappings()) == 2)
        assert alice.nat.mapped_addresses == []  # it is an address of this host already
        assert Address(address, PORT) in alice.addresses
        with net.hosts[1]:
            await bob.connect(Address(address, PORT))
        await bob.stop()
        await alice.stop()

    simulate(scenario)


@pytest.mark.parametrize(
    "settings",
    [
        {"nat": NatTraversalConfig.offline()},
        {"nat": NatTraversalConfig(enable_port_mapping=False)},
        {"listen_host": "127.0.0.1"},
        {
            "nat": NatTraversalConfig(
                path_policy=PathPolicy.RELAY_ONLY,
                turn_servers=(TurnServer(host="203.0.113.250", username="a", password="b"),),
            )
        },
    ],
    ids=["offline", "switched off", "loopback", "relay only"],
)
def test_nobody_is_asked_where_nobody_is_to_be(simulate: Simulate, settings: dict[str, Any]) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, host = home_of(net)
        alice = await start_client(host, **settings)
        await asyncio.sleep(5)
        assert home.port_mapping.leases == {}
        assert "192.168.1.1" not in str(net.trace).replace("192.168.1.11", "")
        await alice.stop()

    simulate(scenario, trace=True)


def test_a_host_with_a_public_address_asks_nobody(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        router = net.router("open", RouterBehavior(translates=False, ipv6="none", port_mapping=BOTH))
        alice = await start_client(net.host("alice", behind=router))
        await asyncio.sleep(5)
        assert alice.nat.port_mappings() == []
        await alice.stop()

    simulate(scenario)
