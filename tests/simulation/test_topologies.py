"""Two clients in networks drawn by chance: they meet, or it is told rightly why they do not, and nothing hangs."""

from __future__ import annotations

import pytest
from tests.simulation.topologies import run_seeds, tell


def check(first: int, count: int) -> None:
    outcomes = run_seeds(range(first, first + count))
    tell(outcomes)
    assert [(one.seed, one.problem) for one in outcomes if one.problem] == []
    assert sum(one.code == "connected" for one in outcomes) > 0.8 * count


def test_in_networks_drawn_by_chance_two_meet_or_know_why_not() -> None:
    check(0, 20)


def test_a_peer_whose_private_address_becomes_our_own_is_found_another_way() -> None:
    check(5826, 1)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_in_ten_thousand_networks_drawn_by_chance_two_meet_or_know_why_not() -> None:
    check(0, 10_000)
