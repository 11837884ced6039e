from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.punch.prediction import FIRST_PORT, LAST_PORT, foretell

steps = st.integers(1, 16) | st.integers(-16, -1)


@given(st.integers(20_000, 40_000), steps, st.integers(2, 8))
def test_a_steady_count_goes_on(start: int, step: int, count: int) -> None:
    prediction = foretell([start + number * step for number in range(count)])
    assert prediction is not None
    assert prediction.step == step
    assert prediction.others == 0
    last = start + (count - 1) * step
    assert prediction.window(3) == [last + step, last + 2 * step, last + 3 * step]


@given(st.integers(20_000, 40_000), steps, st.lists(st.integers(0, 7), min_size=3, max_size=8))
def test_the_traffic_of_others_hides_nothing(start: int, step: int, others: list[int]) -> None:
    ports = [start]
    for taken in [*others, 0]:
        ports.append(ports[-1] + step * (1 + taken))
    prediction = foretell(ports)
    assert prediction is not None
    assert prediction.step == step
    assert prediction.others == pytest.approx(sum(others) / (len(others) + 1))


def test_a_range_that_begins_anew_is_no_matter() -> None:
    prediction = foretell([41020, 41021, 41022, 41023, 40000])
    assert prediction is not None
    assert prediction.window(2) == [40001, 40002]


def test_random_ports_have_no_pattern() -> None:
    assert foretell([51234, 40111, 62345, 33333, 47000]) is None
    assert foretell([51234]) is None
    assert foretell([]) is None


def test_what_was_found_earlier_stands_in() -> None:
    prediction = foretell([51234], step=-2)
    assert prediction is not None
    assert prediction.window(2) == [51232, 51230]


def test_the_window_skips_for_who_leads() -> None:
    prediction = foretell([40000, 40001])
    assert prediction is not None
    assert prediction.window(3, stride=2) == [40002, 40004, 40006]


@given(st.lists(st.integers(1, 65535), max_size=16), st.none() | steps, st.integers(1, 64), st.integers(1, 2))
def test_whatever_was_seen_ports_are_ports(ports: list[int], step: int | None, size: int, stride: int) -> None:
    prediction = foretell(ports, step=step)
    if prediction is not None:
        window = prediction.window(size, stride=stride)
        assert len(window) == len(set(window)) <= size
        assert all(FIRST_PORT <= port <= LAST_PORT for port in window)
