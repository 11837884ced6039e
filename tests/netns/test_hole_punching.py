"""Hole punching through the kernel's own NATs: one pair of types for each technique."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.netns.lab import SERVER, Lab, missing
from tests.netns.test_ice_nats import BoxNetwork
from tests.reference.stun_server import StunServer
from tests.simulation.punching import wires

from librats import ConnectError, NatTraversalConfig
from librats.punch import PunchSettings
from librats.services.punch import HolePuncher
from librats.services.punch_path import PunchedPath

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

STUN = f"{SERVER[0]}:3478"
CONFIG = NatTraversalConfig(stun_servers=(STUN,), stun_timeout=2.0)


@contextmanager
def laboratory(*kinds: str) -> Iterator[Lab]:
    """Make a laboratory with a STUN server that can tell everything."""
    with Lab(*kinds) as lab:
        sockets = [lab.socket("server", host, port) for host in SERVER for port in (3478, 3479)]
        with StunServer(sockets):
            yield lab


async def join(
    lab: Lab, *, hosts: tuple[int, int] = (0, 1), delays: tuple[float, float] = (0.01, 0.01),
    settings: PunchSettings | None = None,
) -> str:  # fmt: skip
    """Return the technique that has joined two hosts; or why none has."""
    punchers = [
        HolePuncher(
            wire,
            leads=leads,
            config=CONFIG,
            settings=settings,
            network=BoxNetwork(lab, lab.host(number)),
        )
        for wire, leads, number in zip(wires(*delays), (True, False), hosts, strict=True)
    ]
    outcomes = await asyncio.gather(*(puncher.punch() for puncher in punchers), return_exceptions=True)
    try:
        if any(isinstance(outcome, BaseException) for outcome in outcomes):
            assert all(isinstance(outcome, ConnectError) for outcome in outcomes), outcomes
            return "; ".join(str(outcome) for outcome in outcomes)
        a, b = outcomes
        assert isinstance(a, PunchedPath)
        assert isinstance(b, PunchedPath)
        for here, there in ((a, b), (b, a)):
            here.send(b"data")
            async with asyncio.timeout(10):
                assert await there.recv() == b"data"
        return str(a.technique)
    finally:
        for outcome in outcomes:
            if isinstance(outcome, PunchedPath):
                outcome.close()


@pytest.mark.parametrize("kinds", [("bare_masquerade", "port_restricted"), ("port_restricted", "bare_masquerade")])
def test_a_router_that_takes_early_datagrams_for_its_own_hears_none(kinds: tuple[str, str]) -> None:
    with laboratory(*kinds) as lab:
        assert asyncio.run(join(lab, delays=(0.3, 0.0))) == "simultaneous"


@pytest.mark.parametrize("kinds", [("symmetric_seq", "port_restricted"), ("port_restricted", "symmetric_seq")])
def test_ports_that_come_one_after_the_other_are_foretold(kinds: tuple[str, str]) -> None:
    with laboratory(*kinds) as lab:
        assert asyncio.run(join(lab)) == "prediction"


def test_both_sides_ports_may_be_foretold() -> None:
    with laboratory("symmetric_seq", "symmetric_seq") as lab:
        assert asyncio.run(join(lab)) == "prediction"


@pytest.mark.parametrize("kinds", [("symmetric", "port_restricted"), ("port_restricted", "symmetric")])
def test_random_ports_are_met_by_chance(kinds: tuple[str, str]) -> None:
    with laboratory(*kinds) as lab:
        assert asyncio.run(join(lab)) == "birthday"
