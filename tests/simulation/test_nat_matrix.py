"""Who reaches whom in the simulated network: the matrix of NATs with a relay, and what nothing may wait for."""

from __future__ import annotations

import statistics

import pytest
from tests.netns.matrix.cells import FURTHER, KINDS, Cell, pairs, why_not
from tests.netns.matrix.results import Summary
from tests.simulation.nat_matrix import connects, try_once

AT_MOST = 1.1
"""Seconds until there is a session, links of 20 ms, from the start of a client that nobody knows yet."""

TELLING = (
    *("full_cone:symmetric", "symmetric:symmetric", "symmetric_seq:bare_masquerade", "cgnat:openwrt"),
    *("udp_blocked:udp_blocked", "open:udp_blocked", "udp_blocked:port_restricted", "double_nat:firewall"),
)


@pytest.mark.parametrize("cell", [*map(Cell.named, TELLING), *FURTHER], ids=lambda cell: cell.name)
def test_with_a_relay_every_pair_connects_and_waits_for_nothing(cell: Cell) -> None:
    outcome = try_once(cell, seed=1)
    assert outcome.ok, outcome.error
    assert outcome.seconds < AT_MOST


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.timeout(3600)
@pytest.mark.long
def test_with_a_relay_every_cell_of_the_matrix_connects_every_time(loss: float) -> None:
    found = connects([*pairs(KINDS), *FURTHER], range(10), loss=loss)
    summaries = {name: Summary.of(tries) for name, tries in found.items()}
    assert {name: each.errors for name, each in summaries.items() if each.connected < each.tries} == {}


@pytest.mark.parametrize(("cell", "seed"), [("port_restricted:udp_blocked", 3), ("symmetric:udp_blocked", 3)])
def test_a_way_that_loses_packets_is_not_given_up_soon(cell: str, seed: int) -> None:
    outcome = try_once(Cell.named(cell), seed, loss=0.05)
    assert outcome.ok, outcome.error


@pytest.mark.parametrize(("mode", "within"), [("carried", 1.5), ("direct", 4.0)])
def test_where_each_link_loses_nearly_a_third_a_session_begins_in_a_few_round_trips(mode: str, within: float) -> None:
    tries = [try_once(Cell.named("port_restricted:port_restricted"), seed, mode=mode, loss=0.3) for seed in range(30)]
    seconds = sorted(each.seconds for each in tries if each.ok)
    assert len(seconds) > 26, [each.error for each in tries]
    assert statistics.median(seconds) < within


@pytest.mark.parametrize("cell", ["port_restricted:port_restricted", "none:none@port_restricted", "v6_only:dual_stack"])
def test_where_there_is_a_direct_way_no_relay_is_needed(cell: str) -> None:
    outcome = try_once(Cell.named(cell), seed=1, mode="direct")
    assert (outcome.ok, outcome.way) == (True, "udp"), outcome.error
    assert not why_not(Cell.named(cell))


@pytest.mark.parametrize(
    "cell",
    [
        *("symmetric:symmetric", "port_restricted:port_restricted@port_restricted", "open:tcp443_only"),
        "tcp443_only:tcp443_only",
    ],
)
def test_what_only_a_relay_joins_is_told(cell: str) -> None:
    outcome = try_once(Cell.named(cell), seed=1, mode="direct")
    assert not outcome.ok
    assert "by introducer" in outcome.error
    assert why_not(Cell.named(cell))
