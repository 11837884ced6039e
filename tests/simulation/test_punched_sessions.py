"""Clients that ICE does not join: they punch holes by themselves once they are introduced, or say why they cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.simulation.conftest import Simulate, start_client, until
from tests.simulation.test_introducers import IPV4, RELAY, Meeting, hosts
from tests.simulation.test_public_introducers import config, serve

from librats import Address, ConnectError, PathChanged, Peer, RatsClient
from librats.errors import HandshakeError
from librats.hole_punching.punching import Punching
from librats.ice.events import IceRole
from librats.introduce.guard import PUNCH_BURST
from librats.peers.links.paths import Connect
from librats.services import mapping_watch
from librats.services.introduction.letters import is_relayed
from librats.services.link.joining import Joining
from librats.services.session import Link
from librats.testing import SimHost, SimNetwork, SimRelay
from librats.types import ConnectionMethod

SECOND = "198.51.100.10"

PAIRS = [
    ("symmetric", "port_restricted", "birthday"),
    ("port_restricted", "cgnat_sym", "birthday"),
    ("symmetric", "double_nat", "birthday"),
    ("symmetric_seq", "port_restricted", "prediction"),
    ("port_restricted", "symmetric_seq", "prediction"),
    ("symmetric_seq", "symmetric_seq", "prediction"),
    ("bare_masquerade", "port_restricted", "simultaneous"),
    ("udp_blocked", "port_restricted", "tcp"),
    ("full_cone", "udp_blocked", "tcp"),
    ("udp_blocked", "udp_blocked", "tcp"),
    ("udp_blocked", "symmetric_seq", "tcp"),
    ("symmetric_seq", "udp_blocked", "tcp"),
]


@asynccontextmanager
async def meeting(
    net: SimNetwork,
    one: SimHost,
    other: SimHost,
    *,
    settle: float = 4.0,
    relays: bool = False,
    second: bool = True,
    **fields: Any,
) -> AsyncIterator[tuple[SimRelay, Meeting]]:
    """Start two clients with one introducer, and let them find out about their NATs."""
    net.host("relay", addresses=[RELAY, SECOND])
    users = {} if relays else {"ann": "secret"}
    alternate = Address(SECOND, 3479) if second else None
    relay = await serve(net, alternate=alternate, relay_for_introduced=relays, users=users, carry=False)
    clients: list[RatsClient] = []
    try:
        for host in (one, other):
            nat = config(**fields)
            clients.append(await start_client(host, nat=nat, listen_host=IPV4, protocol_name="chat"))
        alice, bob = clients
        await until(lambda: alice.introducers and bob.introducers, within=5)
        await asyncio.sleep(settle)
        yield relay, Meeting(alice, alice, bob, one, other, relay)
    finally:
        for client in clients:
            await client.stop()
        await relay.close()


def techniques(peer: Peer) -> list[str]:
    return [attempt.technique for attempt in peer.attempts if attempt.technique and not attempt.error]


def punching(client: RatsClient) -> Punching:
    introduced = client._introduced
    assert introduced is not None
    assert introduced.punching is not None
    return introduced.punching


async def assert_works(met: Meeting, peer: Peer) -> None:
    """Check that both sides have one and the same session, and that it outlives the NAT's patience with silence."""
    met.bob.on("greet", lambda _, data: f"hello {data}")
    assert await peer.request("greet", "Alice") == "hello Alice"
    await asyncio.sleep(300)
    assert await peer.request("greet", "again", timeout=5) == "hello again"
    [there] = met.bob.peers.values()
    assert (len(peer.links), len(there.links)) == (1, 1)
    assert RELAY not in (peer.address.host, there.address.host)


@pytest.mark.parametrize("settle", [4.0, 0.1], ids=["known NATs", "new clients"])
@pytest.mark.parametrize(("one", "other", "technique"), PAIRS)
def test_clients_that_ice_does_not_join_are_joined_without_a_relay(
    simulate: Simulate, one: str, other: str, technique: str, settle: float
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), settle=settle) as (_, met):
            began = asyncio.get_running_loop().time()
            peer = await met.connect()
            took = asyncio.get_running_loop().time() - began
            assert techniques(peer) == [technique]
            assert peer.method is (ConnectionMethod.TCP if technique == "tcp" else ConnectionMethod.UDP)
            assert took < (4 if technique == "birthday" else 1.6)
            await assert_works(met, peer)

    simulate(scenario, delay=0.01)


@pytest.mark.parametrize(
    ("one", "other", "technique"),
    [
        ("symmetric", "port_restricted", "birthday"),
        ("port_restricted", "symmetric_seq", "prediction"),
        ("symmetric_seq", "symmetric_seq", "prediction"),
        ("udp_blocked", "port_restricted", "tcp"),
    ],
)
def test_an_introducer_with_one_address_will_do(simulate: Simulate, one: str, other: str, technique: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), second=False) as (_, met):
            peer = await met.connect()
            assert techniques(peer) == [technique]
            await assert_works(met, peer)

    simulate(scenario, delay=0.01)


@pytest.mark.parametrize("attempts", [(1, 3), (3, 1)])
def test_both_sides_try_no_more_often_than_either_wants(simulate: Simulate, attempts: tuple[int, int]) -> None:
    async def scenario(net: SimNetwork) -> None:
        one, other = hosts(net, "symmetric_seq", "symmetric_seq")
        async with meeting(net, one, other) as (_, met):
            for client, count in zip((met.alice, met.bob), attempts, strict=True):
                owner = punching(client)
                owner._settings = replace(owner._settings, hole_punch_attempts=count)
            net.cut(*net.routers[:2])
            with pytest.raises(ConnectError) as caught:
                await met.connect(timeout=25)
            tried = [attempt.technique for attempt in caught.value.attempts if attempt.technique]
            assert tried == ["prediction"]

    simulate(scenario, delay=0.01)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("symmetric", "port_restricted"),
        ("symmetric_seq", "symmetric_seq"),
        ("bare_masquerade", "port_restricted"),
        ("port_restricted", "udp_blocked"),
    ],
)
def test_a_session_that_a_relay_carries_goes_over_to_the_hole_and_loses_nothing(
    simulate: Simulate, one: str, other: str, seed: int
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), settle=0.1, relays=True) as (_, met):
            got: list[int] = []
            moves: list[PathChanged] = []
            met.bob.on("n", lambda _, number: got.append(number))
            met.alice.on_event(PathChanged, moves.append)
            peer = await met.connect()
            for number in range(400):
                await peer.send("n", number)
                await asyncio.sleep(0.02)
            await until(lambda: len(got) == 400, within=5)
            assert got == list(range(400))
            assert len(techniques(peer)) == 1
            assert len(moves) <= 2
            await assert_works(met, peer)

    simulate(scenario, seed, delay=0.01)


def test_who_takes_a_relay_for_the_caller_itself_hears_its_letters_all_the_same(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "udp_blocked", "full_cone"), relays=True) as (_, met):
            monkeypatch.setattr("librats.hole_punching.punching.head_start", lambda *_: 3.0)
            monkeypatch.setattr(
                "librats.introductions.introduced.is_relayed",
                lambda agent: agent.role is IceRole.CONTROLLING and is_relayed(agent),
            )
            peer = await met.connect()
            await until(lambda: techniques(peer), within=8)
            assert techniques(peer) == ["tcp"]
            await assert_works(met, peer)

    simulate(scenario, delay=0.01)


def test_a_session_begins_at_the_relay_at_once(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "bare_masquerade", "port_restricted"), relays=True) as (_, met):
            moves: list[PathChanged] = []
            met.alice.on_event(PathChanged, moves.append)
            peer = await met.connect()
            assert techniques(peer) == []
            await until(lambda: techniques(peer), within=3)
            assert techniques(peer) == ["simultaneous"]
            assert len(moves) == 1
            await assert_works(met, peer)
            await peer.close()
            await asyncio.sleep(20)

    simulate(scenario, delay=0.01)


@pytest.mark.parametrize(("one", "other"), [("bare_masquerade", "port_restricted"), ("port_restricted", "udp_blocked")])
def test_a_session_that_moves_elsewhere_just_then_goes_over_to_the_hole_later(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), settle=0.1, relays=True) as (_, met):
            paths = punching(met.alice).manager.paths
            move = paths.move_over
            failed = 0

            async def fail_first(link: Link, connect: Connect, address: Address) -> None:
                nonlocal failed
                if address.host != RELAY and address.port != 8080 and not failed:
                    failed += 1
                    await connect(Aborting)
                    raise HandshakeError("the session has moved to another path")
                await move(link, connect, address)

            monkeypatch.setattr(paths, "move_over", fail_first)
            monkeypatch.setattr("librats.hole_punching.punching.head_start", lambda *_: 3.0)  # the relay is first
            peer = await met.connect()
            await until(lambda: techniques(peer), within=12)
            assert failed == 1
            await assert_works(met, peer)

    simulate(scenario, delay=0.01)


class Aborting(Joining):
    """What a session's path is left to that has come to nothing."""

    def __init__(self) -> None:
        pass

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()

    def connection_lost(self, exc: Exception | None) -> None:
        pass


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("symmetric", "symmetric", "unpredictable-ports"),
        ("symmetric", "symmetric_seq", "unpredictable-ports"),
        ("symmetric", "udp_blocked", "udp-blocked"),
    ],
)
def test_where_no_hole_can_be_punched_that_is_told_soon(simulate: Simulate, one: str, other: str, reason: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other)) as (_, met):
            began = asyncio.get_running_loop().time()
            with pytest.raises(ConnectError, match=reason) as caught:
                await met.connect()
            assert asyncio.get_running_loop().time() - began < 4
            assert any(f"no hole was punched: {reason}" in attempt.error for attempt in caught.value.attempts)
            await asyncio.sleep(40)
            assert met.bob.peers == {}

    simulate(scenario, delay=0.01)


@pytest.mark.parametrize("side", [0, 1])
def test_no_holes_are_punched_where_one_side_does_not_want_that(simulate: Simulate, side: int) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "symmetric", "port_restricted")) as (_, met):
            introduced = (met.alice, met.bob)[side]._introduced
            assert introduced is not None
            introduced.punching = None
            with pytest.raises(ConnectError) as caught:
                await met.connect()
            assert not any(attempt.technique for attempt in caught.value.attempts)

    simulate(scenario, delay=0.01)


def test_a_client_that_is_configured_not_to_does_not_even_look_at_its_nat(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        one, other = hosts(net, "symmetric", "port_restricted")
        async with meeting(net, one, other, enable_hole_punching=False) as (_, met):
            for client in (met.alice, met.bob):
                assert client._introduced is not None
                assert client._introduced.punching is None

    simulate(scenario, delay=0.01)


def test_who_is_called_too_often_punches_no_more_and_says_so(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "symmetric", "port_restricted")) as (_, met):
            guard = punching(met.bob).guard
            now = asyncio.get_running_loop().time()
            assert [guard.punches(now=now) for _ in range(int(PUNCH_BURST) + 1)] == [True] * int(PUNCH_BURST) + [False]
            with pytest.raises(ConnectError, match="limited"):
                await met.connect(timeout=8)

    simulate(scenario, delay=0.01)


def test_a_peer_that_names_an_address_where_nobody_has_seen_it_has_no_ports_guessed_there(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(net: SimNetwork) -> None:
        victim = net.host("victim", addresses=["192.0.2.66"])
        heard: list[tuple[bytes, Any]] = []

        def hear(batch: Iterable[tuple[bytes, Any]]) -> None:
            heard.extend(batch)

        endpoints = [await victim.open_datagram("192.0.2.66", port, receive=hear) for port in range(2000, 2800)]
        async with meeting(net, *hosts(net, "symmetric", "port_restricted")) as (_, met):
            made, lies = punching(met.alice).puncher, 0

            @asynccontextmanager
            async def lying(*args: Any, **options: Any) -> AsyncIterator[Any]:
                async with made(*args, **options) as puncher:
                    send = puncher._signalling.send

                    async def tell(message: dict[str, Any]) -> None:
                        nonlocal lies
                        lies += "public" in message
                        await send({**message, "public": ["192.0.2.66:2001"]} if "public" in message else message)

                    monkeypatch.setattr(puncher._signalling, "send", tell)
                    yield puncher

            monkeypatch.setattr(punching(met.alice), "puncher", lying)
            with suppress(ConnectError):
                await met.connect(timeout=10)
            assert lies > 0
            assert heard == []
        for endpoint in endpoints:
            endpoint.close()

    simulate(scenario, delay=0.01)


def test_a_caller_that_gives_up_lets_the_other_side_stop(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        one, other = hosts(net, "port_restricted", "symmetric")
        async with meeting(net, one, other) as (_, met):
            before = len(net.left_behind())
            calling = asyncio.ensure_future(met.connect())
            await until(lambda: len(net.left_behind()) > before + 200, within=2)
            calling.cancel()
            await asyncio.sleep(0.3)
            assert not [each for each in net.left_behind() if "librats punches" in each]
            assert len(net.left_behind()) < before + 20

    simulate(scenario, delay=0.01)


def test_the_socket_of_a_hole_goes_with_the_session(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping_watch, "SETTLE", 1e6)  # nor are there sockets that measure what the NAT does

    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "symmetric_seq", "port_restricted")) as (_, met):
            await asyncio.sleep(30)
            before = len(net.left_behind())
            peer = await met.connect()
            await asyncio.sleep(60)
            assert len([each for each in net.left_behind() if "librats punched" in each]) == 2
            await peer.close()
            await asyncio.sleep(30)
            assert len(net.left_behind()) == before

    simulate(scenario, delay=0.01)


def test_a_hole_is_kept_for_a_session_that_comes_to_it_late(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "symmetric_seq", "port_restricted")) as (_, met):
            monkeypatch.setattr(
                "librats.hole_punching.punching.FIRST_STREAM", 0.15
            )  # the dial is under way, and nobody has answered
            peer = await met.connect()
            assert techniques(peer) == ["prediction"]
            await assert_works(met, peer)

    simulate(scenario, delay=0.1)


def test_many_who_call_at_once_do_not_use_up_what_a_process_may_open(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        one, other = hosts(net, "port_restricted", "symmetric")
        async with meeting(net, one, other) as (_, met):
            callers = []
            for number in range(7):
                host = net.host(f"caller{number}", behind=net.router(f"flat{number}", "port_restricted"))
                callers.append((host, await start_client(host, nat=config(), listen_host=IPV4, protocol_name="chat")))
            await asyncio.sleep(5)
            before = len(net.left_behind())
            calls = [host.spawn(client.connect(met.bob.peer_id)) for host, client in callers]
            most = 0
            while not all(call.done() for call in calls):
                await asyncio.sleep(0.05)
                most = max(most, len(net.left_behind()) - before)
            assert 512 < most < 900
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(outcome, Peer) for outcome in outcomes) >= 5
            for _, client in callers:
                await client.stop()

    simulate(scenario, delay=0.01)
