"""Links and seeded randomness: what is lost, how late things are, and that it comes from the seed."""

from __future__ import annotations

from typing import Any

import pytest

from librats.errors import ConfigError
from librats.testing import BurstLoss, LinkConditions
from librats.testing.agenda import Agenda
from librats.testing.entropy import SeededEntropy
from librats.testing.links import Path


def path(seed: int = 1, **conditions: Any) -> Path:
    return Path(LinkConditions(**conditions), SeededEntropy(seed, "test"))


def test_a_packet_takes_the_delay_and_up_to_the_jitter() -> None:
    times = [path(seed, delay=0.1, jitter=0.05).carry(100, 3.0) for seed in range(200)]
    assert all(when is not None and 3.1 <= when < 3.15 for when in times)
    assert max(t for t in times if t) - min(t for t in times if t) > 0.04
    assert path(delay=0.1).carry(100, 3.0) == 3.1


def test_the_part_that_is_lost_is_what_was_asked_for() -> None:
    lossy = path(loss=0.2)
    lost = sum(lossy.carry(100, 0.0) is None for _ in range(20_000))
    assert 0.19 < lost / 20_000 < 0.21
    assert all(path(seed, loss=1.0).carry(1, 0.0) is None for seed in range(20))
    assert all(path(seed, loss=0.0).carry(1, 0.0) is not None for seed in range(20))


def test_a_narrow_link_sends_one_packet_after_the_other() -> None:
    narrow = path(delay=1.0, bandwidth=1000)
    assert [narrow.carry(500, 0.0) for _ in range(3)] == [1.5, 2.0, 2.5]
    assert narrow.carry(500, 10.0) == 11.5


def test_nothing_gets_through_a_cut_path() -> None:
    cut = path()
    cut.is_cut = True
    assert cut.carry(1, 0.0) is None
    cut.is_cut = False
    assert cut.carry(1, 0.0) is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("delay", -1), ("delay", float("nan")), ("jitter", float("inf")), ("loss", 1.1), ("loss", -0.1)),
        *(("bandwidth", 0), ("reordering", 2), ("held_back", -1), ("duplication", -1), ("queue", -1), ("mtu", 100)),
        ("coalescing", -1),
    ],
)
def test_conditions_that_make_no_sense_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        LinkConditions(**{field: value})


def test_seeded_values_depend_on_seed_and_labels_alone() -> None:
    assert SeededEntropy(1, "a").token_bytes(100) == SeededEntropy(1, "a").token_bytes(100)
    known = {SeededEntropy(seed, *labels).token_bytes(16) for seed in (1, 2) for labels in ((), ("a",), ("a", "b"))}
    assert len(known) == 6
    one = SeededEntropy(5)
    assert b"".join(one.token_bytes(n) for n in (1, 63, 64, 65, 7)) == SeededEntropy(5).token_bytes(200)


def test_seeded_numbers_stay_in_their_range() -> None:
    entropy = SeededEntropy(3)
    assert {entropy.randbelow(3) for _ in range(100)} == {0, 1, 2}
    values = [entropy.uniform(2.0, 4.0) for _ in range(2000)]
    assert 2.0 <= min(values) < 2.1
    assert 3.9 < max(values) < 4.0
    with pytest.raises(ValueError, match="positive"):
        entropy.randbelow(0)


def test_an_agenda_keeps_the_order_of_what_is_due_at_one_time() -> None:
    agenda = Agenda()
    said: list[Any] = []
    agenda.at(2.0, said.append, "later")
    agenda.at(1.0, said.append, "first")
    agenda.at(1.0, said.append, "second")
    agenda.at(1.0, said.append, "never").cancel()
    agenda.at(1.0, lambda: agenda.after(0, said.append, "third"))
    assert agenda.next_time() == 1.0
    agenda.now = 1.5
    agenda.run_due()
    assert said == ["first", "second", "third"]
    assert agenda.next_time() == 2.0
    agenda.now = 2.0
    agenda.run_due()
    assert agenda.next_time() is None


def lengths_of_bursts(lost: list[bool]) -> list[int]:
    return [len(run) for run in "".join("x" if gone else " " for gone in lost).split()]


def test_bursts_are_as_frequent_and_as_long_as_was_asked_for() -> None:
    burst = BurstLoss(enter=0.01, leave=0.2)
    bursty = path(burst=burst)
    lost = [bursty.carry(100, 0.0) is None for _ in range(100_000)]
    assert sum(lost) / len(lost) == pytest.approx(burst.average, rel=0.1)
    runs = lengths_of_bursts(lost)
    assert sum(runs) / len(runs) == pytest.approx(5, rel=0.1)
    uniform = path(loss=burst.average)
    runs = lengths_of_bursts([uniform.carry(100, 0.0) is None for _ in range(100_000)])
    assert sum(runs) / len(runs) < 1.2


def test_a_link_may_lose_a_part_in_its_bad_state_and_some_in_its_good_one() -> None:
    burst = BurstLoss(enter=0.1, leave=0.1, bad=0.5, good=0.1)
    assert burst.average == pytest.approx(0.3)
    bursty = path(burst=burst)
    lost = sum(bursty.carry(100, 0.0) is None for _ in range(50_000))
    assert lost / 50_000 == pytest.approx(0.3, rel=0.05)


def test_packets_that_are_held_back_are_overtaken() -> None:
    unordered = path(delay=0.1, reordering=0.25, held_back=0.03)
    times = [unordered.carry(100, 0.0) for _ in range(10_000)]
    assert set(times) == {0.1, 0.13}
    assert 0.23 < times.count(0.13) / 10_000 < 0.27


def test_some_packets_arrive_twice() -> None:
    doubling = path(duplication=0.1, jitter=0.5)
    again = [when for when in (doubling.copy(1.0) for _ in range(10_000)) if when is not None]
    assert 0.09 < len(again) / 10_000 < 0.11
    assert all(1.0 <= when < 1.5 for when in again)
    assert path().copy(1.0) is None


def test_a_queue_drops_what_comes_last() -> None:
    narrow = path(delay=1.0, bandwidth=1000, queue=1000)
    assert [narrow.carry(500, 0.0) for _ in range(4)] == [1.5, 2.0, None, None]
    assert narrow.carry(500, 0.5) == 2.5
    assert narrow.carry(100_000, 10.0) == 111.0  # nothing waits: one packet fits always


def test_packets_that_are_collected_arrive_together_and_none_too_early() -> None:
    fast = path(delay=0.1, bandwidth=1e6, coalescing=0.01)
    times = [fast.carry(1000, 0.0) for _ in range(25)]
    assert times == pytest.approx([0.11] * 10 + [0.12] * 10 + [0.13] * 5)
    direct = path(delay=0.1, bandwidth=1e6)
    assert all(0 <= late - (direct.carry(1000, 0.0) or 9) < 0.01 for late in times if late is not None)


@pytest.mark.parametrize(("size", "pieces"), [(1500, 1), (1501, 2), (2980, 2), (2981, 3), (65_535, 45)])
def test_long_datagrams_travel_in_pieces(size: int, pieces: int) -> None:
    assert LinkConditions().pieces(size) == pieces


@pytest.mark.parametrize("field", ["enter", "leave", "bad", "good"])
def test_bursts_that_make_no_sense_are_refused_by_name(field: str) -> None:
    for value in (-0.1, 1.1):
        with pytest.raises(ConfigError, match=field):
            BurstLoss(**{"enter": 0.1, "leave": 0.1, field: value})
    with pytest.raises(ConfigError, match="never ends"):
        BurstLoss(enter=0.1, leave=0)
