"""Clients behind routers that a third one introduces to each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from tests.simulation.conftest import PORT, Simulate, start_client

from librats import Address, ConnectError, IntroductionError, NatTraversalConfig, PathChanged, Peer, RatsClient
from librats.introduce.notices import Notice, Op
from librats.introduce.passing import Passing
from librats.relay.config import RelayConfig
from librats.services.introducer import Introductions
from librats.testing import SimHost, SimNetwork, SimRelay
from librats.types import ConnectionMethod

RELAY, RELAY_TOO = "203.0.113.10", "203.0.113.11"
IPV4 = "0.0.0.0"  # noqa: S104 - of simulated hosts
CONES = ("open", "full_cone", "restricted", "port_restricted")


def nat(*, turn: bool = False, **fields: Any) -> NatTraversalConfig:
    servers = (f"turn:ann:secret@{RELAY}:3478",) if turn else ()
    return NatTraversalConfig(
        **{"stun_servers": (f"{RELAY}:3478",), "turn_servers": servers, "enable_port_mapping": False, **fields}
    )


async def serve(net: SimNetwork) -> SimRelay:
    config = RelayConfig(listen=(Address(RELAY, 3478),), alternate=Address(RELAY_TOO, 3479), users={"ann": "secret"})
    with net.host("relay", addresses=[RELAY, RELAY_TOO]):
        relay = SimRelay(config)
        await relay.start()
    return relay


class Meeting(NamedTuple):
    introducer: RatsClient
    alice: RatsClient
    bob: RatsClient
    home: SimHost
    office: SimHost
    relay: SimRelay

    async def connect(self, **options: Any) -> Peer:
        """Have alice reach bob, as a program on her host does."""
        with self.home:
            return await self.alice.connect(self.bob.peer_id, **options)


@asynccontextmanager
async def meeting(
    net: SimNetwork, one: SimHost, other: SimHost, *, transports: tuple[str, ...] = ("udp", "tcp"), **fields: Any
) -> AsyncIterator[Meeting]:
    """Start two clients that know a third one, and not each other."""
    async with AsyncExitStack() as stack:
        relay = await serve(net)
        stack.push_async_callback(relay.close)
        clients = []
        for host in (net.host("introducer"), one, other):
            client = await start_client(host, nat=nat(**fields), transports=transports, listen_host=IPV4)
            stack.push_async_callback(client.stop)
            clients.append(client)
        for client in clients[1:]:
            await client.connect(f"introducer:{PORT}")
        await asyncio.sleep(1)
        introducer, alice, bob = clients
        yield Meeting(introducer, alice, bob, one, other, relay)


def hosts(net: SimNetwork, one: str, other: str) -> tuple[SimHost, SimHost]:
    return net.host("alice", behind=net.router("home", one)), net.host("bob", behind=net.router("office", other))


@pytest.mark.parametrize("transports", [("udp", "tcp"), ("tcp", "udp")], ids=lambda value: value[0])
@pytest.mark.parametrize("one", CONES)
@pytest.mark.parametrize("other", CONES)
def test_peers_behind_cones_reach_each_other_by_id(
    simulate: Simulate, one: str, other: str, transports: tuple[str, ...]
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), transports=transports) as met:
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            began = asyncio.get_running_loop().time()
            peer = await met.connect()
            assert asyncio.get_running_loop().time() - began < 2
            assert peer.method is ConnectionMethod.UDP
            assert await peer.request("greet", "Alice") == "hello Alice"
            assert set(met.introducer.peers) == {met.alice.peer_id, met.bob.peer_id}
            await asyncio.sleep(60)
            assert await peer.request("greet", "again") == "hello again"

    simulate(scenario)


@pytest.mark.parametrize(("one", "other"), [("symmetric", "port_restricted"), ("symmetric", "symmetric")])
def test_peers_that_no_direct_way_joins_reach_each_other_through_a_relay(
    simulate: Simulate, one: str, other: str
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), turn=True) as met:
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            peer = await met.connect()
            assert await peer.request("greet", "Alice") == "hello Alice"
            await asyncio.sleep(60)
            assert await peer.request("greet", "again") == "hello again"

    simulate(scenario)


class Meddler(Passing):
    """An introducer that is not honest."""

    def __init__(self, honest: Passing, meddle: Callable[[str, Notice], list[tuple[str, Notice]]]) -> None:
        super().__init__(honest._key_of)
        self._meddle = meddle

    def take(self, sender: str, notice: Notice, *, now: float, source: str = "") -> list[tuple[str, Notice]]:
        """Do what an introducer does, and something else with it."""
        told = super().take(sender, notice, now=now, source=source)
        return [each for to, one in told for each in self._meddle(to, one)]


def circle_of(client: RatsClient) -> Introductions:
    circle = client._circle
    assert circle is not None
    return circle


def meddle(client: RatsClient, how: Callable[[str, Notice], list[tuple[str, Notice]]]) -> None:
    circle = circle_of(client)
    assert circle.passing is not None
    circle.passing = Meddler(circle.passing, how)


def counters(client: RatsClient) -> dict[str, int]:
    introduced = client._introduced
    assert introduced is not None
    return introduced.guard.counters


def flipped(notice: Notice) -> Notice:
    letter = bytearray(notice.letter)
    letter[len(letter) // 2] ^= 1
    return replace(notice, letter=bytes(letter))


def test_an_offer_that_was_tampered_with_is_told_apart_and_leads_nowhere(
    simulate: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as met:
            meddle(met.introducer, lambda to, one: [(to, flipped(one) if one.op is Op.PASSED else one)])
            with pytest.raises(ConnectError, match="tampered") as caught:
                await met.connect()
            assert caught.value.attempts[0].address.port == PORT
            assert counters(met.bob)["tampered"] == 1
            assert counters(met.bob)["accepted"] == 0
            assert set(met.bob.peers) == {met.introducer.peer_id}

    simulate(scenario)
    assert f"introductions by {introducer_in(caplog)}: tampered" in caplog.text


def introducer_in(caplog: pytest.LogCaptureFixture) -> str:
    [record, *_] = [record for record in caplog.records if record.name == "librats.introducer" and record.levelno >= 30]
    return str(record.args[0]) if isinstance(record.args, tuple) else ""


def test_an_answer_that_was_tampered_with_is_told_apart_and_leads_nowhere(
    simulate: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as met:
            meddle(met.introducer, lambda to, one: [(to, flipped(one) if one.op is Op.ANSWERED else one)])
            with pytest.raises(ConnectError, match="tampered"):
                await met.connect()
            assert circle_of(met.alice).counters["forged"] == 1
            await asyncio.sleep(60)
            assert set(met.alice.peers) == set(met.bob.peers) == {met.introducer.peer_id}

    simulate(scenario)
    assert "forged" in caplog.text


def test_another_peers_key_is_not_taken(simulate: Simulate, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as met:
            own = met.introducer.identity.public_key
            meddle(met.introducer, lambda to, one: [(to, replace(one, peer=own) if one.op is Op.KEY else one)])
            with pytest.raises(ConnectError, match="another peer's key"):
                await met.connect()
            assert circle_of(met.alice).counters["forged"] == 1
            assert counters(met.bob)["offers"] == 0

    simulate(scenario)
    assert "forged" in caplog.text


def test_an_offer_that_is_replayed_is_told_apart_and_answered_once(
    simulate: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as met:

            def again(to: str, one: Notice) -> list[tuple[str, Notice]]:
                if one.op is not Op.PASSED:
                    return [(to, one)]
                return [(to, replace(one, number=one.number + extra)) for extra in (0, 1000, 2000)]

            meddle(met.introducer, again)
            peer = await met.connect()
            assert peer.is_connected
            assert counters(met.bob)["replayed"] == 2
            assert counters(met.bob)["accepted"] == 1

    simulate(scenario)
    assert "replayed" in caplog.text


def test_a_flood_of_offers_is_told_apart_and_costs_little(simulate: Simulate, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as met:
            tell = circle_of(met.introducer).tell
            for number in range(2000):
                caller = bytes([number & 255, number >> 8]) + bytes(30)
                tell(met.bob.peer_id, Notice(Op.PASSED, 5000 + number, peer=caller, letter=bytes(200)))
                if number % 100 == 0:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(1)
            seen = counters(met.bob)
            assert seen["tampered"] <= 61
            assert seen["flooded"] == 2000 - seen["tampered"]
            assert met.bob.peers[met.introducer.peer_id].is_connected
            # Those that come through another introducer are answered all the same.
            other = await start_client(net.host("other"), nat=nat(), transports=("udp", "tcp"), listen_host=IPV4)
            for client in (met.alice, met.bob):
                await client.connect(f"other:{PORT}")
            assert (await met.connect()).is_connected
            await other.stop()

    simulate(scenario)
    warned = [record for record in caplog.records if record.name == "librats.introducer" and record.levelno >= 30]
    assert {"flooded", "tampered"} <= {record.args[1] for record in warned if isinstance(record.args, tuple)}
    assert len(warned) < 6


def test_an_introducer_that_is_silent_holds_up_no_other(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "port_restricted")) as met:
            meddle(met.introducer, lambda to, one: [])
            other = await start_client(net.host("other"), nat=nat(), transports=("udp", "tcp"), listen_host=IPV4)
            for client in (met.alice, met.bob):
                await client.connect(f"other:{PORT}")
            began = asyncio.get_running_loop().time()
            assert (await met.connect()).is_connected
            assert asyncio.get_running_loop().time() - began < 2
            await other.stop()

    simulate(scenario)


def test_who_does_not_introduce_says_so_and_who_takes_no_introductions_gets_none(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback((await serve(net)).close)
            one, other = hosts(net, "full_cone", "full_cone")
            clients = []
            for host, fields in (
                (net.host("introducer"), {}),
                (net.host("silent"), {"allow_introductions": False}),
                (one, {}),
                (other, {"enable_ice": False}),
            ):
                client = await start_client(host, nat=nat(**fields), transports=("udp", "tcp"), listen_host=IPV4)
                stack.push_async_callback(client.stop)
                clients.append(client)
            introducer, silent, alice, bob = clients
            for client in (alice, bob):
                await client.connect(f"introducer:{PORT}")
                await client.connect(f"silent:{PORT}")
            with one, pytest.raises(ConnectError, match="unknown_peer") as caught:
                await alice.connect(bob.peer_id)
            assert [attempt.address.host for attempt in caught.value.attempts] == [introducer.addresses[0].host]
            # Asked all the same, it refuses.
            with pytest.raises(IntroductionError, match="not_allowed"):
                await circle_of(alice).ask(silent.peer_id, bob.peer_id)

    simulate(scenario)


def test_a_peer_that_is_denied_is_not_answered_and_learns_so_from_the_peer_itself(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as met:
            met.bob.deny.add(met.alice.peer_id)
            with pytest.raises(ConnectError, match="the peer says refused"):
                await met.connect()
            assert counters(met.bob)["refused"] == 1
            met.bob.deny.remove(met.alice.peer_id)
            assert (await met.connect()).is_connected

    simulate(scenario)


def test_stopping_the_client_or_cancelling_ends_everything_that_was_begun(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "symmetric", "symmetric")) as met:
            for delay in (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0):
                with met.home:
                    connecting = asyncio.ensure_future(met.alice.connect(met.bob.peer_id))
                await asyncio.sleep(delay)
                connecting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await connecting
            with met.home:
                connecting = asyncio.ensure_future(met.alice.connect(met.bob.peer_id))
            await asyncio.sleep(0.3)
            await met.alice.stop()
            with pytest.raises(ConnectError):
                await connecting

    simulate(scenario)


def test_the_session_leaves_the_relay_when_a_direct_way_is_found(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted"), turn=True) as met:
            moved: list[ConnectionMethod] = []
            met.alice.on_event(PathChanged, lambda event: moved.append(event.method))
            peer = await met.connect()
            await asyncio.sleep(5)
            assert peer.method is ConnectionMethod.UDP
            assert peer.link.address.host != RELAY

    simulate(scenario)
