"""Whoever passes an offer of its own does not vouch for where we are."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from librats import Address, NatTraversalConfig, PathPolicy
from librats.introduce.letters import Letter
from librats.introductions.introduced import IntroducedPeers
from librats.runtime.tasks import TaskSet
from librats.services.introduction.letters import Introducer
from librats.types import ConnectionMethod

CALLER, OTHER = "ab" * 32, "cd" * 32


def manager() -> Any:
    return SimpleNamespace(
        admission=SimpleNamespace(
            access=SimpleNamespace(check_id=lambda peer_id: None), has_place_for=lambda peer_id: True
        ),
        closing=False,
        peers={},
        paths=SimpleNamespace(policy=PathPolicy.AUTO),
    )


@pytest.mark.parametrize(("introducer", "seen"), [(OTHER, "203.0.113.9"), (CALLER, None)])
async def test_where_an_introducer_sees_us_counts_unless_it_calls_itself(introducer: str, seen: str | None) -> None:
    tasks, through = TaskSet(), asyncio.Queue[Any]()

    class Peers(IntroducedPeers):
        async def _answer_in_search(self, offered: Any, introducer: Introducer | None) -> None:
            through.put_nowait(introducer)

    options: dict[str, Any] = {"udp": None, "relays": SimpleNamespace(servers=()), "sealing": None}
    introduced = Peers(manager(), NatTraversalConfig.offline(), tasks, **options)
    circle: Any = None
    there = Introducer(
        *(circle, introducer, Address("203.0.113.50", 9), ConnectionMethod.TCP), observed=Address("203.0.113.9", 0)
    )
    offer: Any = SimpleNamespace(caller_id=CALLER, letter=Letter(id="00" * 16), carried_to=None)
    introduced.offered(offer, there)
    told = await asyncio.wait_for(through.get(), 10)
    assert (None if told is None else told.observed.host) == seen
    await tasks.close()
