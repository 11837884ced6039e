"""ICE agents in a simulated network: behind routers of every kind, with and without a relay, while things move."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from tests.netns.nat_rules import TYPES
from tests.simulation.conftest import Simulate, until

from librats import Address, ConnectError, NatTraversalConfig
from librats.ice.candidates import CandidateType, IceCandidate
from librats.ice.events import IceState
from librats.ice.messages import read_message
from librats.relay.config import RelayConfig
from librats.services.ice.agent import IceAgent
from librats.services.ice.ports import SharedSocket
from librats.testing import SimHost, SimNetwork, SimRelay

SERVER = ("203.0.113.10", "2001:db8:10::10")
DEAD = "198.51.100.66"
BOTH = (f"{SERVER[0]}:3478", f"[{SERVER[1]}]:3478")


async def serve(net: SimNetwork) -> SimRelay:
    config = RelayConfig(listen=tuple(Address(host, 3478) for host in SERVER), users={"ann": "secret"})
    with net.host("server", addresses=SERVER):
        relay = SimRelay(config)
        await relay.start()
    return relay


def settings(*, relay: str = "", **fields: Any) -> NatTraversalConfig:
    turn = (f"turn:ann:secret@{SERVER[0]}:3478?transport={relay}",) if relay else ()
    return NatTraversalConfig(**{"stun_servers": BOTH, "turn_servers": turn, **fields})


async def start(host: SimHost, role: str, config: NatTraversalConfig, **options: Any) -> IceAgent:
    with host:
        agent = IceAgent(role, config, **options)
        await agent.start()
    return agent


def told(agent: IceAgent) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(json.dumps(agent.local_description))
    return description


@asynccontextmanager
async def pair(
    one: SimHost, other: SimHost, config: NatTraversalConfig, *, ipv6: bool = False, **options: Any
) -> AsyncIterator[tuple[IceAgent, IceAgent]]:
    """Start two agents that have told each other everything, and tell each other what they find later."""
    async with AsyncExitStack() as stack:
        agents: list[IceAgent] = []

        def tell(number: int, candidate: IceCandidate | None) -> None:
            if len(agents) == len((one, other)):
                agents[1 - number].add_remote_candidate(candidate)

        for host, role in ((one, "controlling"), (other, "controlled")):
            hosts = [address for address in host.addresses if ipv6 or ":" not in address]
            later = partial(tell, len(agents))
            agent = await start(host, role, config, local_hosts=hosts, on_candidate=later, **options)
            stack.push_async_callback(agent.close)
            agents.append(agent)
        a, b = agents
        await asyncio.gather(a.gather_candidates(), b.gather_candidates())
        a.set_remote_description(told(b))
        b.set_remote_description(told(a))
        yield a, b


async def assert_they_talk(a: IceAgent, b: IceAgent) -> None:
    for here, there in ((a, b), (b, a)):
        for number in range(3):
            here.send(b"datagram %d" % number)
            async with asyncio.timeout(2):
                assert await there.recv() == b"datagram %d" % number


async def meet(net: SimNetwork, kinds: tuple[str, str], config: NatTraversalConfig, *, ipv6: bool = False) -> str:
    """Return how two hosts behind routers of these kinds are joined: direct, relayed, or not at all."""
    relay = await serve(net)
    hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", kind)) for n, kind in enumerate(kinds)]
    async with pair(hosts[0], hosts[1], config, ipv6=ipv6) as (a, b):
        outcomes = await asyncio.gather(a.connect(), b.connect(), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            assert len(errors) == 2, errors
            assert all(isinstance(error, ConnectError) for error in errors), errors
            found = "not"
        else:
            await until(lambda: a.state is b.state is IceState.COMPLETED, within=5)
            await asyncio.sleep(3)
            await assert_they_talk(a, b)
            selected = [agent.statistics().selected for agent in (a, b)]
            assert selected[0] is not None
            assert selected[1] is not None
            relayed = {CandidateType.RELAYED} & {c.type for s in selected if s for c in (s.local, s.remote)}
            found = "relayed" if relayed else "direct"
    await relay.close()
    return found


SYMMETRIC = {"symmetric", "symmetric_seq", "symmetric_ad", "cgnat_sym"}
STRICT = {"port_restricted", "port_restricted_random", "openwrt", "bare_masquerade", "double_nat", "cgnat"}
MET = ("open", "full_cone", "restricted", "port_restricted", "symmetric", "cgnat", "udp_blocked")


def expected(kinds: tuple[str, str]) -> str:
    a, b = kinds
    if "udp_blocked" in kinds:
        return "not"
    if (a in SYMMETRIC and b in SYMMETRIC | STRICT) or (b in SYMMETRIC and a in STRICT):
        return "not"
    return "direct"


@pytest.mark.parametrize("a", MET)
@pytest.mark.parametrize("b", MET)
def test_whoever_can_meet_directly_does(simulate: Simulate, a: str, b: str) -> None:
    assert simulate(lambda net: meet(net, (a, b), settings()), seed=1, delay=0.02) == expected((a, b))


@pytest.mark.parametrize("a", MET)
@pytest.mark.parametrize("b", MET)
def test_with_a_relay_everybody_meets_and_directly_where_that_works(simulate: Simulate, a: str, b: str) -> None:
    transport = "tcp" if "udp_blocked" in (a, b) else "udp"
    found = simulate(lambda net: meet(net, (a, b), settings(relay=transport)), seed=2, delay=0.02)
    assert found == ("direct" if expected((a, b)) == "direct" else "relayed")


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_behind_every_router_there_is_a_way_to_an_open_host(simulate: Simulate, kind: str) -> None:
    assert simulate(lambda net: meet(net, ("open", kind), settings(relay="tcp"), ipv6=True), seed=3) in (
        "direct",
        "relayed",
    )


def test_two_port_restricted_homes_are_joined_within_one_round_trip(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        homes = [net.host(f"host{n}", behind=net.router(f"home{n}")) for n in range(2)]
        async with pair(homes[0], homes[1], settings(), ipv6=True) as (a, b):
            began = net.time
            await asyncio.gather(a.connect(), b.connect())
            assert net.time - began < 0.05  # 20 ms there and back, and half a millisecond in each home
        await relay.close()

    simulate(scenario)


def test_lost_packets_cost_little(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> float:
        relay = await serve(net)
        homes = [net.host(f"host{n}", behind=net.router(f"home{n}")) for n in range(2)]
        async with pair(homes[0], homes[1], settings()) as (a, b):
            began = net.time
            await asyncio.gather(a.connect(), b.connect())
            took = net.time - began
        await relay.close()
        return took

    times = sorted(simulate(scenario, seed, delay=0.02, loss=0.3) for seed in range(20))
    assert times[-1] < 2.0, times


def test_host_candidates_are_there_at_once_and_dead_servers_delay_nothing(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        host = net.host("host", behind=net.router("home"))
        turn = (f"turn:ann:secret@{DEAD}", f"turn:ann:secret@{SERVER[0]}")
        config = settings(stun_servers=(f"{DEAD}:3478", "nobody.example:3478", *BOTH), turn_servers=turn)
        found: list[tuple[float, str | None]] = []
        began = net.time
        agent = await start(
            host, "controlling", config, on_candidate=lambda c: found.append((net.time - began, c and str(c.type)))
        )
        assert [kind for at, kind in found if at < 0.05] == ["host", "host"]
        await agent.gather_candidates()
        assert net.time - began < 0.7
        kinds = {kind for _, kind in found}
        assert kinds == {"host", "srflx", "relay"}
        await until(lambda: found[-1][1] is None, within=20)
        assert [kind for _, kind in found].count(None) == 1
        assert agent.local_description["end_of_candidates"] is True
        await agent.close()
        await relay.close()

    simulate(scenario)


def test_where_no_server_answers_it_goes_on_without(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        host = net.host("host")
        config = settings(stun_servers=(f"{DEAD}:3478",), turn_servers=(f"turn:ann:secret@{DEAD}",))
        agent = await start(host, "controlling", config)
        began = net.time
        assert {candidate.type for candidate in await agent.gather_candidates()} == {CandidateType.HOST}
        assert net.time - began == pytest.approx(config.ice_gathering_timeout)
        await agent.close()

    simulate(scenario)


def test_candidates_trickle_both_ways(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        homes = [net.host(f"host{n}", behind=net.router(f"home{n}", "symmetric")) for n in range(2)]
        agents: list[IceAgent] = []
        early: list[list[Any]] = [[], []]

        def tell(number: int, candidate: Any) -> None:
            early[number].append(candidate)
            if len(agents) == 2:
                asyncio.get_running_loop().call_later(0.1, agents[1 - number].add_remote_candidate, candidate)

        for number, role in enumerate(("controlling", "controlled")):
            agents.append(
                await start(
                    homes[number],
                    role,
                    settings(relay="udp"),
                    on_candidate=lambda candidate, number=number: tell(number, candidate),
                )
            )
        a, b = agents
        for number, agent in enumerate(agents):
            description = told(agents[1 - number])
            agent.set_remote_description({**description, "candidates": [], "end_of_candidates": False})
            for candidate in early[1 - number]:
                agent.add_remote_candidate(candidate)
        began = net.time
        await asyncio.gather(a.connect(), b.connect())
        assert net.time - began < 0.5
        await assert_they_talk(a, b)
        await asyncio.gather(a.close(), b.close(), relay.close())

    simulate(scenario)


def test_relay_only_shows_nothing_but_the_relay(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        one, other = net.host("one"), net.host("other")
        async with pair(one, other, settings(relay="udp", path_policy="relay_only")) as (a, b):
            assert {candidate.type for candidate in a.local_candidates} == {CandidateType.RELAYED}
            assert one.addresses[0] not in json.dumps(told(a))
            await asyncio.gather(a.connect(), b.connect())
            await assert_they_talk(a, b)
            for agent in (a, b):
                assert agent.remote_address is not None
                assert agent.remote_address.host == SERVER[0]
        await relay.close()

    simulate(scenario)


def test_where_nothing_works_the_error_tells_what_was_tried(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", "symmetric")) for n in range(2)]
        async with pair(hosts[0], hosts[1], settings()) as (a, b):
            with pytest.raises(ConnectError) as caught:
                await asyncio.gather(a.connect(), b.connect())
            assert caught.value.reason == "no pair works"
            assert {attempt.error for attempt in caught.value.attempts} == {"no answer"}
            assert a.state is IceState.FAILED
        await relay.close()

    simulate(scenario)


def test_strangers_are_not_looked_for_in_our_own_network(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        home = net.router("home")
        hosts = [net.host("one", behind=home), net.host("other", behind=net.router("office"))]
        async with pair(hosts[0], hosts[1], settings(), strangers=True) as (a, b):
            await asyncio.gather(a.connect(), b.connect())
            refused = a.statistics().refused
            assert [reason for reason in refused.values()]
            assert all(address.startswith("192.168.") for address in refused)
        neighbours = [net.host("three", behind=home), net.host("four", behind=home)]
        async with pair(neighbours[0], neighbours[1], settings(), strangers=True) as (a, b):
            await asyncio.gather(a.connect(), b.connect())
            assert a.statistics().refused == {}
        await relay.close()

    simulate(scenario)


def test_a_host_that_moves_restarts_and_goes_on(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        phone, desk = net.host("phone", behind=net.router("home")), net.host("desk", behind=net.router("office"))
        async with AsyncExitStack() as stack:
            a, b = await start(phone, "controlling", settings(relay="udp")), await start(desk, "controlled", settings())
            for agent in (a, b):
                stack.push_async_callback(agent.close)
            await asyncio.gather(a.gather_candidates(), b.gather_candidates())
            a.set_remote_description(told(b))
            b.set_remote_description(told(a))
            await asyncio.gather(a.connect(), b.connect())
            await asyncio.sleep(3)
            phone.interfaces["eth0"].move(net.router("cafe", "symmetric"))
            with phone:
                b.set_remote_description(await a.restart())
            a.set_remote_description(told(b))
            began = net.time
            await until(lambda: a.is_connected and b.is_connected, within=5)
            assert net.time - began < 2
            await asyncio.sleep(3)
            await assert_they_talk(a, b)
        await relay.close()

    simulate(scenario)


def test_a_restart_of_the_peers_is_told_and_data_goes_on_flowing(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        one, other = net.host("one", behind=net.router("home")), net.host("other")
        answers: list[dict[str, Any]] = []
        async with pair(one, other, settings(), on_restart=answers.append) as (a, b):
            await asyncio.gather(a.connect(), b.connect())
            with one:
                offer = await a.restart()
            await assert_they_talk(a, b)
            b.set_remote_description(json.loads(json.dumps(offer)))
            await assert_they_talk(a, b)
            [answer] = answers
            a.set_remote_description(answer)
            await until(lambda: a.state is b.state is IceState.COMPLETED, within=5)
            await assert_they_talk(a, b)
        await relay.close()

    simulate(scenario)


@pytest.mark.long
def test_mappings_that_die_soon_are_kept_while_nobody_talks(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        homes = [net.host(f"host{n}", behind=net.router(f"home{n}")) for n in range(2)]
        async with pair(homes[0], homes[1], settings()) as (a, b):
            await asyncio.sleep(3600)  # the candidates are an hour old before anybody checks them
            await asyncio.gather(a.connect(), b.connect())
            await asyncio.sleep(10 * 3600)
            await assert_they_talk(a, b)
        await relay.close()

    simulate(scenario)


def test_a_shared_socket_serves_agents_and_others(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        homes = [net.host(f"host{n}", behind=net.router(f"home{n}", "full_cone")) for n in range(3)]
        rest: list[bytes] = []
        shared: list[SharedSocket] = []

        def receive(batch: Any) -> None:
            rest.extend(data for data, _ in shared[0].receive(batch) if read_message(data) is None)

        with homes[0]:
            endpoint = await homes[0].open_datagram(port=7000, receive=receive)
        shared.append(SharedSocket(endpoint))
        agents = [await start(homes[0], "controlling", settings(), shared=shared[0]) for _ in range(2)]
        peers = [await start(home, "controlled", settings()) for home in homes[1:]]
        for agent, peer in zip(agents, peers, strict=True):
            await asyncio.gather(agent.gather_candidates(), peer.gather_candidates())
            hosts = [c for c in agent.local_candidates if c.type is CandidateType.HOST]
            assert {candidate.address.port for candidate in hosts} == {7000}
            agent.set_remote_description(told(peer))
            peer.set_remote_description(told(agent))
        await asyncio.gather(*(each.connect() for each in (*agents, *peers)))
        for agent, peer in zip(agents, peers, strict=True):
            await assert_they_talk(agent, peer)
        with homes[1]:
            stranger = await homes[1].open_datagram(receive=lambda batch: None)
        public = next(c for c in agents[0].local_candidates if c.type is CandidateType.SERVER_REFLEXIVE)
        stranger.send(b"for the rest", public.address)
        await until(lambda: rest == [b"for the rest"], within=5)
        await asyncio.gather(*(each.close() for each in (*agents, *peers)))
        assert not endpoint.is_closed
        stranger.close()
        endpoint.close()
        await relay.close()

    simulate(scenario)


def test_a_name_of_the_link_is_resolved(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home = net.router("home")
        one, other = net.host("one", behind=home), net.host("printer.local", behind=home)
        a = await start(one, "controlling", NatTraversalConfig.offline())
        b = await start(other, "controlled", NatTraversalConfig.offline())
        port = next(c.address.port for c in b.local_candidates if c.family == 4)
        b.set_remote_description(told(a))
        named = f"candidate:1 1 udp 2130706431 printer.local {port} typ host"
        a.set_remote_description({**told(b), "candidates": [named]})
        await asyncio.gather(a.connect(), b.connect())
        await assert_they_talk(a, b)
        await asyncio.gather(a.close(), b.close())

    simulate(scenario)


@pytest.mark.parametrize(("verb", "most"), [("start", 1), ("gather_candidates", 15), ("connect", 15), ("restart", 1)])
def test_whatever_is_cut_short_leaves_nothing_behind(simulate: Simulate, verb: str, most: int) -> None:
    async def scenario(steps: int, net: SimNetwork) -> bool:
        relay = await serve(net)
        one, other = net.host("one", behind=net.router("home", "symmetric")), net.host("other")
        peer = await start(other, "controlled", settings(relay="udp"))
        await peer.gather_candidates()
        with one:
            agent = IceAgent("controlling", settings(relay="tcp"))
            if verb != "start":
                await agent.start()
                agent.set_remote_description(told(peer))
                peer.set_remote_description(told(agent))
                peer.start_connectivity_checks()
            task = asyncio.get_running_loop().create_task(getattr(agent, verb)())
        for _ in range(steps):
            await asyncio.sleep(0)
        was_over = task.done()
        task.cancel()
        await asyncio.wait([task])
        await asyncio.gather(agent.close(), peer.close())
        await relay.close()
        return was_over

    over = [simulate(partial(scenario, steps), steps) for steps in (*range(6), *range(6, 60, 6))[:most]]
    assert over[: min(most, 6)] == [False] * min(most, 6)
