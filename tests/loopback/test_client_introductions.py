"""Introductions and offers of the application's own, between clients on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from librats import (
    ConfigError,
    ConnectError,
    DecodeError,
    Identity,
    NatTraversalConfig,
    PeerDenied,
    RatsClient,
    RatsConfig,
    UsageError,
)
from librats.blocking import RatsClient as BlockingClient
from librats.relay.config import RelayConfig
from librats.relay.metrics import render_metrics
from librats.relay.server import RelayServer
from librats.types import Address, ConnectionMethod

NAT = NatTraversalConfig.offline()


def new_client(**fields: Any) -> RatsClient:
    config = RatsConfig(listen_host="127.0.0.1", **{"nat": NAT, **fields})
    return RatsClient(config=config, identity=Identity.generate())


async def two(stack: AsyncExitStack, **fields: Any) -> tuple[RatsClient, RatsClient]:
    return (
        await stack.enter_async_context(new_client(**fields)),
        await stack.enter_async_context(new_client(**fields)),
    )


async def test_an_offer_that_the_application_carries_connects_two() -> None:
    async with AsyncExitStack() as stack:
        alice, bob = await two(stack)
        bob.on("greet", lambda peer, data: f"hello {data}")
        offer = json.dumps(await alice.create_ice_offer(bob.peer_id))
        answer = json.dumps(await bob.connect_with_ice(alice.peer_id, json.loads(offer)))
        peer = await alice.handle_ice_answer(bob.peer_id, json.loads(answer))
        assert (peer.id, peer.method) == (bob.peer_id, ConnectionMethod.UDP)
        assert peer.address.port == bob.listen_port
        assert await peer.request("greet", "Alice") == "hello Alice"
        with pytest.raises(UsageError, match="no offer"):
            await alice.handle_ice_answer(bob.peer_id, json.loads(answer))


async def test_an_offer_for_somebody_else_or_of_another_form_is_refused() -> None:
    async with AsyncExitStack() as stack:
        alice, bob = await two(stack)
        offer = await alice.create_ice_offer(bob.peer_id)
        wrongs: list[Any] = [
            {**offer, "to": "00" * 32},
            {**offer, "from": "00" * 32},
            {**offer, "ice": {"ufrag": "x"}},
            {"ice": offer["ice"]},
            [],
        ]
        for wrong in wrongs:
            with pytest.raises(DecodeError):
                await bob.connect_with_ice(alice.peer_id, wrong)
        with pytest.raises(UsageError):
            await alice.create_ice_offer("not an id")
        bob.deny.add(alice.peer_id)
        with pytest.raises(PeerDenied):
            await bob.connect_with_ice(alice.peer_id, offer)
        await new_client().stop()
        with pytest.raises(UsageError, match="not running"):
            await new_client().create_ice_offer(bob.peer_id)


async def test_an_answer_that_somebody_else_has_made_leads_to_nobody() -> None:
    async with AsyncExitStack() as stack:
        alice, bob = await two(stack)
        eve, _ = await two(stack)
        offer = await alice.create_ice_offer(bob.peer_id)
        answer = await eve.connect_with_ice(alice.peer_id, {**offer, "to": eve.peer_id})
        with pytest.raises(ConnectError, match="expected peer"):
            await alice.handle_ice_answer(bob.peer_id, {**answer, "from": bob.peer_id})
        assert not alice.peers


async def test_where_ice_is_switched_off_there_are_no_offers() -> None:
    async with new_client(
        nat=NatTraversalConfig(stun_servers=(), enable_port_mapping=False, enable_ice=False)
    ) as alice:
        with pytest.raises(UsageError, match="enable_ice"):
            await alice.create_ice_offer("00" * 32)


def test_blocking_clients_carry_offers_as_well() -> None:
    config = RatsConfig(listen_host="127.0.0.1", nat=NAT)
    with (
        BlockingClient(config=config, identity=Identity.generate()) as alice,
        BlockingClient(config=config, identity=Identity.generate()) as bob,
    ):
        offer = alice.create_ice_offer(bob.peer_id)
        answer = bob.connect_with_ice(alice.peer_id, offer)
        assert alice.introducers == []
        assert alice.handle_ice_answer(bob.peer_id, answer).method == "udp"


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[RelayServer]:
    config = RelayConfig(
        listen=(Address("127.0.0.1", 0),), relay_for_introduced=True, allow_peers=(), users={"ann": "secret"}
    )
    async with RelayServer(config, identity=Identity.generate()) as server:
        yield server


async def test_a_relay_on_real_sockets_introduces_two(relay: RelayServer) -> None:
    assert relay.introducer is not None
    text = f"{relay.introducer.identity.peer_id}@{relay.addresses[0]}"
    nat = NatTraversalConfig(stun_servers=(), enable_port_mapping=False, introducers=(text,))
    async with AsyncExitStack() as stack:
        alice, bob = await two(stack, nat=nat)
        bob.on("greet", lambda peer, data: f"hello {data}")
        async with asyncio.timeout(30):
            while not bob.introducers:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        peer = await alice.connect(bob.peer_id)
        assert await peer.request("greet", "Alice") == "hello Alice"
        assert alice.introducers == bob.introducers == [text]
        assert relay.introducer.statistics["sessions"] == 2
        assert relay.introducer.statistics["offers_passed"] == 1
        assert peer.attempts[0].method == "carried"
        carried = relay.statistics().carried
        assert (carried["carried"], relay.statistics().as_event()["carried"]) == (1, carried)
        metrics = render_metrics(relay.statistics())
        assert b"librats_relay_carried_sessions " in metrics
        assert b'librats_relay_carried_total{what="carried"} 1.0' in metrics
        assert b'librats_relay_carried_total{what="carry_bytes"} 0.0' in metrics
        async with asyncio.timeout(30):
            while not alice.statistics()["introductions"]["caller"]["answered"]:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
        counted = alice.statistics()["introductions"]
        assert bob.statistics()["introductions"]["target"]["accepted"] == 1
        assert json.dumps(counted)


async def test_an_introducer_that_is_somebody_else_is_not_spoken_to(relay: RelayServer) -> None:
    nat = NatTraversalConfig(
        stun_servers=(), enable_port_mapping=False, introducers=(f"{'0a' * 32}@{relay.addresses[0]}",)
    )
    async with new_client(nat=nat) as alice:
        with pytest.raises(ConnectError, match="no introducer is connected"):
            await alice.connect("0b" * 32, timeout=6)
        assert alice.introducers == []
        assert relay.introducer is not None
        assert relay.introducer.statistics["sessions"] == 0


async def test_what_is_no_session_on_the_port_of_a_relay_is_dropped(relay: RelayServer) -> None:
    host, port = relay.addresses[0]
    for garbage in (b"\0\0\0\x20" + bytes(32), b"\0\0" + bytes(500), b"\0\0\xff\xff" + bytes(100), b"\0"):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(garbage)
        writer.write_eof()
        async with asyncio.timeout(30):
            await reader.read()
        writer.close()
    assert relay.introducer is not None
    assert relay.introducer.statistics["sessions"] == 0


def test_introducers_of_a_configuration_are_checked() -> None:
    with pytest.raises(ConfigError, match="introducers"):
        NatTraversalConfig(introducers=("nobody",))
    with pytest.raises(ConfigError, match="introducers"):
        NatTraversalConfig(introducers="x@y:1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="introductions_per_minute"):
        NatTraversalConfig(introductions_per_minute=0)
    with pytest.raises(ConfigError, match="enable_ice"):
        NatTraversalConfig(enable_ice=1)  # type: ignore[arg-type]


def test_blocking_clients_punch_at_an_agreed_time() -> None:
    config = RatsConfig(listen_host="127.0.0.1", nat=NAT)
    with (
        BlockingClient(config=config, identity=Identity.generate()) as alice,
        BlockingClient(config=config, identity=Identity.generate()) as bob,
    ):
        data = alice.coordinate_hole_punching("127.0.0.1", bob.listen_port, after=0.1)
        outcome = bob.coordinate_hole_punching("127.0.0.1", alice.listen_port, json.loads(json.dumps(data)))
        assert outcome["success"], outcome
        assert bob.peers[alice.peer_id].method is ConnectionMethod.UDP
