"""Sessions whose direct way dies for good: they go on through a relay, and return to one that is found anew."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.conftest import Simulate, until
from tests.simulation.test_introducers import hosts
from tests.simulation.test_punched_sessions import meeting

from librats import PathChanged
from librats.testing import SimNetwork
from librats.types import Address, ConnectionMethod

PAIRS = [
    ("port_restricted_random", "port_restricted_random"),
    ("symmetric_seq", "port_restricted_random"),
    ("symmetric", "port_restricted"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_hole_that_dies_is_made_anew(
    simulate: Simulate, one: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="librats.peers")

    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, one, other), relays=True) as (_, met):
            heard: list[int] = []
            ways: list[ConnectionMethod] = []
            met.bob.on("n", lambda _, number: heard.append(number))
            peer = await met.connect()
            await until(lambda: peer.method is ConnectionMethod.UDP, within=10)
            met.alice.on_event(PathChanged, lambda event: ways.append(event.method))
            first = peer.address
            sent = 0

            async def talk() -> None:
                nonlocal sent
                while True:
                    await peer.send("n", sent)
                    sent += 1
                    await asyncio.sleep(0.05)

            talking = asyncio.create_task(talk())
            await asyncio.sleep(5)
            for router in net.routers:
                router.restart()
            await until(lambda: ways, within=20)  # a relay's perhaps, or what introducers have helped to find
            await until(lambda: peer.method is ConnectionMethod.UDP and peer.address != first, within=60)
            await asyncio.sleep(30)
            assert peer.method is ConnectionMethod.UDP
            talking.cancel()
            await until(lambda: len(heard) == sent, within=5)
            assert heard == list(range(sent))
            assert len(peer.links) == 1
            # Both have the same address inside; nobody dials himself there.
            assert met.home.addresses[0] == met.office.addresses[0]
            assert "a path that leads nowhere" not in caplog.text

    simulate(scenario, delay=0.01)


@pytest.mark.parametrize("at_once", [True, False], ids=["right after it has moved", "long after it has moved"])
def test_a_session_over_udp_that_is_reset_asks_introducers_where_no_address_of_the_peer_is_known(
    simulate: Simulate, at_once: bool
) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted_random", "port_restricted_random")) as (_, met):
            peer = await met.connect()
            await until(lambda: peer.method is ConnectionMethod.UDP, within=10)
            ends: list[str] = []
            for client in (met.alice, met.bob):
                client.on_disconnect(lambda _, reason: ends.append(reason))
                manager = client._running()
                manager.paths.own = Everywhere  # as where a network of our own has got the peer's numbers
            if not at_once:
                await asyncio.sleep(20)
            link = peer.link
            assert manager.paths.ways(link) == []
            transport = link._transport
            assert transport is not None
            transport.set_protocol(asyncio.Protocol())
            link.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
            transport.abort()
            await asyncio.sleep(60)
            assert len(ends) == (0 if at_once else 2)
            if at_once:
                met.bob.on("greet", lambda _, data: f"hello {data}")
                assert await peer.request("greet", "Alice", timeout=5) == "hello Alice"

    simulate(scenario, delay=0.01)


class Everywhere(tuple[Address, ...]):
    """Every address there is."""

    __slots__ = ()

    def __contains__(self, address: object) -> bool:
        return True


def test_where_no_direct_way_is_found_it_is_looked_for_ever_less_often(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        home, office = hosts(net, "port_restricted_random", "port_restricted_random")
        async with meeting(net, home, office, relays=True) as (relay, met):
            peer = await met.connect()
            await until(lambda: peer.method is ConnectionMethod.UDP, within=10)
            net.cut(net.routers[0], net.routers[1])
            await until(lambda: peer.method is ConnectionMethod.RELAY, within=30)
            assert relay.introducer is not None
            before = relay.introducer.statistics["offers_passed"]
            await asyncio.sleep(1200)
            assert 4 <= relay.introducer.statistics["offers_passed"] - before <= 12
            assert peer.method is ConnectionMethod.RELAY
            assert peer.is_connected

    simulate(scenario, delay=0.01)
