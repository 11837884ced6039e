"""On which of its ways an introducer is reached, how soon the next one is tried, and what is left of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.conftest import Simulate, start_client
from tests.simulation.test_introducers import IPV4, RELAY
from tests.simulation.test_public_introducers import IDENTITY, config, serve

from librats import Address, ConnectError, HandshakeError, Identity, RatsClient, RatsError
from librats.introducers.dialling import IntroducerDialler
from librats.services.session import Link
from librats.testing import SimNetwork
from librats.types import ConnectionMethod
from librats.web_uris import WebUri

HERE = Address(RELAY, 3478)
DEAD = Address("203.0.113.99", 3478)
DELAY = 0.01


async def dialler(net: SimNetwork, **fields: Any) -> tuple[RatsClient, IntroducerDialler]:
    """Return a running client, whose introducer is nowhere, and a dialler with the same port and sessions."""
    nowhere = f"{IDENTITY.peer_id}@{DEAD}"
    client = await start_client(net.host("client"), nat=config(introducers=(nowhere,)), listen_host=IPV4, **fields)
    assert client._keeper is not None
    own = client._keeper._dialler
    return client, IntroducerDialler(own._network, own._sessions, own._nat, own._udp)


def wanted() -> str:
    return IDENTITY.peer_id


def note_ways(dials: IntroducerDialler, note: Callable[[ConnectionMethod], object]) -> None:
    dial = dials._dial

    async def noted(factory: Any, way: tuple[ConnectionMethod, Address]) -> None:
        note(way[0])
        await dial(factory, way)

    dials._dial = noted  # type: ignore[method-assign]


class Deaf(asyncio.Protocol):
    """Takes connections, and answers nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


def test_udp_goes_first_and_tcp_follows_after_a_fifth_of_a_second(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        host = net.host("relay", addresses=[RELAY])
        begun: list[float] = []

        def taken() -> Deaf:
            begun.append(loop.time())
            return Deaf()

        loop = asyncio.get_running_loop()
        listener = await host.listen_tcp(taken, RELAY, 3478)
        client, dials = await dialler(net)
        at = loop.time()
        with pytest.raises(HandshakeError, match="nothing was heard"):
            await dials.dial(wanted(), [HERE])
        assert begun[0] - at == pytest.approx(0.2 + 3 * DELAY, abs=0.01)
        await client.stop()
        listener.close()

    simulate(scenario, delay=DELAY)


def test_where_tcp_loses_its_first_packet_it_is_dialled_again_soon_and_udp_is_not(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        loop = asyncio.get_running_loop()
        client, dials = await dialler(net)
        ways: list[tuple[float, ConnectionMethod]] = []
        note_ways(dials, lambda method: ways.append((round(loop.time() - at, 1), method)))
        at = loop.time()
        with pytest.raises(HandshakeError, match="no session within 10 s"):
            await dials.dial(wanted(), [DEAD])
        assert loop.time() - at == pytest.approx(10)
        udp, tcp = ConnectionMethod.UDP, ConnectionMethod.TCP
        assert ways == [(0.0, udp), (0.2, tcp), (0.6, tcp)]
        ways.clear()
        at = loop.time()
        with pytest.raises(HandshakeError, match="no session within 10 s"):
            await dials.dial_by_tcp(wanted(), DEAD)
        assert ways == [(0.0, tcp), (0.3, tcp)]
        await client.stop()

    simulate(scenario, delay=DELAY)


@pytest.mark.parametrize("transports", [("udp", "tcp"), ("tcp",)])
def test_without_a_port_for_udp_nothing_but_tcp_is_dialled(simulate: Simulate, transports: tuple[str, ...]) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net, transports=transports)
        assert dials.tries_udp is ("udp" in transports)
        ways: list[ConnectionMethod] = []
        note_ways(dials, ways.append)
        at = asyncio.get_running_loop().time()
        link, place = await dials.dial(wanted(), [HERE])
        assert (link.method is ConnectionMethod.UDP, place) == ("udp" in transports, HERE)
        assert asyncio.get_running_loop().time() - at < 0.1  # and no way that there is not was waited for
        assert (await dials.dial_by_tcp(wanted(), HERE)).method is ConnectionMethod.TCP
        assert ways == [ConnectionMethod(transports[0]), ConnectionMethod.TCP]
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)


def test_a_second_place_is_tried_after_a_second_and_what_is_under_way_to_the_first_one_is_ended(
    simulate: Simulate,
) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.5)
        keepers = [task.get_name() for task in asyncio.all_tasks() if str(DEAD) in task.get_name()]
        at = loop.time()
        link, place = await dials.dial(wanted(), [DEAD, HERE])
        assert place == HERE
        assert link.is_open
        assert loop.time() - at == pytest.approx(1, abs=0.2)
        assert [task.get_name() for task in asyncio.all_tasks() if str(DEAD) in task.get_name()] == keepers
        assert set(dials.places.values()) == {HERE}
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)


def test_what_went_wrong_at_the_first_place_is_told(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        other = net.host("nobody")
        client, dials = await dialler(net, transports=("tcp",))
        web = WebUri.parse(f"ws://{other.addresses[0]}:443")
        with pytest.raises(ConnectionRefusedError):
            await dials.dial(wanted(), [Address(other.addresses[0], 3478), web])
        with pytest.raises(ConnectError):
            await dials.dial(wanted(), [web, Address(other.addresses[0], 3478)])
        await client.stop()

    simulate(scenario, delay=DELAY)


def test_somebody_else_is_no_session_and_leaves_no_link_behind(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net)
        with pytest.raises(RatsError, match="eedd883d answered"):
            await dials.dial(Identity.generate().peer_id, [HERE])
        assert dials.places == {}
        await asyncio.sleep(1)
        assert relay.introducer is not None
        assert relay.introducer.sessions.links == {}
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)


def test_a_dial_that_is_cancelled_leaves_no_link_behind(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        host = net.host("relay", addresses=[RELAY])
        listener = await host.listen_tcp(Deaf, RELAY, 3478)
        client, dials = await dialler(net, transports=("tcp",))
        await asyncio.sleep(30)
        made: list[Link] = []
        new_link = dials._sessions.new_link

        def noted(expect_id: str | None = None, *, dialled: bool = False) -> Link:
            made.append(new_link(expect_id, dialled=dialled))
            return made[-1]

        dials._sessions.new_link = noted  # type: ignore[method-assign]
        dialling = asyncio.create_task(dials.dial(wanted(), [HERE]))
        await asyncio.sleep(0.5)
        assert [link.closed.done() for link in made] == [False]
        dialling.cancel()
        await asyncio.sleep(0.1)
        assert [link.closed.done() for link in made] == [True]
        await client.stop()
        listener.close()

    simulate(scenario, delay=DELAY)


def test_how_long_a_session_took_to_begin_counts_from_when_its_address_was_known(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net)
        loop = asyncio.get_running_loop()
        resolve = dials._network.resolve

        async def slowly(place: Address) -> list[Address]:
            await asyncio.sleep(3)
            return await resolve(place)

        dials._network.resolve = slowly  # type: ignore[method-assign,assignment]
        at = loop.time()
        await dials.dial(wanted(), [HERE])
        assert dials.began[wanted()] - at == pytest.approx(3, abs=0.01)
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)


def test_where_a_link_leads_is_known_until_it_is_closed(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net)
        link, place = await dials.dial(wanted(), [HERE])
        assert dials.places == {link: place}
        link.abort()
        await asyncio.sleep(0.1)
        assert dials.places == {}
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)
