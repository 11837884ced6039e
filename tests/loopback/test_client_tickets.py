"""Clients reach each other by tickets: at the addresses in them, and through the introducers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from librats import (
    Address,
    AttemptReason,
    ConnectError,
    Identity,
    NatTraversalConfig,
    RatsClient,
    RatsConfig,
    Ticket,
    UsageError,
)
from librats.blocking import RatsClient as BlockingClient
from librats.relay.config import RelayConfig
from librats.relay.server import RelayServer

NAT = NatTraversalConfig.offline()


def new_client(**fields: Any) -> RatsClient:
    config = RatsConfig(listen_host="127.0.0.1", **{"nat": NAT, **fields})
    return RatsClient(config=config, identity=Identity.generate())


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[RelayServer]:
    config = RelayConfig(listen=(Address("127.0.0.1", 0),), users={"ann": "secret"})
    async with RelayServer(config, identity=Identity.generate()) as server:
        yield server


def name_of(relay: RelayServer) -> str:
    assert relay.introducer is not None
    return f"{relay.introducer.identity.peer_id}@{relay.addresses[0]}"


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


async def test_a_ticket_leads_to_the_peer_at_its_addresses() -> None:
    async with new_client() as alice, new_client() as bob:
        ticket = alice.ticket()
        assert ticket.peer_id == alice.peer_id
        assert ticket.verify_key == alice.identity.verify_key
        assert ticket.addresses == (Address("127.0.0.1", alice.listen_port),)
        for target in (ticket, str(ticket).upper()):
            peer = await bob.connect(target)
            assert peer.id == alice.peer_id
        with pytest.raises(UsageError, match="expect_id"):
            await bob.connect(ticket, expect_id=bob.peer_id)


async def test_somebody_else_at_the_address_of_a_ticket_is_not_let_in() -> None:
    async with new_client() as alice, new_client() as bob, new_client() as mallory:
        ticket = replace(alice.ticket(), addresses=(Address("127.0.0.1", mallory.listen_port),))
        with pytest.raises(ConnectError) as failed:
            await bob.connect(ticket)
        assert failed.value.code is AttemptReason.WRONG_IDENTITY
        assert not bob.peers


async def test_a_ticket_leads_to_the_peer_through_its_introducer(relay: RelayServer) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(new_client(nat=replace(NAT, introducers=(name_of(relay),))))
        bob = await stack.enter_async_context(new_client())
        alice.on("greet", lambda peer, data: f"hello {data}")
        await until(lambda: alice.introducers)
        assert alice.ticket().introducers == (name_of(relay),)
        ticket = replace(alice.ticket(), addresses=(Address("127.0.0.1", 1),))
        peer = await bob.connect(ticket)
        assert await peer.request("greet", "Bob") == "hello Bob"
        assert relay.introducer is not None
        assert relay.introducer.statistics["sessions"] == 2
        # The session with the introducer lasts as long as the one that it has led to, and what was learnt is kept.
        await bob.disconnect(peer)
        await until(lambda: not alice.peers)
        bob.book.forget(alice.peer_id)
        again = await bob.connect(alice.peer_id)
        assert again.is_connected
        assert relay.introducer.statistics["offers_passed"] == 2


async def test_two_dials_share_the_session_with_an_introducer_and_it_ends_when_nobody_needs_it(
    relay: RelayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("librats.introducers.found.LINGER", 0.05)
    async with AsyncExitStack() as stack:
        nat = replace(NAT, introducers=(name_of(relay),))
        alice, carol = [await stack.enter_async_context(new_client(nat=nat)) for _ in range(2)]
        bob = await stack.enter_async_context(new_client())
        await until(lambda: alice.introducers and carol.introducers)
        tickets = [replace(one.ticket(), addresses=()) for one in (alice, carol)]
        peers = await asyncio.gather(*(bob.connect(ticket) for ticket in tickets))
        assert {peer.id for peer in peers} == {alice.peer_id, carol.peer_id}
        assert relay.introducer is not None
        assert relay.introducer.statistics["sessions"] == 3
        await bob.disconnect(peers[0])
        await asyncio.sleep(0)
        assert relay.introducer.statistics["sessions"] == 3
        await bob.disconnect(peers[1])
        await until(lambda: relay.introducer is not None and relay.introducer.statistics["sessions"] == 2)


async def test_an_introducer_that_is_configured_is_not_dialled_again_for_a_ticket(relay: RelayServer) -> None:
    async with AsyncExitStack() as stack:
        nat = replace(NAT, introducers=(name_of(relay),))
        alice, bob = [await stack.enter_async_context(new_client(nat=nat)) for _ in range(2)]
        await until(lambda: alice.introducers and bob.introducers)
        peer = await bob.connect(replace(alice.ticket(), addresses=()))
        assert peer.id == alice.peer_id
        assert bob.introducers == [name_of(relay)]
        assert relay.introducer is not None
        assert relay.introducer.statistics["sessions"] == 2


async def test_where_no_introducer_of_a_ticket_knows_the_peer_that_is_told(relay: RelayServer) -> None:
    stranger = Identity.generate()
    ticket = Ticket(
        public_key=stranger.public_key,
        verify_key=stranger.verify_key,
        introducers=(name_of(relay), f"{'ab' * 32}@{relay.addresses[0]}", f"{'ab' * 32}@127.0.0.1:1"),
    )
    async with new_client() as bob:
        with pytest.raises(ConnectError) as failed:
            await bob.connect(ticket, timeout=20)
        reasons = sorted(str(attempt.reason) for attempt in failed.value.attempts)
        assert "unknown_peer" in reasons
        assert "refused" in reasons
        assert all("as its introducer" in attempt.error for attempt in failed.value.attempts)


async def test_a_peer_of_the_application_introduces_as_well() -> None:
    async with new_client() as alice, new_client() as bob, new_client() as carol:
        await alice.connect(("127.0.0.1", carol.listen_port))
        ticket = alice.ticket()
        assert ticket.introducers == (f"{carol.peer_id}@127.0.0.1:{carol.listen_port}",)
        peer = await bob.connect(replace(ticket, addresses=()))
        assert peer.id == alice.peer_id
        assert set(bob.peers) == {alice.peer_id, carol.peer_id}


async def test_a_client_that_is_stopped_or_proves_nothing_has_no_ticket() -> None:
    client = new_client()
    with pytest.raises(UsageError, match="not running"):
        client.ticket()
    async with new_client(encryption="off") as plain:
        with pytest.raises(UsageError, match="nobody proves"):
            plain.ticket()


def test_blocking_clients_have_tickets() -> None:
    config = RatsConfig(listen_host="127.0.0.1", nat=NAT)
    with (
        BlockingClient(config=config, identity=Identity.generate()) as alice,
        BlockingClient(config=config, identity=Identity.generate()) as bob,
    ):
        assert bob.connect(alice.ticket()).id == alice.peer_id
