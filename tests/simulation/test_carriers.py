"""Introducers that carry a session: what they do to it that are not honest, or gone, and what strangers send in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.conftest import Simulate, until
from tests.simulation.test_carried_sessions import ALONE, CARRIED, HARD, UDP, endings, greet
from tests.simulation.test_introducers import circle_of, hosts
from tests.simulation.test_introducers import meeting as peer_meeting
from tests.simulation.test_public_introducers import meeting

from librats import (
    Address,
    ConnectionMethod,
    Peer,
)
from librats.config import CarryLimits
from librats.introduce.carrying import Carrying
from librats.introduce.notices import Notice, Op
from librats.introduce.parcels import FIRST_CREDIT, Parcel, ParcelKind
from librats.testing import SimNetwork, SimRelay

Told = list[tuple[str, Notice]]


class Meddler(Carrying):
    """A carrier that is not honest.

    Args:
        honest: One that is.
        meddle: What it makes of each thing that it should tell.
    """

    def __init__(self, honest: Carrying, meddle: Callable[[str, Notice], Told]) -> None:
        super().__init__(honest._introduced, honest._takes, honest.limits)
        self._meddle = meddle

    def take(self, sender: str, notice: Notice, *, now: float) -> Told:
        """Do what a carrier does, and something else with it."""
        return [each for to, one in super().take(sender, notice, now=now) for each in self._meddle(to, one)]


def meddle(relay: SimRelay, how: Callable[[str, Notice], Told]) -> None:
    introducer = relay.introducer
    assert introducer is not None
    assert introducer.carrying is not None
    introducer.circle.carrying = Meddler(introducer.carrying, how)


def test_letters_that_have_come_with_the_answer_are_heard_in_order(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted")) as (relay, met):
            kept: list[tuple[str, Notice]] = []
            introducer = relay.introducer
            assert introducer is not None
            tell = introducer.circle.tell

            def together(peer_id: str, notice: Notice) -> bool:
                if notice.op in (Op.ANSWERED, Op.ADDED) and len(kept) < 3:
                    kept.append((peer_id, notice))
                    return len(kept) < 3 or all([tell(*each) for each in kept])
                return tell(peer_id, notice)

            introducer.circle.tell = together  # type: ignore[method-assign]
            greet(met)
            peer = await met.connect()
            assert await peer.request("greet", "Alice") == "hello Alice"
            assert [notice.op for _, notice in kept] == [Op.ANSWERED, Op.ADDED, Op.ADDED]
            await until(lambda: peer.method is UDP, within=2)

    simulate(scenario)


def test_a_carrier_that_changes_what_it_carries_breaks_that_session_and_reads_nothing(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted")) as (relay, met):
            seen = bytearray()

            def flip(to: str, notice: Notice) -> Told:
                parcel = Parcel.decode(notice.letter)
                if parcel.kind is not ParcelKind.DATA:
                    return [(to, notice)]
                seen.extend(parcel.data)
                changed = parcel.data[:-1] + bytes([parcel.data[-1] ^ 1])
                return [(to, Notice(notice.op, notice.number, letter=b"\0" + changed))]

            meddle(relay, flip)
            greet(met)
            peer = await met.connect()
            assert peer.method is UDP
            assert await peer.request("greet", "sesame-open") == "hello sesame-open"
            assert b"sesame" not in seen
            assert any(each.method is CARRIED and each.error for each in peer.attempts)

    simulate(scenario)


def test_a_carrier_that_changes_a_session_that_is_up_ends_that_path_alone(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted")) as (relay, met):
            changed = 0
            heard: list[Any] = []

            def flip(to: str, notice: Notice) -> Told:
                nonlocal changed
                is_data = Parcel.decode(notice.letter).kind is ParcelKind.DATA
                if not is_data or met.alice.peer_id not in met.bob.peers:
                    return [(to, notice)]
                changed += 1
                return [(to, Notice(notice.op, notice.number, letter=notice.letter[:-1] + b"?"))]

            @met.bob.on_connect
            async def welcome(peer: Peer) -> None:
                if peer.id == met.alice.peer_id:
                    assert peer.method is CARRIED
                    await peer.send("welcome", "Alice")

            met.alice.on("welcome", lambda peer, data: heard.append(data))
            meddle(relay, flip)
            ended = endings(met.alice), endings(met.bob)
            peer = await met.connect()
            await until(lambda: heard == ["Alice"], within=5)
            assert changed
            assert peer.method is UDP
            assert ended == ([], [])

    simulate(scenario)


@pytest.mark.parametrize("what", ["swallows", "floods", "never ends"])
def test_a_carrier_that_does_not_carry_delays_nothing(simulate: Simulate, what: str) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "port_restricted")) as (relay, met):

            def misbehave(to: str, notice: Notice) -> Told:
                if what == "floods":
                    junk = Parcel(ParcelKind.DATA, bytes(8000)).encode()
                    return [(to, Notice(notice.op, notice.number, letter=junk))] * (2 + FIRST_CREDIT // 8000)
                is_data = Parcel.decode(notice.letter).kind is ParcelKind.DATA
                return [] if what == "swallows" or (is_data and notice.op is Op.CARRIED) else [(to, notice)]

            meddle(relay, misbehave)
            began = asyncio.get_running_loop().time()
            peer = await met.connect()
            assert peer.method is UDP
            assert asyncio.get_running_loop().time() - began < 1
            greet(met)
            await asyncio.sleep(20)
            assert await peer.request("greet", "Alice") == "hello Alice"

    simulate(scenario)


def test_a_relay_that_is_gone_ends_what_it_carries(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), **ALONE) as (relay, met):
            ended = endings(met.alice)
            await met.connect()
            await asyncio.sleep(40)
            await relay.close()
            await until(lambda: ended, within=15)
            assert ended[0][0] == "lost"
            assert not met.alice.peers

    simulate(scenario)


def test_parcels_of_a_stranger_lead_nowhere(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with peer_meeting(net, *hosts(net, "full_cone", "full_cone"), carry=CarryLimits()) as met:
            hostile = circle_of(met.introducer)
            links = met.bob.statistics()
            for number in range(50):
                parcel = Parcel(ParcelKind.DATA, bytes(100)).encode()
                hostile.tell(met.bob.peer_id, Notice(Op.CARRIED, number, letter=parcel))
                hostile.tell(met.bob.peer_id, Notice(Op.CARRIED_BACK, number, letter=parcel))
                hostile.tell(met.bob.peer_id, Notice(Op.CARRIED, number, letter=b"\x09"))
            await asyncio.sleep(1)
            assert len(circle_of(met.bob).carried) == 0
            assert met.bob.statistics()["links_in"] == links["links_in"]
            assert met.introducer.peer_id in met.bob.peers

    simulate(scenario)


def test_a_stranger_who_is_carried_has_nobody_knock_in_its_own_network(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, *HARD), **ALONE) as (_, met):
            stranger, called = met.alice._running(), met.bob._running()
            stranger.own.listening = [Address("192.168.1.1", 80), Address("127.0.0.1", 80), Address("8.8.8.8", 80)]
            dial, dialled = called.paths.dial, []
            assert dial is not None

            async def noting(factory: Any, address: Address, method: ConnectionMethod) -> None:
                dialled.append(address.host)
                await dial(factory, address, method)

            called.paths.dial = noting
            await met.connect()
            await asyncio.sleep(20)
            assert set(dialled) == {"8.8.8.8"}

    simulate(scenario)
