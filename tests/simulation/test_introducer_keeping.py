"""How a client keeps its sessions with introducers: over UDP at first, then over TCP; dialled again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from tests.simulation.conftest import Simulate, start_client, until
from tests.simulation.test_introducers import IPV4, RELAY
from tests.simulation.test_public_introducers import IDENTITY, INTRODUCER, config, serve

from librats import Address, RatsClient, TurnServer
from librats.introduce.notices import Notice, Op
from librats.introduce.services import Services
from librats.introducers.keeping import IntroducerKeeper
from librats.services.introducer import Introductions
from librats.services.link.paths import LinkPaths
from librats.services.session import Link
from librats.testing import SimNetwork
from librats.types import ConnectionMethod, TurnTransport

UDP, TCP = ConnectionMethod.UDP, ConnectionMethod.TCP
MOMENT = 0.05


class Watched:
    """A client whose keeper notes what it dials and what it is granted, and how the relay knows it."""

    def __init__(self, client: RatsClient) -> None:
        self.client = client
        assert client._keeper is not None
        self.keeper: IntroducerKeeper = client._keeper
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.dials: list[float] = []
        self.places: list[Sequence[Any]] = []
        self.moves: list[float] = []
        self.granted: list[tuple[TurnTransport, int, float]] = []
        dialler, dial, move = self.keeper._dialler, self.keeper._dialler.dial, self.keeper._dialler.dial_by_tcp

        async def noted_dial(peer_id: str | None, places: Sequence[Any]) -> Any:
            self.dials.append(self.loop.time() - self.began)
            self.places.append(places)
            return await dial(peer_id, places)

        async def noted_move(peer_id: str, place: Address) -> Link:
            self.moves.append(self.loop.time() - self.began)
            return await move(peer_id, place)

        def granted(server: TurnServer, patience: float) -> None:
            self.granted.append((server.transport, server.port, patience))

        dialler.dial, dialler.dial_by_tcp = noted_dial, noted_move  # type: ignore[method-assign]
        self.keeper._granted = granted

    @property
    def methods(self) -> list[ConnectionMethod]:
        return [link.method for link in self.keeper.sessions.links.values()]

    async def connected(self, within: float = 5.0) -> None:
        await until(lambda: self.keeper.is_ready, within=within)


async def watched(net: SimNetwork, *introducers: str, **fields: Any) -> Watched:
    nat = config(introducers=introducers or (INTRODUCER,))
    return Watched(await start_client(net.host(f"client {len(net.hosts)}"), nat=nat, listen_host=IPV4, **fields))


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


# Over to TCP


def test_where_tcp_does_not_get_through_it_is_tried_after_5_and_60_and_600_seconds(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net, tcp=False)
        one = await watched(net)
        await one.connected()
        await asyncio.sleep(7200)
        assert one.moves == [pytest.approx(5, abs=0.5), pytest.approx(65, abs=1), pytest.approx(665, abs=2)]
        assert one.methods == [UDP]
        assert len(one.dials) == 1
        await one.client.stop()
        await relay.close()

    simulate(scenario)


def test_as_long_as_more_than_a_tenth_is_sent_again_a_session_stays_over_udp(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(net: SimNetwork) -> None:
        looked: list[float] = []
        loss = iter((0.11, 0.1))

        def lost(link: Link) -> float:
            looked.append(one.loop.time() - one.began)
            return next(loss)

        monkeypatch.setattr(Link, "loss", property(lost))
        relay = await serve(net)
        one = await watched(net)
        await one.connected()
        await asyncio.sleep(60)
        assert (one.methods, one.moves) == ([UDP], [])
        await asyncio.sleep(20)
        assert looked == [pytest.approx(5, abs=0.5), pytest.approx(65, abs=1)]
        assert (one.methods, len(one.moves)) == ([TCP], 1)
        await one.client.stop()
        await relay.close()

    simulate(scenario)


@pytest.mark.parametrize(
    ("told", "loss"),
    [
        ({"packets_sent": 8, "packets_repeated": 2}, 0.25),
        ({"packets_sent": 7, "packets_repeated": 7}, 0.0),
        ({"packets_sent": 1000, "packets_repeated": 0}, 0.0),
        (None, 0.0),
    ],
)
def test_what_a_session_loses_is_the_share_that_was_sent_again_where_at_least_eight_packets_were(
    told: dict[str, int] | None, loss: float
) -> None:
    transport = SimpleNamespace(get_extra_info={"rudp": told}.get)
    assert vars(LinkPaths)["loss"].fget(SimpleNamespace(_transport=transport)) == loss


def test_a_session_that_has_begun_over_tcp_is_left_alone(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        one = await watched(net, transports=("tcp",))
        await one.connected()
        await asyncio.sleep(1000)
        assert (one.methods, one.moves, len(one.dials)) == ([TCP], [], 1)
        await one.client.stop()
        await relay.close()

    simulate(scenario)


def test_while_an_introduction_is_under_way_a_session_stays_over_udp(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(net: SimNetwork) -> None:
        is_idle = False
        monkeypatch.setattr(Introductions, "is_idle", property(lambda _: is_idle))
        relay = await serve(net)
        one = await watched(net)
        await one.connected()
        await asyncio.sleep(20)
        assert (one.methods, one.moves) == ([UDP], [])
        is_idle = True
        await asyncio.sleep(1.1)
        assert (one.methods, len(one.moves)) == ([TCP], 1)
        await one.client.stop()
        await relay.close()

    simulate(scenario)


def test_a_session_that_has_ended_goes_nowhere(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        one = await watched(net)
        await one.connected()
        await relay.close()
        await asyncio.sleep(100)
        assert one.moves == []
        assert len(one.dials) > 1
        await one.client.stop()

    simulate(scenario)


def test_what_an_introducer_does_is_known_all_the_time_while_the_session_goes_over(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        one = await watched(net)
        await one.connected()
        one.keeper.served = lambda *_: None  # type: ignore[method-assign]
        await asyncio.sleep(6)
        assert one.methods == [TCP]
        assert one.keeper.is_ready
        await one.client.stop()
        await relay.close()

    simulate(scenario, delay=0.02)


@pytest.mark.parametrize("tcp", [True, False])
def test_what_an_introducer_does_that_is_dialled_again_is_asked_anew(simulate: Simulate, tcp: bool) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net, tcp=tcp)
        one = await watched(net)
        await one.connected()
        await asyncio.sleep(10)
        assert len(one.moves) == 1
        one.keeper.served = lambda *_: None  # type: ignore[method-assign]
        await relay.close()
        await until(lambda: not one.keeper.sessions.links, within=100)
        relay = await serve(net, tcp=tcp)
        await until(lambda: one.keeper.sessions.links, within=100)
        await asyncio.sleep(1)
        assert not one.keeper.is_ready
        await one.client.stop()
        await relay.close()

    simulate(scenario)


# Dialled again


def test_who_is_not_there_is_dialled_ever_more_seldom(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        net.host("relay", addresses=[RELAY])
        one = await watched(net, transports=("tcp",))
        await asyncio.sleep(220)
        assert gaps([0.0, *one.dials]) == pytest.approx([0, 1, 2, 5, 15, 60, 60, 60], abs=MOMENT)
        await one.client.stop()

    simulate(scenario)


def test_after_a_session_that_has_lasted_for_a_minute_the_next_dial_comes_as_soon_as_the_first(
    simulate: Simulate,
) -> None:
    async def scenario(net: SimNetwork) -> None:
        net.host("relay", addresses=[RELAY])
        one = await watched(net, transports=("tcp",))
        await asyncio.sleep(30)
        relay = await serve(net)
        await one.connected(within=60)
        await asyncio.sleep(70)
        one.dials.clear()
        ended = one.loop.time() - one.began
        await relay.close()
        await asyncio.sleep(10)
        assert gaps([ended, *one.dials]) == pytest.approx([1, 1, 2, 5], abs=MOMENT)
        await one.client.stop()

    simulate(scenario)


def test_of_two_places_the_one_that_has_worked_goes_first(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        dead = Address("203.0.113.99", 3478)
        relay = await serve(net)
        one = await watched(net, f"{IDENTITY.peer_id}@{dead}", INTRODUCER)
        await one.connected()
        await relay.close()
        relay = await serve(net)
        await until(lambda: not one.keeper.sessions.links, within=100)
        await one.connected(within=100)
        here = Address(RELAY, 3478)
        assert one.places == [[dead, here], [here, dead]]
        await one.client.stop()
        await relay.close()

    simulate(scenario)


def test_that_a_dial_has_failed_counts_no_more_once_there_was_a_session(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        net.host("relay", addresses=[RELAY])
        one = await watched(net, transports=("tcp",))
        await asyncio.sleep(0.5)
        began = one.loop.time()
        await one.keeper.wait(5)
        assert one.loop.time() == began  # there is nothing to wait for
        relay = await serve(net)
        await one.connected()
        await relay.close()
        await until(lambda: not one.keeper.sessions.links)
        began = one.loop.time()
        await one.keeper.wait(0.5)
        assert one.loop.time() - began == pytest.approx(0.5)
        await one.client.stop()

    simulate(scenario)


# What is granted


@pytest.mark.parametrize(
    ("transports", "ports"), [(("udp", "tcp"), (3478, 3478)), (("tcp",), (3478, 443))], ids=["udp", "tcp"]
)
def test_a_relay_is_asked_over_tcp_where_it_says_or_at_the_port_that_has_let_tcp_through(
    simulate: Simulate, transports: tuple[str, ...], ports: tuple[int, int]
) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net, listen=(Address(RELAY, 3478), Address(RELAY, 443)))
        one = await watched(net, f"{IDENTITY.peer_id}@{RELAY}:443", transports=transports)
        await one.connected()
        assert [granted[:2] for granted in one.granted] == list(
            zip((TurnTransport.UDP, TurnTransport.TCP), ports, strict=True)
        )
        await one.client.stop()
        await relay.close()

    simulate(scenario)


@pytest.mark.parametrize(
    ("delay", "transports", "least", "most"),
    [
        (0.02, ("udp", "tcp"), 0.08, 0.3),
        (0.02, ("tcp",), 0.08, 0.3),
        (0.4, ("udp", "tcp"), 0.8, 0.8),
    ],
)
def test_over_udp_a_relay_may_take_as_long_as_the_session_has_taken_to_begin_but_not_a_second(
    simulate: Simulate, delay: float, transports: tuple[str, ...], least: float, most: float
) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        one = await watched(net, transports=transports)
        await one.connected(within=20)
        for _, _, patience in one.granted:
            assert least <= patience <= most
        assert len(one.granted) == 2
        await one.client.stop()
        await relay.close()

    simulate(scenario, delay=delay)


def test_sessions_in_a_websocket_are_not_at_the_introducers_own_port(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net, listen=(Address(RELAY, 3478), Address(RELAY, 443)))
        web = await watched(net, f"ws://{IDENTITY.peer_id}@{RELAY}:443")
        await web.connected()
        assert web.keeper.on_own_ports == []
        await web.client.stop()
        own = await watched(net)
        await own.connected()
        assert own.keeper.on_own_ports == [(IDENTITY.peer_id, Address(RELAY, 3478))]
        await own.client.stop()
        await relay.close()

    simulate(scenario)


def test_an_introducer_that_tells_of_its_services_again_and_again_is_looked_at_once(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        one = await watched(net)
        await one.connected()
        circle = one.keeper.sessions.circle
        assert circle is not None
        before = len(one.client._tasks)
        told = Notice(Op.SERVICES, 0, letter=Services(stun_port=3478).encode()).encode()
        for _ in range(1000):
            circle.received(IDENTITY.peer_id, told)
        assert len(one.client._tasks) <= before + 3
        await one.client.stop()
        await relay.close()

    simulate(scenario)
