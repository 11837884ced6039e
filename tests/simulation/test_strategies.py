"""Each strategy does what it says, between NATs of several types, and ends everything that it began."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.simulation.conftest import PORT, Simulate, start_client
from tests.simulation.test_introducers import IPV4, RELAY, Meeting, hosts, meeting, nat, serve
from tests.simulation.test_public_introducers import meeting as public_meeting

from librats import (
    AttemptReason,
    ConnectError,
    ConnectionMethod,
    ConnectionStrategy,
    IceCandidate,
    NatTraversalProgress,
    NatType,
    PathPolicy,
    RatsClient,
    TraversalStep,
)
from librats.testing import SimNetwork

UDP, DIRECT = ConnectionMethod.UDP, ("stun", "ice", "punch", "auto")
HARD = ("symmetric", "symmetric")


async def failure(met: Meeting, strategy: str, **options: Any) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        await met.connect(strategy=strategy, **options)
    return caught.value


@pytest.mark.parametrize("strategy", DIRECT)
@pytest.mark.parametrize("pair", [("full_cone", "port_restricted"), ("restricted", "symmetric")], ids="-".join)
def test_strategies_without_a_relay_join_what_ice_joins(
    simulate: Simulate, strategy: str, pair: tuple[str, str]
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *pair), turn=True) as met:
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            peer = await met.connect(strategy=strategy)
            assert await peer.request("greet", "Alice") == "hello Alice"
            await asyncio.sleep(5)
            assert peer.method is UDP
            assert peer.address.host != RELAY
            worked = [attempt for attempt in peer.attempts if not attempt.error]
            assert worked
            assert all(attempt.reason is not None for attempt in peer.attempts if attempt.error)

    simulate(scenario)


@pytest.mark.parametrize("strategy", ["stun", "punch"])
def test_a_strategy_without_a_relay_uses_none_of_either_side(simulate: Simulate, strategy: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), turn=True) as met:
            error = await failure(met, strategy)
            pairs = [attempt.pair for attempt in error.attempts if attempt.pair is not None]
            assert pairs
            assert len(pairs) == len(set(pairs))
            assert not any("relay" in candidate for pair in pairs for candidate in pair)
            assert error.code in (AttemptReason.NO_PATH, AttemptReason.NAT_INCOMPATIBLE)
            assert met.bob.peer_id not in met.alice.peers

    simulate(scenario)


@pytest.mark.parametrize("pair", [("full_cone", "full_cone"), HARD, ("open", "port_restricted")], ids="-".join)
def test_the_relay_strategy_goes_through_the_relay_and_stays_there(simulate: Simulate, pair: tuple[str, str]) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *pair), turn=True) as met:
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            peer = await met.connect(strategy="relay")
            assert peer.method is ConnectionMethod.RELAY
            await asyncio.sleep(40)
            assert peer.method is ConnectionMethod.RELAY
            assert await peer.request("greet", "Alice") == "hello Alice"

    simulate(scenario)


def test_the_ice_strategy_goes_through_the_relay_where_nothing_else_works(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), turn=True) as met:
            peer = await met.connect(strategy="ice")
            [worked] = [attempt for attempt in peer.attempts if not attempt.error]
            assert worked.pair is not None
            assert any(candidate.startswith("relay ") for candidate in worked.pair)
            assert worked.started > 0
            assert worked.duration > 0

    simulate(scenario)


def test_the_direct_strategy_asks_no_introducer(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as met:
            error = await failure(met, "direct")
            assert error.code is AttemptReason.NO_ADDRESS
            assert error.attempts == ()

    simulate(scenario)


@pytest.mark.parametrize(
    ("strategy", "fields", "reason"),
    [
        ("relay", {}, AttemptReason.NOT_CONFIGURED),
        ("ice", {"enable_ice": False}, AttemptReason.NOT_CONFIGURED),
        ("stun", {"stun_servers": ()}, AttemptReason.NOT_CONFIGURED),
        ("stun", {"turn": True, "path_policy": PathPolicy.RELAY_ONLY}, AttemptReason.NOT_CONFIGURED),
        ("direct", {"turn": True, "path_policy": PathPolicy.RELAY_ONLY}, AttemptReason.NOT_CONFIGURED),
        ("relay", {"turn": True, "path_policy": PathPolicy.DIRECT_ONLY}, AttemptReason.NOT_CONFIGURED),
        ("ice", {}, AttemptReason.NO_INTRODUCER),
        ("punch", {}, AttemptReason.NO_INTRODUCER),
        ("auto", {}, AttemptReason.NO_INTRODUCER),
        ("direct", {}, AttemptReason.NO_ADDRESS),
    ],
)
def test_what_a_strategy_needs_and_is_not_there_fails_at_once(
    simulate: Simulate, strategy: str, fields: dict[str, Any], reason: AttemptReason
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback((await serve(net)).close)
            home = net.host("alice")
            alice = await start_client(home, nat=nat(**fields), transports=("udp", "tcp"), listen_host=IPV4)
            stack.push_async_callback(alice.stop)
            began = asyncio.get_running_loop().time()
            with home:
                result = await alice.connect_to_peer("", 0, strategy, peer_id="ab" * 32)
            assert asyncio.get_running_loop().time() - began < 0.1
            assert not result.success
            assert result.reason is reason
            assert result.error

    simulate(scenario)


def test_who_is_at_an_address_is_looked_up_for_introducers_and_not_guessed(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as met:
            result = await met.alice.connect_to_peer("198.51.100.77", 9, "ice")
            assert result.reason is AttemptReason.UNKNOWN_PEER
            met.alice.book.add(met.bob.peer_id, ["198.51.100.77:9"])
            with met.home:
                result = await met.alice.connect_to_peer("198.51.100.77", 9, "ice")
            assert result.success
            assert result.peer_id == met.bob.peer_id

    simulate(scenario)


def test_every_strategy_is_tested_in_turn_and_told_of(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "restricted"), turn=True) as met:
            with met.home:
                results = await met.alice.test_connection_strategies(
                    "", 0, ["direct", "stun", "auto", "ice", "punch", "relay"], peer_id=met.bob.peer_id
                )
            assert set(results) == set(ConnectionStrategy)
            assert {strategy.value: result.success for strategy, result in results.items()} == {
                **dict.fromkeys(("auto", "stun", "ice", "punch", "relay"), True),
                "direct": False,
            }
            assert results[ConnectionStrategy.TURN_RELAY].method is ConnectionMethod.RELAY
            assert results[ConnectionStrategy.DIRECT_ONLY].reason is AttemptReason.NO_ADDRESS
            for result in results.values():
                assert (result.reason is None) == result.success
            ours, theirs = (
                text.rpartition(":")[0] for text in results[ConnectionStrategy.STUN_ASSISTED].used_candidates
            )
            assert [ours, theirs] == [str(router.address) for router in net.routers]
            assert met.bob.peer_id not in met.alice.peers

    simulate(scenario)


def test_a_connected_peer_is_told_as_such_where_strategies_are_tested(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone"), turn=True) as met:
            peer = await met.connect()
            with met.home:
                results = await met.alice.test_connection_strategies("", 0, ["ice", "relay"], peer_id=peer.id)
            assert results[ConnectionStrategy.ICE_FULL].success
            assert results[ConnectionStrategy.TURN_RELAY].reason is AttemptReason.OVERTAKEN
            assert peer.is_connected

    simulate(scenario)


@pytest.mark.parametrize("strategy", ["relay", "auto", "direct"])
def test_known_addresses_are_dialled_as_the_strategy_says(simulate: Simulate, strategy: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback((await serve(net)).close)
            home, clients = net.host("alice", behind=net.router("home", "port_restricted")), []
            for host in (home, net.host("bob")):
                client = await start_client(host, nat=nat(turn=True), transports=("udp", "tcp"), listen_host=IPV4)
                stack.push_async_callback(client.stop)
                clients.append(client)
            with home:
                result = await clients[0].connect_to_peer("bob", PORT, strategy)
            assert result.success
            assert result.method is (ConnectionMethod.RELAY if strategy == "relay" else UDP)

    simulate(scenario)


def test_peers_tell_each_other_what_stands_in_front_of_them(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "symmetric")) as met:
            for host, client in ((met.home, met.alice), (met.office, met.bob)):
                with host:
                    await client.detect_nat_type()
            with met.home:
                result = await met.alice.connect_to_peer("", 0, "ice", peer_id=met.bob.peer_id)
            assert (result.local_nat_type, result.remote_nat_type) == (NatType.FULL_CONE, NatType.SYMMETRIC)
            peer = met.alice.peers[met.bob.peer_id]
            assert "in front of it, as it says: symmetric" in peer.explain()
            assert met.bob.peers[met.alice.peer_id].nat_type is NatType.FULL_CONE

    simulate(scenario)


def test_two_nats_that_cannot_be_joined_are_told_as_such(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD)) as met:
            for host, client in ((met.home, met.alice), (met.office, met.bob)):
                with host:
                    assert await client.detect_nat_type() is NatType.SYMMETRIC
            error = await failure(met, "ice")
            assert error.code is AttemptReason.NAT_INCOMPATIBLE

    simulate(scenario)


def test_progress_and_candidates_are_told_on_both_sides(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "port_restricted"), turn=True) as met:
            steps: dict[RatsClient, list[str]] = {met.alice: [], met.bob: []}
            candidates: dict[RatsClient, set[str]] = {met.alice: set(), met.bob: set()}
            for client, other in ((met.alice, met.bob), (met.bob, met.alice)):

                def progress(peer_id: str, step: str, client: Any = client, other: Any = other) -> None:
                    assert peer_id == other.peer_id
                    steps[client].append(step)

                def candidate(peer_id: str, found: IceCandidate, client: Any = client, other: Any = other) -> None:
                    assert peer_id == other.peer_id
                    candidates[client].add(found.type)

                client.set_nat_traversal_progress_callback(progress)
                client.set_ice_candidate_callback(candidate)
            typed: list[TraversalStep] = []
            met.alice.on_event(NatTraversalProgress, lambda event: typed.append(event.step))
            await met.connect()
            await asyncio.sleep(1)
            assert steps[met.alice] == typed == ["started", "offered", "answered", "found", "connected"]
            assert steps[met.bob] == ["started", "answered", "connected"]
            assert candidates[met.alice] == candidates[met.bob] == {"host", "srflx", "relay"}
            met.alice.set_nat_traversal_progress_callback(None)
            met.alice.set_ice_candidate_callback(None)
            with met.home, pytest.raises(ConnectError):
                await met.alice.connect("ab" * 32)
            assert typed[-2:] == ["started", "failed"]
            assert len(steps[met.alice]) == 5

    simulate(scenario)


@pytest.mark.parametrize("strategy", ConnectionStrategy)
def test_cancelling_ends_everything_that_a_strategy_has_begun(simulate: Simulate, strategy: ConnectionStrategy) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), turn=True) as met:
            nowhere = f"{met.bob.peer_id}@198.51.100.99:{PORT}"
            for target in (nowhere, met.bob.peer_id):
                for delay in (0.0, 0.005, 0.02, 0.06, 0.1, 0.15, 0.3, 1.2, 3.0):
                    before = here(met.alice)
                    with met.home:
                        connecting = asyncio.ensure_future(met.alice.connect(target, strategy=strategy))
                    done, _ = await asyncio.wait([connecting], timeout=delay)
                    if done and connecting.exception() is None:
                        await met.alice.disconnect(met.bob.peer_id)
                        await asyncio.sleep(40)
                        continue
                    connecting.cancel()
                    await asyncio.wait([connecting])
                    await asyncio.sleep(1)
                    assert here(met.alice) <= before, (target, delay)
                    assert not met.alice.paths.relayed_addresses
                    assert not met.alice.paths.relays._opening
                    await asyncio.sleep(40)  # the other side has given up
                    assert met.relay.statistics().allocations == len(met.bob.paths.relayed_addresses)
                    assert met.bob.peer_id not in met.alice.peers

    simulate(scenario)


def here(client: RatsClient) -> set[str]:
    """Name the tasks that a client has, but for what it finds out of its network for itself."""
    names = {task.get_name() for task in client._tasks._tasks if not task.done()}
    return {name for name in names if not name.startswith("librats looks at")}


def test_auto_tries_first_what_has_worked_in_that_network(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with AsyncExitStack() as stack:
            home, there = net.host("alice", behind=net.router("home", "port_restricted")), net.host("bob")
            alice = await start_client(home, transports=("tcp", "udp"), listen_host=IPV4, nat=nat(stun_servers=()))
            stack.push_async_callback(alice.stop)
            bob = await start_client(there, transports=("udp",), listen_host=IPV4, nat=nat(stun_servers=()))
            stack.push_async_callback(bob.stop)
            target = f"{bob.peer_id}@bob:{PORT}"
            first = []
            for _ in range(2):
                with home:
                    peer = await alice.connect(target)
                assert peer.method is UDP
                first.append(sorted(peer.attempts, key=lambda attempt: attempt.started)[0].method)
                await peer.close()
                await asyncio.sleep(1)
            assert first == [ConnectionMethod.TCP, UDP]

    simulate(scenario)


def test_introducers_that_have_worked_are_asked_at_once(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted")) as met:
            met.alice.book.add(met.bob.peer_id, [f"198.51.100.99:{PORT}"])
            asked_after, told = [], list[float]()
            met.alice.on_event(NatTraversalProgress, lambda _: told.append(asyncio.get_running_loop().time()))
            for _ in range(2):
                told.clear()
                began = asyncio.get_running_loop().time()
                peer = await met.connect()
                asked_after.append(told[0] - began)
                await peer.close()
                await asyncio.sleep(30)
            assert asked_after[0] == pytest.approx(0.1, abs=0.01)
            assert asked_after[1] == pytest.approx(0.0, abs=0.01)

    simulate(scenario)


FIRST_MESSAGE = [
    *(("open", "open"), ("port_restricted", "port_restricted"), ("symmetric", "symmetric")),
    *(("symmetric", "udp_blocked"), ("udp_blocked", "udp_blocked"), ("double_nat", "cgnat")),
]


@pytest.mark.parametrize("pair", FIRST_MESSAGE, ids="-".join)
def test_the_first_message_takes_two_and_a_half_round_trips_at_the_most(
    simulate: Simulate, pair: tuple[str, str]
) -> None:
    delay = 0.02

    async def scenario(net: SimNetwork) -> None:
        async with public_meeting(net, *hosts(net, *pair)) as (_, met):
            loop = asyncio.get_running_loop()
            heard: asyncio.Future[float] = loop.create_future()
            met.bob.on("first", lambda peer, data: heard.set_result(loop.time()))
            began = loop.time()
            peer = await met.connect()
            await peer.send("first", "words")
            trips = (await heard - began) / (4 * delay)
            print(f"{pair}: first message after {trips:.2f} round trips by way of the relay")  # noqa: T201 - a figure
            assert trips <= 2.5

    simulate(scenario, delay=delay)
