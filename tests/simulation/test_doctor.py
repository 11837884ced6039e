"""What the doctor tells of simulated networks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.simulation.conftest import Simulate

from librats import Address, NatTraversalConfig, NatType, NetworkReport, diagnose
from librats.relay.config import RelayConfig
from librats.testing import RouterBehavior, SimHost, SimNetwork, SimRelay

SERVER = ("203.0.113.10", "198.51.100.10")
PORT, OTHER_PORT = 3478, 3479


async def serve(net: SimNetwork) -> SimRelay:
    config = RelayConfig(
        listen=(Address(SERVER[0], PORT),), alternate=Address(SERVER[1], OTHER_PORT), users={"ann": "secret"}
    )
    with net.host("server", addresses=SERVER):
        relay = SimRelay(config)
        await relay.start()
    return relay


async def examine(host: SimHost, **settings: Any) -> NetworkReport:
    with host:
        return await diagnose(NatTraversalConfig(stun_servers=(f"{SERVER[0]}:{PORT}",), **settings))


async def examine_behind(net: SimNetwork, kind: str | RouterBehavior) -> NetworkReport:
    relay = await serve(net)
    report = await examine(net.host("host", behind=net.router("router", kind)))
    await relay.close()
    return report


@pytest.mark.parametrize(
    ("kind", "type_", "codes"),
    [
        ("open", NatType.OPEN_INTERNET, {"open"}),
        ("full_cone", NatType.FULL_CONE, {"open"}),
        ("port_restricted", NatType.PORT_RESTRICTED_CONE, {"no-hairpin"}),
        ("symmetric", NatType.SYMMETRIC, {"symmetric-nat"}),
        ("udp_blocked", NatType.BLOCKED, {"udp-blocked"}),
    ],
)
def test_each_kind_of_router_is_told(simulate: Simulate, kind: str, type_: NatType, codes: set[str]) -> None:
    report = simulate(lambda net: examine_behind(net, kind))
    assert report.seen.ipv4.type is type_
    assert codes <= {finding.code for finding in report.findings}
    assert report.seen.duration < 9
    assert [one.gets_through for one in report.seen.tcp] == [True]
    assert [(each.name, each.kind.value) for each in report.seen.interfaces] == [
        ("eth0", "ordinary"),
        ("lo", "loopback"),
    ]
    assert report.seen.mtu == (None if kind == "udp_blocked" else 1500)


def test_a_router_that_maps_ports_is_asked_and_told_and_left_as_it_was(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> NetworkReport:
        relay = await serve(net)
        home = net.router("home", RouterBehavior(port_mapping=("pcp",), ipv6="none"))
        report = await examine(net.host("host", behind=home))
        await asyncio.sleep(1)
        assert not home.port_mapping.leases
        await relay.close()
        return report

    report = simulate(scenario)
    assert report.seen.mapping is not None
    assert report.seen.mapping.external.host == report.seen.ipv4.public_address.host  # type: ignore[union-attr]
    assert {"port-mapping"} <= {finding.code for finding in report.findings}
    assert report.seen.gateways


def test_a_tunnel_on_the_way_makes_packets_shorter(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> NetworkReport:
        relay = await serve(net)
        host = net.host("host")
        net.set_link(host, net.hosts[0], mtu=1420)
        report = await examine(host)
        await relay.close()
        return report

    assert simulate(scenario).seen.mtu == 1420


def test_nobody_is_contacted_where_nobody_is_configured(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> NetworkReport:
        host = net.host("host", behind=net.router("home", RouterBehavior(port_mapping=("pcp",))))
        with host:
            return await diagnose(NatTraversalConfig.offline())

    report = simulate(scenario)
    assert [finding.code for finding in report.findings] == ["no-servers"]
    assert (report.seen.mapping, report.seen.mapping_code, report.seen.mtu) == (None, "", None)


def test_cancelling_leaves_nothing_behind(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        home = net.router("home", RouterBehavior(port_mapping=("pcp",)))
        host = net.host("host", behind=home)
        for tenths in range(0, 30, 2):
            task = asyncio.create_task(examine(host))
            await asyncio.sleep(tenths / 10)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.result()
        await asyncio.sleep(1)
        assert not home.port_mapping.leases
        await relay.close()

    simulate(scenario)


def test_progress_tells_every_step_once(simulate: Simulate) -> None:
    told: list[tuple[str, int, int]] = []

    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        with net.host("host"):
            nat = NatTraversalConfig(stun_servers=(f"{SERVER[0]}:{PORT}",))
            await diagnose(nat, progress=lambda *step: told.append(step))
        await relay.close()

    simulate(scenario)
    assert [done for _, done, _ in told] == list(range(1, 9))
    assert len({step for step, _, _ in told}) == 8
    assert {total for _, _, total in told} == {8}
