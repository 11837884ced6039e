"""Clients that have nothing in common but a relay's id and address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.netns.nat_rules import TYPES
from tests.simulation.conftest import Simulate, start_client, until
from tests.simulation.test_introducers import IPV4, RELAY, Meeting, hosts

from librats import Address, ConnectError, NatTraversalConfig, RatsClient
from librats.introduce.letters import Letter
from librats.introducers.dialling import HEAD_START, IntroducerDialler
from librats.peers.identity import Identity
from librats.relay.config import RelayConfig
from librats.services.introduction.ends import Offered
from librats.services.introduction.letters import Introducer
from librats.testing import SimHost, SimNetwork, SimRelay
from librats.turn.serving.quotas import QuotaLimits
from librats.types import ConnectionMethod

IDENTITY = Identity(bytes(range(32)))
SILENT = 4000
INTRODUCER = f"{IDENTITY.peer_id}@{RELAY}:3478"


def config(**fields: Any) -> NatTraversalConfig:
    return NatTraversalConfig(
        **{"stun_servers": (), "introducers": (INTRODUCER,), "enable_port_mapping": False, **fields}
    )


async def serve(net: SimNetwork, **fields: Any) -> SimRelay:
    wanted = {"listen": (Address(RELAY, 3478),), "relay_for_introduced": True, **fields}
    there = [host for host in net.hosts if host.name == "relay"]
    with there[0] if there else net.host("relay", addresses=[RELAY]):
        relay = SimRelay(RelayConfig(**wanted), IDENTITY)
        await relay.start()
    return relay


@asynccontextmanager
async def meeting(
    net: SimNetwork, one: SimHost, other: SimHost, **fields: Any
) -> AsyncIterator[tuple[SimRelay, Meeting]]:
    async with AsyncExitStack() as stack:
        relay = await serve(net, **fields)
        stack.push_async_callback(relay.close)
        clients: list[RatsClient] = []
        for host in (one, other):
            client = await start_client(host, nat=config(), listen_host=IPV4, protocol_name="chat")
            stack.push_async_callback(client.stop)
            clients.append(client)
        alice, bob = clients
        await until(lambda: alice.introducers and bob.introducers, within=5)
        yield relay, Meeting(alice, alice, bob, one, other, relay)


@pytest.mark.parametrize("one", [kind for kind in TYPES if kind != "v6_only"])
@pytest.mark.parametrize("other", ["port_restricted", "symmetric"])
def test_two_behind_any_nats_reach_each_other_by_one_relay_without_a_password(
    simulate: Simulate, one: str, other: str
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other)) as (relay, met):
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            peer = await met.connect()
            assert await peer.request("greet", "Alice") == "hello Alice"
            await asyncio.sleep(60)
            assert await peer.request("greet", "again") == "hello again"
            assert relay.introducer is not None
            assert relay.introducer.statistics["offers_passed"] == 1
            assert met.alice.introducers == [INTRODUCER]

    simulate(scenario)


def test_a_client_that_has_just_started_waits_for_its_introducer(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        fields: dict[str, Any] = {"relay_for_introduced": False, "users": {"ann": "secret"}}
        async with meeting(net, *hosts(net, "full_cone", "port_restricted"), **fields) as (_, met):
            flat = net.router("flat", "port_restricted")
            late = await start_client(
                net.host("late", behind=flat), nat=config(), listen_host=IPV4, protocol_name="chat"
            )
            with net.hosts[-1]:
                peer = await late.connect(met.bob.peer_id)
            await until(lambda: peer.method is ConnectionMethod.UDP, within=2)
            await late.stop()

    simulate(scenario)


def test_an_introducer_is_found_at_the_last_of_its_four_addresses(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        addresses = [f"203.0.113.{number}" for number in range(21, 25)]
        net.host("relay", addresses=addresses)
        relay = await serve(net, listen=(Address(addresses[-1], 3478),))
        nat = config(introducers=(f"{IDENTITY.peer_id}@relay:3478",))
        client = await start_client(net.host("bob"), nat=nat, listen_host=IPV4)
        await until(lambda: client.introducers, within=3)
        await client.stop()
        await relay.close()

    simulate(scenario)


def test_a_session_goes_over_to_tcp_and_the_relay_knows_the_client_all_the_time(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        assert relay.introducer is not None
        links = relay.introducer.sessions.links
        router = net.router("home", "port_restricted")
        client = await start_client(net.host("bob", behind=router), nat=config(), listen_host=IPV4)
        await until(lambda: links, within=3)
        methods: list[ConnectionMethod] = []
        for _ in range(400):
            assert client.peer_id in links
            methods += [link.method for link in links.values() if [link.method] != methods[-1:]]
            await asyncio.sleep(0.1)
        assert methods in (
            [ConnectionMethod.TCP],
            [ConnectionMethod.UDP],
            [ConnectionMethod.UDP, ConnectionMethod.TCP],
        )
        found.extend(methods)
        await client.stop()
        await relay.close()

    found: list[ConnectionMethod] = []
    simulate(scenario)
    assert found == [ConnectionMethod.UDP, ConnectionMethod.TCP]
    for seed in range(40):
        simulate(scenario, seed, delay=0.02, loss=0.02)
    assert found.count(ConnectionMethod.TCP) > 30


def test_a_connection_over_tcp_that_brings_no_session_does_not_keep_udp_from_it(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial = IntroducerDialler._dial

    async def dial_slowly(
        self: IntroducerDialler, factory: Callable[[], asyncio.BaseProtocol], way: tuple[ConnectionMethod, Address]
    ) -> None:
        method, address = way
        dialled.append(method)
        if method is ConnectionMethod.UDP:
            await asyncio.sleep(2 * HEAD_START)
        else:
            address = address._replace(port=SILENT)
        await dial(self, factory, (method, address))

    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        assert relay.introducer is not None
        silent = await next(host for host in net.hosts if host.name == "relay").listen_tcp(
            asyncio.Protocol, RELAY, SILENT
        )
        client = await start_client(net.host("bob"), nat=config(), listen_host=IPV4)
        await until(lambda: client.introducers, within=1)
        assert [link.method for link in relay.introducer.sessions.links.values()] == [ConnectionMethod.UDP]
        await client.stop()
        silent.close()
        await relay.close()

    dialled: list[ConnectionMethod] = []
    monkeypatch.setattr(IntroducerDialler, "_dial", dial_slowly)
    simulate(scenario)
    assert dialled == [ConnectionMethod.UDP, ConnectionMethod.TCP]


def test_where_much_is_lost_a_session_with_a_relay_stays_with_udp(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        assert relay.introducer is not None
        links = relay.introducer.sessions.links
        client = await start_client(net.host("bob"), nat=config(), listen_host=IPV4)
        await until(lambda: links, within=10)
        await asyncio.sleep(15)
        found.extend(link.method for link in links.values())
        await client.stop()
        await relay.close()

    found: list[ConnectionMethod] = []
    for seed in range(20):
        simulate(scenario, seed, delay=0.02, loss=0.3)
    assert found.count(ConnectionMethod.UDP) > 12


def test_a_client_of_another_application_is_not_answered(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            other = await start_client(net.host("other"), nat=config(), listen_host=IPV4, protocol_name="game")
            with net.hosts[-1], pytest.raises(ConnectError, match="tampered"):
                await other.connect(met.bob.peer_id)
            await other.stop()

    simulate(scenario)


def test_a_relay_that_was_restarted_is_dialled_again(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "symmetric")) as (relay, met):
            await relay.close()
            await until(lambda: not met.alice.introducers, within=5)
            again = await serve(net)
            await until(lambda: met.alice.introducers and met.bob.introducers, within=70)
            assert (await met.connect()).is_connected
            await met.alice.stop()
            await met.bob.stop()
            await again.close()

    simulate(scenario)


def test_who_relays_as_a_node_without_a_password_is_bounded_by_network(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        quotas = QuotaLimits(introduced_allocations=1)
        async with meeting(net, *hosts(net, "symmetric", "symmetric"), quotas=quotas, carry=False) as (relay, met):
            await met.connect()
            assert set(relay.statistics().users.values()) == {1}
            assert all(owner.startswith("@") for owner in relay.statistics().users)
            neighbour = await start_client(
                net.host("neighbour", behind=net.routers[0]), nat=config(), listen_host=IPV4, protocol_name="chat"
            )
            with net.hosts[-1]:
                await asyncio.sleep(2)
                with pytest.raises(ConnectError):
                    await neighbour.connect(met.bob.peer_id, timeout=60)
            assert max(relay.statistics().users.values()) == 1
            await neighbour.stop()

    simulate(scenario)


def test_credentials_are_renewed_while_a_session_goes_on_through_the_relay(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "symmetric", "symmetric"), introduced_lifetime=60.0) as (_, met):
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            peer = await met.connect()
            for _ in range(4):
                await asyncio.sleep(900)
                assert await peer.request("greet", "Alice") == "hello Alice"

    simulate(scenario)


def test_a_relay_that_grants_nothing_introduces_all_the_same(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        fields: dict[str, Any] = {"relay_for_introduced": False, "users": {"ann": "secret"}}
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted"), **fields) as (relay, met):
            peer = await met.connect()
            await until(lambda: peer.method is ConnectionMethod.UDP, within=2)
            assert relay.statistics().users == {}

    simulate(scenario)


def test_a_relay_that_does_not_introduce_is_none(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net, introduce=False)
        client = await start_client(net.host("alice"), nat=config(), listen_host=IPV4)
        await asyncio.sleep(20)
        assert client.introducers == []
        await client.stop()
        await relay.close()

    simulate(scenario)


def test_two_that_call_each_other_at_once_end_with_one_session(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        one, other = hosts(net, "port_restricted", "restricted")
        async with meeting(net, one, other) as (_, met):
            with one:
                there = asyncio.ensure_future(met.alice.connect(met.bob.peer_id))
            with other:
                back = asyncio.ensure_future(met.bob.connect(met.alice.peer_id))
            peers = await asyncio.gather(there, back)
            await asyncio.sleep(60)
            assert [peer.is_connected for peer in peers] == [True, True]
            assert [len(peer.links) for peer in peers] == [1, 1]
            met.bob.on("greet", lambda peer, data: f"hello {data}")
            assert await peers[0].request("greet", "Alice") == "hello Alice"

    simulate(scenario)


def test_peers_never_learn_the_address_of_a_client_that_hides_it(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        one, other = hosts(net, "full_cone", "full_cone")
        relay = await serve(net, users={"ann": "secret"})
        hidden = config(path_policy="relay_only", turn_servers=(f"turn:ann:secret@{RELAY}:3478",))
        alice = await start_client(one, nat=hidden, protocol_name="chat", listen_host=IPV4)
        bob = await start_client(other, nat=config(), protocol_name="chat", listen_host=IPV4)
        await until(lambda: alice.introducers and bob.introducers, within=5)
        letters: list[Letter] = []
        introduced = bob._introduced
        assert introduced is not None
        answer = introduced.offered

        def taken(offered: Offered, introducer: Introducer | None) -> None:
            letters.append(offered.letter)
            answer(offered, introducer)

        introduced.offered = taken  # type: ignore[method-assign]
        with one:
            peer = await alice.connect(bob.peer_id)
        assert peer.method is ConnectionMethod.RELAY
        [seen] = bob.peers.values()
        assert seen.address.host == RELAY
        [letter] = letters
        assert letter.seen == ""
        told = letter.encode().decode()
        assert RELAY in told
        assert net.routers[0].address not in told
        assert not any(address in told for address in one.addresses)
        await alice.stop()
        await bob.stop()
        await relay.close()

    simulate(scenario)


def test_two_whom_only_the_web_lets_out_meet_and_relay_inside_a_websocket(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with AsyncExitStack() as stack:
            relay = await serve(net, listen=(Address(RELAY, 3478), Address(RELAY, 443)))
            stack.push_async_callback(relay.close)
            web = f"ws://{IDENTITY.peer_id}@{RELAY}:443"
            clients: list[RatsClient] = []
            places = hosts(net, "tcp443_only", "tcp443_only")
            for host in places:
                nat = config(introducers=(INTRODUCER, web))
                clients.append(await start_client(host, nat=nat, listen_host=IPV4, protocol_name="chat"))
                stack.push_async_callback(clients[-1].stop)
            alice, bob = clients
            await until(lambda: alice.introducers and bob.introducers, within=5)
            assert alice.introducers == [f"{IDENTITY.peer_id}@{RELAY}:443"]
            bob.on("greet", lambda peer, data: f"hello {data}")
            with places[0]:
                peer = await alice.connect(bob.peer_id)
            assert await peer.request("greet", "Alice") == "hello Alice"
            await asyncio.sleep(300)
            assert await peer.request("greet", "again") == "hello again"

    simulate(scenario)
