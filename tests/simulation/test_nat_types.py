"""Detection behind every type of simulated router, with our own server; and that simulated NATs let punches through."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from tests.netns.nat_rules import TYPES
from tests.reference.nat_types import WORDS, promised
from tests.reference.punching import Open, Pace, punch, tell_where_from
from tests.simulation.conftest import Simulate

from librats import NatTraversalConfig, NatType, NatTypeInfo, RatsClient, RatsConfig
from librats.relay.config import RelayConfig
from librats.runtime.datagrams import Receive
from librats.runtime.udp import DatagramEndpoint
from librats.testing import SimHost, SimNetwork, SimRelay
from librats.testing.behaviors import ROUTER_TYPES
from librats.types import Address

SERVER = ("203.0.113.10", "198.51.100.10", "2001:db8:10::10")
PORT, OTHER_PORT = 3478, 3479
BOTH = (f"{SERVER[0]}:{PORT}", f"[{SERVER[2]}]:{PORT}")
USUAL = ("open", "full_cone", "restricted", "port_restricted", "symmetric", "double_nat", "udp_blocked")


async def serve(net: SimNetwork) -> SimRelay:
    config = RelayConfig(
        listen=(Address(SERVER[0], PORT), Address(SERVER[2], PORT)),
        alternate=Address(SERVER[1], OTHER_PORT),
        users={"ann": "secret"},
        tcp=False,
    )
    with net.host("server", addresses=SERVER):
        relay = SimRelay(config)
        await relay.start()
    return relay


async def detect(host: SimHost, **settings: Any) -> NatTypeInfo:
    config = RatsConfig(nat=NatTraversalConfig(stun_servers=BOTH, stun_timeout=3.0))
    with host:
        async with RatsClient(0, config=config) as client:
            return await client.nat.detect(**settings)


async def detect_behind(net: SimNetwork, kind: str, **settings: Any) -> NatTypeInfo:
    relay = await serve(net)
    info = await detect(net.host("host", behind=net.router("router", kind)), **settings)
    await relay.close()
    return info


@pytest.mark.parametrize("name", WORDS)
def test_every_type_is_told_as_behind_the_kernels_routers(simulate: Simulate, name: str) -> None:
    info = simulate(lambda net: detect_behind(net, name), seed=3)
    found = {
        "type": info.type,
        "mapping": info.mapping,
        "filtering": info.filtering,
        "ports": (info.port_allocation, info.port_step),
        "NAT": info.has_nat,
        "hairpin": info.hairpin,
        "problem": info.problem,
    }
    assert found == promised(name)


def test_every_type_of_the_kernels_is_simulated() -> None:
    assert set(WORDS) | {"udp_blocked", "v6_only"} == set(TYPES)
    assert set(TYPES) | {"tcp443_only"} == set(ROUTER_TYPES)


def test_udp_that_is_blocked_is_told(simulate: Simulate) -> None:
    info = simulate(lambda net: detect_behind(net, "udp_blocked"))
    assert (info.type, info.has_nat, info.public_address) == (NatType.BLOCKED, None, None)


def test_a_host_without_ipv4_is_measured_over_ipv6(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        host = net.host("host", behind=net.router("router", "v6_only"))
        info = await detect(host)
        assert info.public_address is not None
        assert (info.public_address.host, info.has_nat) == (host.addresses[0], False)
        await relay.close()

    simulate(scenario)


def test_the_lifetime_of_a_mapping_is_found_out_in_virtual_time(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        router = net.router("router", "port_restricted")
        info = await detect(net.host("host", behind=router), lifetime=True, lifetime_waits=(60.0, 110.0, 130.0, 300.0))
        assert (info.mapping_lifetime, info.mapping_expired_after) == (110.0, 130.0)
        await relay.close()

    simulate(scenario)


async def usual_matrix(net: SimNetwork) -> dict[tuple[str, str], bool]:
    server = net.host("server", addresses=SERVER)
    hosts = [
        [net.host(f"{kind} {side}", behind=net.router(f"{kind} {side} router", kind)) for kind in USUAL]
        for side in range(2)
    ]

    def opener(host: SimHost, port: int = 0) -> Open:
        async def open_there(port: int, receive: Receive) -> DatagramEndpoint:
            return await host.open_datagram(host.addresses[0], port, receive=receive)

        return partial(open_there, port)

    where = Address(SERVER[0], PORT)
    endpoint, pace = await tell_where_from(opener(server, PORT)), Pace()
    await pace.start(opener(net.host("witness")), where)
    pairs = [(a, b) for a in range(len(USUAL)) for b in range(len(USUAL))]
    through = await asyncio.gather(*(punch(opener(hosts[0][a]), opener(hosts[1][b]), where, pace) for a, b in pairs))
    pace.close()
    endpoint.close()
    return {(USUAL[a], USUAL[b]): done for (a, b), done in zip(pairs, through, strict=True)}


@pytest.mark.parametrize(("kind", "early"), [("bare_masquerade", False), ("port_restricted", True)])
def test_a_punch_that_comes_early_spoils_the_answer_where_the_router_takes_it(
    simulate: Simulate, kind: str, early: bool
) -> None:
    async def scenario(net: SimNetwork) -> bool:
        hosts = [
            net.host(f"host{n}", behind=net.router(f"router{n}", name)) for n, name in enumerate(("openwrt", kind))
        ]
        heard: list[list[bytes]] = [[], []]

        def opener(host: SimHost, into: list[bytes]) -> Any:
            return host.open_datagram(port=7000, receive=lambda batch: into.extend(data for data, _ in batch))

        ends = [await opener(host, into) for host, into in zip(hosts, heard, strict=True)]
        outside = [Address(router.address, 7000) for router in net.routers]
        ends[0].send(b"early", outside[1])
        await asyncio.sleep(1)
        for _ in range(3):
            ends[1].send(b"answer", outside[0])
            ends[0].send(b"again", outside[1])
            await asyncio.sleep(1)
        for end in ends:
            end.close()
        return b"answer" in heard[0] and b"again" in heard[1]

    assert simulate(scenario) is early


def test_plain_punches_get_through_where_they_do_in_life(simulate: Simulate) -> None:
    """What the kernel does is recorded here, so that it is checked where there is no laboratory, too."""
    strict = {"port_restricted", "double_nat", "symmetric"}
    matrix = simulate(usual_matrix, delay=0.02)
    for (a, b), through in matrix.items():
        in_vain = "udp_blocked" in (a, b) or ("symmetric" in (a, b) and {a, b} <= strict)
        assert through is not in_vain, (a, b)
    assert sum(matrix.values()) == 31
