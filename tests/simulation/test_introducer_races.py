"""An introducer is dialled over UDP and TCP: which of the two has the session, and what becomes of the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.simulation.conftest import Simulate
from tests.simulation.test_introducer_dialling import DEAD, DELAY, HERE, dialler, note_ways, wanted
from tests.simulation.test_public_introducers import serve

from librats import Address, HandshakeError
from librats.introducers.dialling import IntroducerDialler, _first_success
from librats.testing import SimNetwork
from librats.types import ConnectionMethod

UDP, TCP = ConnectionMethod.UDP, ConnectionMethod.TCP

Instead = Callable[[Any, tuple[ConnectionMethod, Address]], Awaitable[None]]


def replace(dials: IntroducerDialler, method: ConnectionMethod, instead: Instead) -> Instead:
    """Have something else done where one of the two is dialled; return what was done."""
    before = dials._dial

    async def dial(factory: Any, way: tuple[ConnectionMethod, Address]) -> None:
        await (instead if way[0] is method else before)(factory, way)

    dials._dial = dial  # type: ignore[method-assign]
    return before


async def silence(factory: Any, way: tuple[ConnectionMethod, Address]) -> None:
    await asyncio.sleep(9)
    raise TimeoutError("nobody answers")


async def refusal(factory: Any, way: tuple[ConnectionMethod, Address]) -> None:
    raise OSError("no route")


@pytest.mark.parametrize(("udp", "within"), [(silence, 0.2 + 8 * DELAY), (refusal, 8 * DELAY)])
def test_where_udp_does_not_get_through_the_session_over_tcp_waits_for_it_no_longer(
    simulate: Simulate, udp: Instead, within: float
) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net)
        replace(dials, UDP, udp)
        began = asyncio.get_running_loop().time()
        link, _ = await dials.dial(wanted(), [HERE])
        assert link.method is TCP
        assert asyncio.get_running_loop().time() - began < within
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)


def test_where_tcp_leads_to_no_session_udp_has_the_time_that_it_takes(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def late(factory: Any, way: tuple[ConnectionMethod, Address]) -> None:
            await asyncio.sleep(3)
            await over_udp(factory, way)

        async def somewhere_else(factory: Any, way: tuple[ConnectionMethod, Address]) -> None:
            await over_tcp(factory, (TCP, elsewhere))
            connected.append(loop.time() - began)

        elsewhere = Address("203.0.113.98", 3478)
        listener = await net.host("elsewhere", addresses=[elsewhere.host]).listen_tcp(Closing, *elsewhere)
        connected: list[float] = []
        over_udp = replace(dials, UDP, late)
        over_tcp = replace(dials, TCP, somewhere_else)
        link, _ = await dials.dial(wanted(), [HERE])
        assert connected == [pytest.approx(0.2 + 2 * DELAY)]
        assert link.method is UDP
        assert loop.time() - began == pytest.approx(3, abs=0.2)
        listener.close()
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)


class Closing(asyncio.Protocol):
    """Closes a connection as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def test_of_two_that_connect_the_one_over_tcp_is_ended_where_udp_has_connected_before_its_session(
    simulate: Simulate,
) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net)

        async def after_tcp(factory: Any, way: tuple[ConnectionMethod, Address]) -> None:
            # TCP is dialled after 0.2 s, and connected after two delays; its session takes two more.
            await asyncio.sleep(0.2 + DELAY)
            await over_udp(factory, way)

        over_udp = replace(dials, UDP, after_tcp)
        link, _ = await dials.dial(wanted(), [HERE])
        assert link.method is UDP
        await asyncio.sleep(1)
        assert link.is_open
        assert list(dials.places) == [link]
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)


def test_an_introducer_that_is_silent_is_asked_for_two_seconds_over_udp_in_short_steps(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        client, dials = await dialler(net)
        loop = asyncio.get_running_loop()
        took: list[float] = []

        async def timed(factory: Any, way: tuple[ConnectionMethod, Address]) -> None:
            began = loop.time()
            try:
                await over_udp(factory, way)
            finally:
                took.append(loop.time() - began)

        over_udp = replace(dials, UDP, timed)
        with pytest.raises(HandshakeError):
            await dials.dial(wanted(), [DEAD])
        assert took == [pytest.approx(2, abs=0.1)]
        await client.stop()

    simulate(scenario, delay=DELAY)


@pytest.mark.parametrize("order", [1, -1])
async def test_one_of_two_that_end_at_once_is_enough(order: int) -> None:
    async def fail() -> None:
        raise OSError("no route")

    tasks = [asyncio.ensure_future(each) for each in (fail(), asyncio.sleep(0))[::order]]
    await asyncio.sleep(0.01)
    await _first_success(tasks)


async def test_where_none_comes_to_a_good_end_it_is_told_what_the_last_in_line_has_ended_by() -> None:
    async def fail(words: str) -> None:
        raise OSError(words)

    tasks = [asyncio.ensure_future(fail(words)) for words in ("first", "last")]
    with pytest.raises(OSError, match="last"):
        await _first_success(tasks)
    assert [str(task.exception()) for task in tasks] == ["first", "last"]


def test_of_two_addresses_the_second_is_dialled_over_udp_after_two_fifths_of_a_second(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        relay = await serve(net)
        client, dials = await dialler(net)
        loop = asyncio.get_running_loop()
        dead = Address("203.0.113.98", HERE.port)

        async def both(place: Address) -> list[Address]:
            return [dead, HERE]

        dials._network.resolve = both  # type: ignore[method-assign,assignment]
        replace(dials, TCP, silence)
        at: list[float] = []
        note_ways(dials, lambda _: at.append(round(loop.time() - began, 2)))
        began = loop.time()
        link, _ = await dials.dial(wanted(), [HERE])
        assert link.method is UDP
        assert at == [0.0, 0.2, 0.4]
        await client.stop()
        await relay.close()

    simulate(scenario, delay=DELAY)
