"""Two sessions of one node with an introducer, of which the newer one takes the older one's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.simulation.conftest import Simulate

from librats import Address, HandshakeError, Identity, PeerLimitReached, RatsConfig
from librats.peers.introducer_sessions import IntroducerSessions
from librats.services.session import Link
from librats.session.greeting import Feature
from librats.testing import SimHost, SimNetwork

PORT = 3478
DELAY = 0.01
HELLO = 0.2
"""Seconds after which both sides have taken a session into use."""


class Circle:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.gone: list[str] = []

    def received(self, peer_id: str, body: bytes, *, source: str) -> None:
        assert source
        self.heard.append((peer_id, body))

    def left(self, peer_id: str) -> None:
        self.gone.append(peer_id)


class Noting(IntroducerSessions):
    """Sessions that note on which of them something was said."""

    def __init__(self, host: SimHost, number: int, **options: Any) -> None:
        self.identity = Identity(bytes([number]) * 32)
        super().__init__(
            lambda: self.identity,
            RatsConfig(),
            entropy=host.entropy,
            new_key=host.new_key,
            agent="test",
            features=Feature.INTRODUCED,
            **{"most": 8, **options},
        )
        self.host = host
        self.told = Circle()
        self.circle = self.told  # type: ignore[assignment]
        self.said_on: list[Link] = []

    def introduction_received(self, link: Link, body: bytes) -> None:
        self.said_on.append(link)
        super().introduction_received(link, body)

    async def dial(self, other: Noting) -> Link:
        link = self.new_link(expect_id=other.identity.peer_id)
        await self.host.dial_tcp(lambda: link, Address(other.host.addresses[0], PORT))
        await asyncio.shield(link.settled)
        await asyncio.sleep(HELLO)
        return link

    @property
    def remembered(self) -> int:
        """How many sessions anything is known of."""
        return len({*self._open, *self._before, *self._before.values(), *self._spoken, *self.links.values()})


@asynccontextmanager
async def introducer(net: SimNetwork, **options: Any) -> AsyncIterator[Noting]:
    there = Noting(net.host("introducer"), 1, **options)
    listener = await there.host.listen_tcp(there.new_link, there.host.addresses[0], PORT)
    yield there
    there.close()
    listener.close()
    await asyncio.sleep(HELLO)


@asynccontextmanager
async def two_sessions(net: SimNetwork) -> AsyncIterator[tuple[Noting, Noting, Link, Link]]:
    """Give the introducer, the node, and the node's two sessions with it, when the second one has just begun."""
    async with introducer(net) as there:
        node = Noting(net.host("node"), 2)
        older = await node.dial(there)
        newer = await node.dial(there)
        yield there, node, older, newer


def say(speaker: Noting, hearer: Noting) -> None:
    assert speaker.send(hearer.identity.peer_id, b"something")


def test_where_nothing_is_under_way_the_newer_session_is_spoken_on(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with two_sessions(net) as (there, node, _, newer):
            say(there, node)
            await asyncio.sleep(HELLO)
            assert node.said_on == [newer]
            assert node.links == {there.identity.peer_id: newer}

    simulate(scenario, delay=DELAY)


@pytest.mark.parametrize("first", ["introducer", "node"])
def test_what_is_under_way_goes_on_over_the_session_in_which_it_was_spoken_of_until_nothing_was_said_for_two_seconds(
    simulate: Simulate, first: str
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with introducer(net) as there:
            node = Noting(net.host("node"), 2)
            older = await node.dial(there)
            say(*((there, node) if first == "introducer" else (node, there)))
            newer = await node.dial(there)
            node.said_on.clear()
            for pause in (1.3, 1.8, 2.2):
                await asyncio.sleep(pause)
                say(there, node)
            await asyncio.sleep(HELLO)
            assert node.said_on == [older, older, newer]

    simulate(scenario, delay=DELAY)


def test_the_older_session_ends_after_ten_seconds(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with two_sessions(net) as (there, node, older, newer):
            await asyncio.sleep(10 - 2 * HELLO)
            assert older.is_open
            await asyncio.sleep(3 * HELLO)
            assert [older.is_open, newer.is_open] == [False, True]
            assert (there.told.gone, node.told.gone) == ([], [])
            assert (there.remembered, node.remembered) == (1, 1)

    simulate(scenario, delay=DELAY)


def test_the_older_session_does_not_end_while_it_is_spoken_on(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with introducer(net) as there:
            node = Noting(net.host("node"), 2)
            older = await node.dial(there)
            say(node, there)
            await node.dial(there)
            for _ in range(20):
                await asyncio.sleep(1)
                say(node, there)
            assert older.is_open
            assert set(there.said_on) == {there.said_on[0]}
            await asyncio.sleep(5)
            assert [older.is_open] == [False]

    simulate(scenario, delay=DELAY)


def test_what_is_heard_on_the_older_session_counts(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with two_sessions(net) as (there, node, older, _):
            assert older.send_introduction(b"late")
            await asyncio.sleep(HELLO)
            assert there.told.heard == [(node.identity.peer_id, b"late")]

    simulate(scenario, delay=DELAY)


def test_where_the_newer_session_ends_the_older_one_takes_its_place_again(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with two_sessions(net) as (there, node, older, newer):
            newer.abort()
            await asyncio.sleep(HELLO)
            assert node.links == {there.identity.peer_id: older}
            say(there, node)
            await asyncio.sleep(20)
            assert node.said_on == [older]
            assert older.is_open
            assert (there.told.gone, node.told.gone) == ([], [])
            older.abort()
            await asyncio.sleep(HELLO)
            assert (there.links, node.links) == ({}, {})
            assert (there.told.gone, node.told.gone) == ([node.identity.peer_id], [there.identity.peer_id])

    simulate(scenario, delay=DELAY)


def test_an_older_session_that_has_ended_does_not_take_the_newer_ones_place(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with two_sessions(net) as (there, node, older, newer):
            older.abort()
            await asyncio.sleep(HELLO)
            assert node.links == {there.identity.peer_id: newer}
            assert (there.told.gone, node.told.gone) == ([], [])
            assert set(there.observed) == {node.identity.peer_id}
            newer.abort()
            await asyncio.sleep(HELLO)
            assert (there.links, node.links) == ({}, {})
            assert (there.told.gone, node.told.gone) == ([node.identity.peer_id], [there.identity.peer_id])
            assert (there.observed, node.observed) == ({}, {})
            assert (there.remembered, node.remembered) == (0, 0)

    simulate(scenario, delay=DELAY)


def test_what_was_said_last_on_a_session_that_has_ended_is_forgotten(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with two_sessions(net) as (there, node, _, newer):
            say(there, node)
            say(node, there)
            await asyncio.sleep(HELLO)
            newer.abort()
            await asyncio.sleep(HELLO)
            assert (there.remembered, node.remembered) == (1, 1)

    simulate(scenario, delay=DELAY)


def test_after_a_session_has_ended_nothing_is_said_over_the_one_before_that_has_ended_too(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with introducer(net) as there:
            node = Noting(net.host("node"), 2)
            older = await node.dial(there)
            say(there, node)
            newer = await node.dial(there)
            older.abort()
            await asyncio.sleep(HELLO)
            node.said_on.clear()
            say(there, node)
            await asyncio.sleep(HELLO)
            assert node.said_on == [newer]

    simulate(scenario, delay=DELAY)


def test_who_is_dialled_takes_as_many_connections_as_there_may_be_sessions(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with introducer(net, most=2) as there:
            one, other = (Noting(net.host(f"node {number}"), number) for number in (2, 3))
            assert [(await node.dial(there)).is_open for node in (one, other, one)] == [True, True, False]
            assert set(there.links) == {one.identity.peer_id, other.identity.peer_id}

    simulate(scenario, delay=DELAY)


def test_who_dials_has_more_sessions_than_wanted_only_with_one_and_the_same(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with introducer(net) as there:
            node = Noting(net.host("node"), 2, most=1)
            other = Noting(net.host("other"), 3)
            listener = await other.host.listen_tcp(other.new_link, other.host.addresses[0], PORT)
            assert [(await node.dial(there)).is_open for _ in range(2)] == [True, True]
            refused = await node.dial(other)
            assert isinstance(refused.error, PeerLimitReached)
            assert set(node.links) == {there.identity.peer_id}
            listener.close()

    simulate(scenario, delay=DELAY)


def test_nobody_has_a_session_with_themselves(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with introducer(net) as there:
            same = Noting(net.host("same"), 1)
            link = await same.dial(there)
            assert isinstance(link.error, HandshakeError)
            assert "that is this node itself" in str(link.error)
            assert there.links == {}

    simulate(scenario, delay=DELAY)


def test_a_node_whose_introducer_it_reaches_elsewhere_already_refuses_the_second_session(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with introducer(net, taken=lambda link: True) as there:
            node = Noting(net.host("node"), 2, taken=lambda link: True)
            link = await node.dial(there)
            assert "there is a session with introducer" in str(link.error)
            other = Noting(net.host("other"), 3)
            assert (await other.dial(there)).is_open  # who is dialled refuses nobody for that

    simulate(scenario, delay=DELAY)
