from __future__ import annotations

from collections import Counter

import pytest

from librats import Address
from librats.punch import PunchPart, PunchSettings, PunchTechnique
from librats.punch.plans import Plan
from librats.punch.shots import FIRST_PORT, LAST_PORT, Shot
from librats.punch.techniques import TCP_WINDOW, Round
from librats.testing.entropy import SeededEntropy

THEIRS = Address("192.0.2.7", 4000)
ENTROPY = SeededEntropy(1)
MEET = (PunchTechnique.SIMULTANEOUS, PunchPart.MEET)


def round_of(technique: PunchTechnique, part: PunchPart, **fields: object) -> Round:
    values = {"number": 1, "leads": True, "targets": (THEIRS,), **fields}
    return Round(plan=Plan(technique, part), **values)  # type: ignore[arg-type]


def shots(of: Round, ports: tuple[int, ...] = ()) -> list[Shot]:
    found = list(of.schedule(ports, ENTROPY))
    assert [shot.after for shot in found] == sorted(shot.after for shot in found)
    return found


def test_what_opens_a_nat_reaches_nobody() -> None:
    for technique, part in ((PunchTechnique.SIMULTANEOUS, PunchPart.MEET), (PunchTechnique.PREDICTION, PunchPart.OPEN)):
        assert round_of(technique, part).opening() == [Shot(0.0, 0, THEIRS, 2)]


def test_one_side_at_a_time_opens_further_away() -> None:
    meet = [[round_of(*MEET, number=number, leads=leads).hops for number in range(1, 6)] for leads in (True, False)]
    assert meet == [[2, 3, 2, 4, 2], [2, 2, 3, 2, 4]]


def test_whoever_looks_for_ports_opens_nothing_first() -> None:
    assert round_of(PunchTechnique.BIRTHDAY, PunchPart.PROBE).opening() == []
    assert round_of(PunchTechnique.PREDICTION, PunchPart.PROBE).opening((40000, 40001)) == []


def test_every_socket_is_opened_three_times_and_reaches_the_peer_at_last() -> None:
    bases = range(256)
    chance = round_of(PunchTechnique.BIRTHDAY, PunchPart.OPEN, bases=bases)
    assert [(shot.base, shot.hops, shot.after) for shot in chance.opening()] == [(base, 2, 0.0) for base in bases]
    later = shots(chance)
    assert Counter(shot.base for shot in later if shot.hops == 2) == Counter(bases)
    whole = Counter(shot.base for shot in later if shot.hops == 0 and shot.base)
    assert whole == Counter(range(1, 256))
    assert {shot.target for shot in later} == {THEIRS}


def test_random_ports_are_tried_within_budget_and_none_twice_in_a_half() -> None:
    settings = PunchSettings()
    probes = shots(round_of(PunchTechnique.BIRTHDAY, PunchPart.PROBE, settings=settings))
    assert len(probes) == settings.birthday_probes
    halves = probes[: len(probes) // 2], probes[len(probes) // 2 :]
    for half in halves:
        ports = [shot.target.port for shot in half]
        assert len(set(ports)) == len(ports)
        assert FIRST_PORT <= min(ports) < 2 * FIRST_PORT
        assert LAST_PORT - FIRST_PORT < max(ports) <= LAST_PORT
    assert {shot.target.host for shot in probes} == {THEIRS.host}
    rate = len(probes) / (probes[-1].after - probes[0].after)
    assert 250 <= rate == pytest.approx(settings.birthday_rate, rel=0.02)


def test_foretold_ports_are_tried_in_order() -> None:
    found = shots(round_of(PunchTechnique.PREDICTION, PunchPart.PROBE), (40000, 40001))
    window = PunchSettings().window
    assert [shot.target.port for shot in found[:window]] == list(range(40002, 40002 + window))
    assert found[window].target.port == 40002


def test_where_both_foretell_one_takes_two_steps_at_a_time() -> None:
    leader = shots(round_of(PunchTechnique.PREDICTION, PunchPart.MEET), (40000, 40001))
    other = shots(round_of(PunchTechnique.PREDICTION, PunchPart.MEET, leads=False), (50000, 50001))
    assert [shot.target.port for shot in leader[:3]] == [40002, 40004, 40006]
    assert [shot.target.port for shot in other[:3]] == [50002, 50003, 50004]


@pytest.mark.parametrize("taken", range(10))
@pytest.mark.parametrize("on_leaders_side", [True, False])
def test_they_meet_whatever_others_take_meanwhile(taken: int, on_leaders_side: bool) -> None:
    """Two NATs that count: what each sends leaves by its next port, whoever it is to."""
    last = {True: 50001, False: 40001}
    sent = {}
    for leads in (True, False):
        ports = (last[not leads] - 1, last[not leads])
        opening = round_of(PunchTechnique.PREDICTION, PunchPart.MEET, leads=leads).opening(ports)
        targets = [shot.target.port for shot in opening]
        first = last[leads] + 1 + (taken if leads is on_leaders_side else 0)
        sent[leads] = {(first + number, target) for number, target in enumerate(targets)}
    assert any((target, source) in sent[False] for source, target in sent[True])


def test_nothing_is_sent_to_ports_that_nobody_can_foretell() -> None:
    assert shots(round_of(PunchTechnique.PREDICTION, PunchPart.PROBE), (40000, 61234, 12345)) == []
    found = shots(round_of(PunchTechnique.PREDICTION, PunchPart.PROBE, step=3), (40000,))
    assert found[0].target.port == 40003


def test_the_window_grows_with_the_traffic_of_others() -> None:
    quiet, busy = (round_of(PunchTechnique.PREDICTION, PunchPart.PROBE) for _ in range(2))
    window = PunchSettings().window
    assert len({shot.target for shot in shots(quiet, (40000, 40001, 40002))}) == window
    assert len({shot.target for shot in shots(busy, (40000, 40002, 40003))}) == window * 3 // 2
    assert len({shot.target for shot in shots(busy, (40000, 40001, 40201))}) == window * 4


@pytest.mark.parametrize("part", PunchPart)
@pytest.mark.parametrize("technique", PunchTechnique)
def test_nothing_is_sent_where_nothing_may_be(technique: PunchTechnique, part: PunchPart) -> None:
    nowhere = round_of(technique, part, targets=())
    assert nowhere.opening((40000, 40001)) == shots(nowhere, (40000, 40001)) == []


def test_connections_are_dialled_to_every_target_and_where_ports_are_looked_for_to_foretold_ones() -> None:
    other = Address("192.0.2.8", 5000)
    meeting = round_of(PunchTechnique.TCP, PunchPart.MEET, targets=(THEIRS, other))
    assert meeting.connections((4000, 4001)) == [THEIRS, other]
    probing = round_of(PunchTechnique.TCP, PunchPart.PROBE, targets=(THEIRS, other))
    first, *foretold = probing.connections((4000, 4001, 4002))
    assert first == THEIRS
    assert foretold
    assert {address.host for address in foretold} == {THEIRS.host}
    assert len(foretold) <= TCP_WINDOW
    assert round_of(PunchTechnique.TCP, PunchPart.PROBE, targets=()).connections((4000,)) == []
