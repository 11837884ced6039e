"""Sessions that begin through the introducer, which carries them until the two have found a better way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.simulation.conftest import Simulate, start_client, until
from tests.simulation.test_introducers import CONES, IPV4, Meeting, hosts
from tests.simulation.test_introducers import meeting as peer_meeting
from tests.simulation.test_public_introducers import config, meeting

from librats import (
    AttemptReason,
    ConnectError,
    ConnectionMethod,
    IntroductionError,
    PathChanged,
    Peer,
    PeerDisconnected,
    RatsClient,
)
from librats.config import CarryLimits
from librats.session.machine import Session
from librats.testing import SimNetwork, SimRelay

CARRIED, UDP, RELAY = ConnectionMethod.CARRIED, ConnectionMethod.UDP, ConnectionMethod.RELAY
HARD = ("symmetric", "symmetric")
ALONE: dict[str, Any] = {"relay_for_introduced": False, "users": {"ann": "secret"}}
"""Of a relay that grants nothing: with hard NATs there is no way but the introducer."""


def carried(relay: SimRelay) -> dict[str, int]:
    introducer = relay.introducer
    assert introducer is not None
    return introducer.carried


def greet(met: Meeting) -> None:
    met.bob.on("greet", lambda peer, data: f"hello {data}")


def endings(client: RatsClient) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    client.on_event(PeerDisconnected, lambda event: found.append((event.code, event.reason)))
    return found


# Better ways


@pytest.mark.parametrize("one", CONES)
@pytest.mark.parametrize("other", CONES)
def test_a_session_begins_with_the_introducer_and_moves_to_a_direct_way(
    simulate: Simulate, one: str, other: str
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other)) as (relay, met):
            greet(met)
            peer = await met.connect()
            assert peer.method is CARRIED
            assert await peer.request("greet", "Alice") == "hello Alice"
            await until(lambda: peer.method is not CARRIED, within=2)
            assert peer.method in (UDP, ConnectionMethod.TCP)
            [back] = met.bob.peers.values()
            await until(lambda: back.method is peer.method, within=2)
            assert await peer.request("greet", "again") == "hello again"
            assert carried(relay)["now"] == 0
            assert (len(peer.links), len(back.links)) == (1, 1)
            assert next(attempt.method for attempt in peer.attempts if not attempt.error) is CARRIED

    simulate(scenario)


@pytest.mark.parametrize("pair", [HARD, ("symmetric", "udp_blocked"), ("symmetric", "port_restricted")], ids="-".join)
def test_it_moves_to_a_relay_where_there_is_no_direct_way(simulate: Simulate, pair: tuple[str, str]) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *pair)) as (relay, met):
            changes: list[PathChanged] = []
            met.alice.on_event(PathChanged, changes.append)
            greet(met)
            peer = await met.connect()
            assert peer.method is CARRIED
            await until(lambda: peer.method is not CARRIED, within=5)
            assert changes[0].method is peer.method
            assert carried(relay)["now"] == 0
            await asyncio.sleep(90)
            assert await peer.request("greet", "Alice") == "hello Alice"

    simulate(scenario)


def test_nothing_is_lost_on_the_way_from_the_introducer_to_a_better_one(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted")) as (relay, met):
            got: list[int] = []
            met.bob.on("count", lambda peer, data: got.append(data["n"]))
            peer = await met.connect()
            for number in range(2000):
                await peer.send("count", {"n": number, "fill": "x" * 200})
                if number % 10 == 0:
                    await asyncio.sleep(0.001)
            await until(lambda: len(got) == 2000, within=20)
            assert got == list(range(2000))
            assert peer.method is UDP
            assert 0 < carried(relay)["carried_bytes"] < 256 * 1024

    simulate(scenario)


def test_two_that_call_each_other_at_once_end_with_one_session(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        one, other = hosts(net, "port_restricted", "restricted")
        async with meeting(net, one, other) as (relay, met):
            with one:
                there = asyncio.ensure_future(met.alice.connect(met.bob.peer_id))
            with other:
                back = asyncio.ensure_future(met.bob.connect(met.alice.peer_id))
            peers = await asyncio.gather(there, back)
            await asyncio.sleep(60)
            assert [len(peer.links) for peer in peers] == [1, 1]
            greet(met)
            assert await peers[0].request("greet", "Alice") == "hello Alice"
            assert carried(relay)["now"] == 0

    simulate(scenario)


# Where nothing else works


def test_a_session_goes_on_with_the_introducer_where_there_is_nothing_else(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        limits = CarryLimits(bytes=10_000_000, seconds=3600.0)
        async with meeting(net, *hosts(net, *HARD), carry_limits=limits, **ALONE) as (relay, met):
            greet(met)
            peer = await met.connect()
            for _ in range(10):
                await asyncio.sleep(60)
                assert await peer.request("greet", "Alice") == "hello Alice"
            assert peer.method is CARRIED
            assert f"carried by the introducer at {peer.address.host}" in peer.explain()
            assert peer.hello is not None
            assert peer.hello.observed == ""  # whoever is carried is seen nowhere
            assert peer.address.port == 0
            assert carried(relay)["now"] == 1
            assert peer.address.host not in {one.host for one in met.alice.book.addresses_of(met.bob.peer_id)}
            await peer.close()
            await until(lambda: carried(relay)["now"] == 0, within=5)

    simulate(scenario)


def test_a_session_whose_way_is_gone_goes_on_with_the_introducer_and_comes_back(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        limits = CarryLimits(bytes=10_000_000, seconds=3600.0)
        pair = ("port_restricted", "port_restricted")
        async with meeting(net, *hosts(net, *pair), carry_limits=limits, **ALONE) as (relay, met):
            greet(met)
            ended = [endings(met.alice), endings(met.bob)]
            peer = await met.connect()
            await until(lambda: peer.method is UDP, within=10)
            assert carried(relay)["now"] == 0
            net.cut(net.routers[0], net.routers[1])
            assert await peer.request("greet", "Alice", timeout=20) == "hello Alice"
            assert peer.method is CARRIED
            net.mend(net.routers[0], net.routers[1])
            await until(lambda: peer.method is UDP, within=700)
            assert await peer.request("greet", "Alice") == "hello Alice"
            await until(lambda: carried(relay)["now"] == 0, within=5)
            assert ended == [[], []]

    simulate(scenario)


def test_a_peer_that_consents_carries_and_one_that_does_not_does_not(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork, carry: CarryLimits | None) -> None:
        async with peer_meeting(net, *hosts(net, *HARD), carry=carry) as met:
            greet(met)
            if carry is None:
                with pytest.raises(ConnectError):
                    await met.connect()
                return
            peer = await met.connect()
            assert peer.method is CARRIED
            assert await peer.request("greet", "Alice") == "hello Alice"
            await asyncio.sleep(50)
            assert await peer.request("greet", "again") == "hello again"
            assert met.introducer.statistics()["introductions"]["carrier"]["carried"] == 1
            assert set(met.introducer.peers) == {met.alice.peer_id, met.bob.peer_id}

    simulate(lambda net: scenario(net, CarryLimits()))
    simulate(lambda net: scenario(net, None))


# Limits


def test_a_session_ends_with_the_bytes_that_are_carried_and_says_so(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), carry_limits=CarryLimits(bytes=50_000), **ALONE) as (relay, met):
            ended, ended_there = endings(met.alice), endings(met.bob)
            peer = await met.connect()
            await peer.send_bytes(bytes(100_000))
            await until(lambda: ended and ended_there, within=60)
            words = "the introducer carries 50000 bytes of a session"
            assert ended == ended_there == [("carry_bytes", words)]
            assert f"ended: {words} [carry_bytes]" in peer.explain()
            assert (carried(relay)["carry_bytes"], carried(relay)["now"]) == (1, 0)
            assert carried(relay)["carried_bytes"] <= 50_000

    simulate(scenario)


def test_a_session_ends_with_its_time_and_says_so(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), carry_limits=CarryLimits(seconds=45.0), **ALONE) as (relay, met):
            ended, began = endings(met.alice), asyncio.get_running_loop().time()
            await met.connect()
            await until(lambda: ended, within=60)
            assert ended == [("carry_time", "the introducer carries a session for 45 s")]
            assert asyncio.get_running_loop().time() - began == pytest.approx(45, abs=1)
            assert carried(relay)["carry_time"] == 1

    simulate(scenario)


def test_a_session_that_is_over_its_limit_goes_on_where_another_way_is_found_yet(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        limits = CarryLimits(bytes=2000)
        async with meeting(net, *hosts(net, "symmetric", "udp_blocked"), carry_limits=limits) as (relay, met):
            ended, got = endings(met.alice), asyncio.get_running_loop().create_future()
            met.bob.on_bytes(lambda peer, data: got.set_result(len(data)))
            peer = await met.connect()
            await peer.send_bytes(bytes(20_000))
            assert await got == 20_000
            assert carried(relay)["carry_bytes"] == 1
            assert ended == []
            assert peer.method is not CARRIED

    simulate(scenario)


def test_a_session_is_as_quick_as_its_rate(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        limits = CarryLimits(bytes=10_000_000, seconds=3600.0, rate=50_000.0)
        async with meeting(net, *hosts(net, *HARD), carry_limits=limits, **ALONE) as (relay, met):
            loop = asyncio.get_running_loop()
            got = loop.create_future()
            met.bob.on_bytes(lambda peer, data: got.set_result(len(data)))
            peer = await met.connect()
            began = loop.time()
            await peer.send_bytes(bytes(1_000_000))
            assert await got == 1_000_000
            assert loop.time() - began == pytest.approx(1_000_000 / 50_000, rel=0.15)
            assert carried(relay)["held_back"] > 0
            assert peer.is_connected

    simulate(scenario)


def test_one_more_session_than_is_carried_at_once_is_refused_and_says_so(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), carry_limits=CarryLimits(at_once=1), **ALONE) as (relay, met):
            assert (await met.connect()).method is CARRIED
            third = net.host("carol", behind=net.router("flat", "symmetric"))
            carol = await start_client(third, nat=config(), listen_host=IPV4, protocol_name="chat")
            await until(lambda: carol.introducers, within=5)
            with third, pytest.raises(ConnectError) as caught:
                await carol.connect(met.bob.peer_id)
            [refused] = [each for each in caught.value.attempts if each.method is CARRIED]
            assert refused.reason is AttemptReason.CARRY_LIMIT
            assert "sessions of a caller" in refused.error
            assert carried(relay)["carry_at_once"] == 1
            await carol.stop()

    simulate(scenario)


def test_who_reads_slowly_does_not_grow_the_carrier(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        limits = CarryLimits(bytes=1 << 30, seconds=3600.0, rate=1e9)
        async with meeting(net, *hosts(net, *HARD), carry_limits=limits, **ALONE) as (relay, met):
            peer = await met.connect()
            await until(lambda: met.bob.peers, within=1)
            [back] = met.bob.peers.values()
            back.link.pause()
            sending = asyncio.ensure_future(peer.send_bytes(bytes(4_000_000)))
            await asyncio.sleep(20)
            introducer = relay.introducer
            assert introducer is not None
            sessions = [link.session for link in introducer.sessions.links.values()]
            assert len(sessions) == 2
            assert all(isinstance(session, Session) and session.control_queued < 100_000 for session in sessions)
            assert carried(relay)["carried_bytes"] < 200_000
            back.link.resume()
            await asyncio.sleep(5)
            assert carried(relay)["carried_bytes"] > 4_000_000
            await sending

    simulate(scenario)


# Strategies and policies


@pytest.mark.parametrize("strategy", ["stun", "ice", "punch", "relay", "direct"])
def test_no_other_strategy_has_its_session_carried(simulate: Simulate, strategy: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (relay, met):
            try:
                peer = await met.connect(strategy=strategy)
                assert peer.method is not CARRIED
            except ConnectError:
                assert strategy == "direct"
            assert carried(relay)["carried"] == 0

    simulate(scenario)


def test_a_policy_that_names_ways_does_not_name_introducers(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (relay, met):
            await met.bob.paths.set_policy("direct_only")
            assert (await met.connect()).method is not CARRIED
            await met.alice.peers[met.bob.peer_id].close()
            await met.bob.paths.set_policy("auto")
            await met.alice.paths.set_policy("direct_only")
            assert (await met.connect()).method is not CARRIED
            assert carried(relay)["carried"] == carried(relay)["closed"] == 1

    simulate(scenario)


def test_a_relay_whose_operator_does_not_want_it_carries_nothing(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone"), carry=False) as (relay, met):
            assert (await met.connect()).method is UDP
            assert carried(relay) == {}

    simulate(scenario)


# Whoever is not honest, not willing, not able, or older


def test_a_target_that_has_no_addresses_to_tell_is_there_all_the_same(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted")) as (_, met):
            introduced = met.bob._introduced
            assert introduced is not None

            async def nothing(*_: Any, **__: Any) -> Any:
                raise IntroductionError("failed", "no way out")

            introduced.new_agent = nothing  # type: ignore[method-assign]
            greet(met)
            peer = await met.connect()
            assert await peer.request("greet", "Alice") == "hello Alice"
            await asyncio.sleep(5)
            assert peer.method is CARRIED
            caller = met.alice._keeper
            assert caller is not None
            assert caller.sessions.circle is not None
            assert not caller.sessions.circle._calls

    simulate(scenario)


def test_a_target_of_an_earlier_version_is_reached_as_before(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted")) as (relay, met):
            introducer = relay.introducer
            assert introducer is not None
            assert introducer.carrying is not None
            introducer.carrying._takes = lambda _: False
            peer = await met.connect()
            assert peer.method is UDP
            assert [each.error for each in peer.attempts if each.method is CARRIED] == [
                "the peer takes no sessions that are carried"
            ]

    simulate(scenario)


def test_who_is_refused_is_told_so_before_it_counts_as_connected(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), **ALONE) as (_, met):
            connected: list[Any] = []
            met.alice.on_connect(connected.append)

            @met.bob.on_incoming
            async def refuse(what: Any) -> bool:
                await asyncio.sleep(0.2)
                return not isinstance(what, Peer)

            with pytest.raises(ConnectError) as caught:
                await met.connect(timeout=10)
            assert connected == []
            refused = [each for each in caught.value.attempts if each.method is CARRIED]
            assert [each.reason for each in refused] == [AttemptReason.PEER_REFUSED]

    simulate(scenario)


def test_an_offer_that_is_not_answered_has_nothing_carried(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), **ALONE) as (_, met):
            met.bob.deny.add(met.alice.peer_id)
            with pytest.raises(ConnectError) as caught:
                await met.connect()
            assert caught.value.code is AttemptReason.PEER_REFUSED
            assert met.bob.statistics()["links_in"] == 0

    simulate(scenario)


# Cancellation


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.03, 0.05, 0.07, 0.09, 0.11, 0.13, 0.2, 0.4])
def test_who_gives_up_leaves_nothing_behind(simulate: Simulate, seconds: float) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), **ALONE) as (relay, met):
            with met.home:
                connecting = asyncio.ensure_future(met.alice.connect(met.bob.peer_id))
            await asyncio.sleep(seconds)
            if not connecting.cancel():
                await (await connecting).close()
            await asyncio.sleep(2)
            assert not met.alice.peers
            assert carried(relay)["now"] == 0
            keeper = met.alice._keeper
            assert keeper is not None
            assert keeper.sessions.circle is not None
            assert len(keeper.sessions.circle.carried) == 0

    simulate(scenario)


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.09, 0.2, 2.0])
def test_a_client_that_stops_leaves_nothing_behind(simulate: Simulate, seconds: float) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "symmetric", "udp_blocked")) as (relay, met):
            with met.home:
                connecting = asyncio.ensure_future(met.alice.connect(met.bob.peer_id))
            await asyncio.sleep(seconds)
            await met.alice.stop()
            await asyncio.gather(connecting, return_exceptions=True)
            await asyncio.sleep(1)
            assert carried(relay)["now"] == 0

    simulate(scenario)
