"""What a host's NAT does is found out in the background, once in each network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.conftest import Simulate, until
from tests.simulation.test_nat_types import BOTH, serve

from librats import NatTraversalConfig, NatType
from librats.runtime.tasks import TaskSet
from librats.services.nat_watch import NatWatch
from librats.testing import SimHost, SimNetwork
from librats.types import Address, FilteringBehavior, MappingBehavior

CONFIG = NatTraversalConfig(stun_servers=BOTH[:1])


def watch(
    host: SimHost, tasks: TaskSet, servers: Callable[[], list[Address]] | None = None, **options: Any
) -> NatWatch:
    return NatWatch(servers or (lambda: list(CONFIG.stun_addresses)), host, tasks, CONFIG, **options)


@pytest.mark.parametrize("kind", ["port_restricted", "symmetric"])
def test_mapping_is_known_within_round_trips_and_filtering_later(simulate: Simulate, kind: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay, tasks = await serve(net), TaskSet()
        host = net.host("host", behind=net.router("router", kind))
        with host:
            seen = watch(host, tasks)
            seen.look()
            await until(lambda: seen.info, within=0.2)
            early = seen.info
            assert early is not None
            is_easy = early.mapping is MappingBehavior.ENDPOINT_INDEPENDENT
            assert is_easy is (kind == "port_restricted")
            assert early.filtering is FilteringBehavior.UNKNOWN
            assert early.problem == ""
            await seen.learn()
            assert seen.info is not None
            assert seen.info.filtering is FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT
        await tasks.close()
        await relay.close()

    simulate(scenario, delay=0.01)


def test_a_network_is_measured_once_and_another_one_anew(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay, tasks = await serve(net), TaskSet()
        home, hotel = net.router("home", "port_restricted"), net.router("hotel", "symmetric")
        host = net.host("host", behind=home)
        where: list[str] = []
        asked = 0

        def servers() -> list[Address]:
            nonlocal asked
            asked += 1
            return list(CONFIG.stun_addresses)

        async def type_now() -> NatType | None:
            seen.look()
            await asyncio.sleep(10)
            return seen.info.type if seen.info is not None else None

        with host:
            seen = watch(host, tasks, servers, seen_at=lambda: where)
            assert await type_now() is NatType.PORT_RESTRICTED_CONE
            assert asked == 2
            assert await type_now() is NatType.PORT_RESTRICTED_CONE
            assert asked == 3
            before = host.addresses
            host.interfaces["eth0"].move(hotel)
            where.append("203.0.113.102")
            assert await type_now() is NatType.SYMMETRIC
            assert asked == 5
            host.interfaces["eth0"].move(home, addresses=before)
            where.pop()
            seen.look()
            await asyncio.sleep(0.01)
            assert seen.info is not None
            assert seen.info.type is NatType.PORT_RESTRICTED_CONE
        await tasks.close()
        await relay.close()

    simulate(scenario, delay=0.01)


def test_silence_counts_as_blocked_until_something_is_heard(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        host, tasks = net.host("host", behind=net.router("router", "port_restricted")), TaskSet()
        with host:
            seen = watch(host, tasks)
            seen.look()
            await until(lambda: seen.info, within=1)
            assert seen.info is not None
            assert seen.info.type is NatType.BLOCKED
            relay = await serve(net)
            await until(lambda: seen.info is not None and seen.info.type is not NatType.BLOCKED, within=5)
        await tasks.close()
        await relay.close()

    simulate(scenario, delay=0.01)


def test_an_outage_is_not_remembered(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        host, tasks = net.host("host", behind=net.router("router", "port_restricted")), TaskSet()
        with host:
            seen = watch(host, tasks)
            seen.look()
            await asyncio.sleep(10)
            relay = await serve(net)
            seen.look()
            await asyncio.sleep(10)
            assert seen.info is not None
            assert seen.info.type is NatType.PORT_RESTRICTED_CONE
        await tasks.close()
        await relay.close()

    simulate(scenario, delay=0.01)


def test_nobody_is_asked_where_there_is_nobody_to_ask(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        host, tasks = net.host("host"), TaskSet()
        with host:
            seen = watch(host, tasks, list)
            seen.look()
            assert len(tasks) == 0

    simulate(scenario)
