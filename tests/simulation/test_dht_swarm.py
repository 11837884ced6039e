"""A swarm of nodes of the DHT that come and go, some silent, some hostile: what others look for is found."""

from __future__ import annotations

import json

import pytest
from tests.simulation.dht_swarm import Plan, Swarm, run

GIB = 1024


def told(words: str) -> None:
    print(words)  # noqa: T201


def check(swarm: Swarm) -> None:
    figures = swarm.figures()
    print(json.dumps(figures, indent=2))  # noqa: T201
    peers, items = swarm.peers, swarm.items
    assert len(peers.seconds) > 0.7 * swarm.plan.lookups
    assert len(items.seconds) > 0.9 * swarm.plan.items
    assert peers.part >= 0.99
    assert figures["peers"]["hops"] <= 4
    assert figures["peers"]["seconds_p95"] < 2.0
    assert items.part >= 0.98


def test_in_a_small_swarm_with_silent_and_hostile_nodes_what_was_announced_is_found() -> None:
    plan = Plan(nodes=120, growing=20.0, settling=60.0, measured=90.0, replaced=2.0, lookups=40, items=10, attacks=0)
    check(run(plan))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_in_a_swarm_of_ten_thousand_that_come_and_go_and_lie_and_attack_nearly_all_is_found() -> None:
    swarm = run(Plan(), told)
    check(swarm)
    assert len(swarm.attacked.seconds) > 0.9 * swarm.plan.attacks * swarm.plan.readers
    assert swarm.attacked.part >= 0.95
    assert swarm.figures()["memory_mib"] < 8 * GIB
