"""NATs that drop ports in use: how long they keep them is learnt, and the allocation goes on over others before."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.reference.turn_run import TurnRun
from tests.reference.turn_server import ReferenceServer

from librats.stun.mapping_habits import MappingHabits, MappingTimes
from librats.turn.allocation_events import TurnAllocated, TurnLost, TurnMoved
from librats.turn.client_auth import Login
from librats.turn.client_mapping import ENOUGH, LONGEST, SHORTEST, MappingLife
from librats.types import Address

MINUTE = 60


def forgotten_in(run: TurnRun, seconds: int, patience: float) -> int:
    """Run behind a NAT that renumbers each port after so many seconds of silence; return how often it did."""
    forgotten, quiet, sent = 0, 0.0, len(run.sent)
    for _ in range(2 * seconds):
        before = run.local.port
        if quiet >= patience:
            forgotten += 1
            run.local, quiet = Address(run.local.host, run.local.port + 1000), 0.0
        run.run(0.5)
        quiet = 0.0 if len(run.sent) > sent or run.local.port != before else quiet + 0.5
        sent = len(run.sent)
    return forgotten


def dropped_in(run: TurnRun, seconds: int, life: int) -> list[int]:
    """Run behind a NAT that gives each port another number after so many seconds; return when it did."""
    drops, age, port = [], 0, run.local.port
    for second in range(seconds):
        run.run(1.0)
        age = age + 1 if run.local.port == port else 0
        if age >= life:
            drops.append(second)
            run.local, age = Address(run.local.host, run.local.port + 1000), 0
        port = run.local.port
    return drops


def allocated(**settings: Any) -> TurnRun:
    server = ReferenceServer({"bob": "secret"}, mobility=True)
    return TurnRun(server, login=Login("bob", "secret"), keep_alive=15.0, mobility=True, **settings)


@pytest.mark.parametrize("life", [40, 60, 120])
def test_ports_are_changed_before_the_nat_drops_them_once_it_has_dropped_some(life: int) -> None:
    run = allocated()
    drops = dropped_in(run, 30 * MINUTE, life)
    assert len(drops) == ENOUGH
    assert len(run.of(TurnAllocated)) == 1
    assert not run.of(TurnLost)
    assert len(run.of(TurnMoved)) > 30 * MINUTE / life


def test_what_a_nat_keeps_is_used_on() -> None:
    run = allocated()
    assert not dropped_in(run, 30 * MINUTE, 10**6)
    assert not run.of(TurnMoved)


def test_two_restarts_far_apart_are_no_habit() -> None:
    life = MappingLife(MappingHabits())
    for began in (0.0, 2 * LONGEST):
        life.ended(began=began, heard=began + LONGEST + 1)
        life.ended(began=began, heard=began + 30)
    assert life.renew_at(began=0.0) == math.inf


def test_the_shortest_life_that_was_seen_counts_and_nothing_is_renewed_all_the_time() -> None:
    life = MappingLife(MappingHabits())
    for age in (100.0, 70.0, 90.0):
        life.ended(began=5.0, heard=5.0 + age)
    assert life.renew_at(began=1000.0) == 1070.0
    life.ended(began=5.0, heard=5.0)
    assert life.renew_at(began=1000.0) == 1000.0 + SHORTEST


def test_connections_have_no_part_in_it() -> None:
    run = allocated(reliable=True)
    run.run(10.0)
    moved = len(run.of(TurnMoved))
    for _ in range(4):
        run.server.restart()
        run.run(60.0)
    assert len(run.of(TurnMoved)) == moved


def test_a_life_that_is_known_is_reckoned_with_from_the_beginning() -> None:
    habits = MappingHabits()
    assert len(dropped_in(allocated(habits=habits), 10 * MINUTE, 60)) == ENOUGH
    assert habits.times.life is not None
    assert habits.times.life < 60
    again = allocated(habits=MappingHabits(habits.times))
    assert not dropped_in(again, 30 * MINUTE, 60)
    assert len(again.of(TurnAllocated)) == 1


def test_a_nat_that_forgets_after_a_short_silence_is_learnt_and_sent_to_more_often() -> None:
    habits = MappingHabits()
    assert forgotten_in(allocated(habits=habits), 10 * MINUTE, 12.0) == 1
    assert habits.times.lost is not None
    assert habits.times.lost >= 12.0
    assert habits.times.life is None
    again = allocated(habits=MappingHabits(habits.times))
    assert forgotten_in(again, 10 * MINUTE, 12.0) == 0


def test_what_is_known_to_be_generous_makes_a_server_no_less_watched() -> None:
    known, unknown = (allocated(habits=MappingHabits(MappingTimes(outlived=one))) for one in (120.0, None))
    known.run(600.0)
    unknown.run(600.0)
    assert len(known.sent) == len(unknown.sent)


def test_age_is_not_taken_for_silence() -> None:
    habits = MappingHabits()
    dropped_in(allocated(habits=habits), 30 * MINUTE, 60)
    assert habits.times.lost is None
