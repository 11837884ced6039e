"""What was learnt of NATs is kept by network, for some time, and a bad file does no harm."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from librats.peers.keeping.known_mappings import GOOD_FOR, MAX_NETWORKS, KnownMappings
from librats.peers.keeping.what_worked import WhatWorked, WorkedFile
from librats.stun.mapping_habits import MappingTimes

HOME, OFFICE = "0" * 32, "1" * 32
MARK = re.compile(r"[0-9a-f]{32}").fullmatch
NOTHING = MappingTimes()


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def restored(members: object, clock: Clock | None = None) -> KnownMappings:
    known = KnownMappings(clock=clock or Clock())
    known.restore(members, MARK)
    return known


def test_each_network_has_what_was_learnt_in_it() -> None:
    known = KnownMappings(clock=Clock())
    known.note(HOME, MappingTimes(outlived=60.0, lost=90.0))
    assert known.get(HOME) == MappingTimes(outlived=60.0, lost=90.0)
    assert known.get(OFFICE) == NOTHING


def test_what_was_learnt_long_ago_counts_no_more() -> None:
    clock = Clock()
    known = KnownMappings(clock=clock)
    known.note(HOME, MappingTimes(outlived=60.0))
    clock.now += GOOD_FOR - 1
    known.note(HOME, MappingTimes(outlived=60.0, life=300.0))  # that it was known tells nothing new of silences
    assert known.get(HOME) == MappingTimes(outlived=60.0, life=300.0)
    clock.now += 2
    assert known.get(HOME) == MappingTimes(life=300.0)
    clock.now += GOOD_FOR
    assert known.get(HOME) == NOTHING


def test_what_is_kept_from_the_future_does_not_last_for_ever() -> None:
    clock = Clock()
    form = {HOME: {"outlived": 60.0, "silence_at": clock.now + 10 * GOOD_FOR}}
    assert restored(form, clock).get(HOME) == NOTHING


@pytest.mark.parametrize(
    "times",
    [
        {"outlived": 10**9},
        {"outlived": -1},
        {"outlived": "60"},
        {"outlived": True},
        {"lost": 0.001},
        {"lost": [10]},
        {"life": 1},
        {"life": 10**400},
    ],
)
def test_a_time_that_is_out_of_bounds_is_not_taken(times: dict[str, Any]) -> None:
    at = {"silence_at": Clock.now, "use_at": Clock.now}
    assert restored({HOME: times | at}).get(HOME) == NOTHING


def test_of_two_times_that_contradict_each_other_the_careful_one_is_taken() -> None:
    form = {HOME: {"outlived": 120.0, "lost": 20.0, "silence_at": Clock.now}}
    assert restored(form).get(HOME) == MappingTimes(lost=20.0)


@pytest.mark.parametrize("members", [None, [], 7, {"../x": {"lost": 20.0}}, {HOME: 7}, {HOME: None}])
def test_what_is_no_such_object_is_left_out(members: object) -> None:
    assert restored(members).to_json() == {}


def test_of_too_many_networks_the_last_are_taken() -> None:
    form = {f"{number:032x}": {"lost": 20.0, "silence_at": Clock.now} for number in range(MAX_NETWORKS + 3)}
    known = restored(form)
    assert list(known.to_json()) == [f"{number:032x}" for number in range(3, MAX_NETWORKS + 3)]
    known.note(HOME, MappingTimes(lost=20.0))
    assert len(known.to_json()) == MAX_NETWORKS


async def test_it_is_kept_beside_what_has_worked_with_what_others_have_put_there(tmp_path: Path) -> None:
    path = tmp_path / "worked.json"
    kept = {
        "format": "librats-worked",
        "version": 1,
        "later": {"a": 1},
        "networks": {},
        "mappings": {OFFICE: {"lost": 20.0, "silence_at": Clock.now, "colour": "red"}},
    }
    path.write_text(json.dumps(kept))
    known = KnownMappings(clock=Clock())
    file = WorkedFile(WhatWorked(), known, tmp_path)
    file.load()
    file.start()
    known.note(HOME, MappingTimes(outlived=60.0, lost=90.0, life=120.0))
    known.note(OFFICE, MappingTimes(outlived=30.0))
    await file.close()
    written = json.loads(path.read_text())
    assert written["later"] == {"a": 1}
    assert written["mappings"][OFFICE] == {"outlived": 30.0, "silence_at": Clock.now, "colour": "red"}
    again = KnownMappings(clock=Clock())
    WorkedFile(WhatWorked(), again, tmp_path).load()
    assert again.get(HOME) == MappingTimes(outlived=60.0, lost=90.0, life=120.0)
    assert again.get(OFFICE) == MappingTimes(outlived=30.0)
