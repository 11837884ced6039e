"""Whatever a file says of NATs, what follows from it stays within bounds, and what is kept is read again."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from librats.peers.keeping.known_mappings import MAX_NETWORKS, KnownMappings
from librats.stun.mapping_habits import LEAST_INTERVAL, LONGEST_KEPT, MappingHabits

NOW = 1_000_000.0
MARKS = st.integers(0, MAX_NETWORKS + 2).map(lambda number: f"{number:032x}")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SECONDS = st.floats(0.0, 2 * LONGEST_KEPT) | ANYTHING
STAMPS = st.floats(NOW - 10.0, NOW) | ANYTHING
ENTRIES = st.fixed_dictionaries(
    {},
    optional={"outlived": SECONDS, "lost": SECONDS, "life": SECONDS, "silence_at": STAMPS, "use_at": STAMPS}
    | {"more": ANYTHING},
)
FORMS = ANYTHING | st.dictionaries(MARKS | st.text(max_size=40), ENTRIES | ANYTHING, max_size=MAX_NETWORKS + 4)


def restored(form: object) -> KnownMappings:
    known = KnownMappings(clock=lambda: NOW)
    known.restore(form, re.compile(r"[0-9a-f]{32}").fullmatch)
    return known


@given(FORMS)
def test_no_file_makes_keep_alives_leave_their_bounds(form: object) -> None:
    known = restored(form)
    assert len(known.to_json()) <= MAX_NETWORKS
    for mark in known.to_json():
        times = known.get(mark)
        assert LEAST_INTERVAL <= MappingHabits(times).interval(10.0, most=20.0) <= 20.0
        assert times.life is None or 5.0 <= times.life <= LONGEST_KEPT
        assert times.outlived is None or times.lost is None or times.outlived < times.lost


@given(FORMS)
def test_what_is_kept_is_read_again_as_it_was(form: object) -> None:
    once = restored(form)
    again = restored(once.to_json())
    assert [once.get(mark) for mark in once.to_json()] == [again.get(mark) for mark in again.to_json()]


@given(st.lists(st.floats(0.0, 1000.0) | st.tuples(st.floats(0.0, 120.0), st.none() | st.floats(5.0, 200.0))))
def test_whatever_is_learnt_intervals_stay_within_bounds(happenings: list[float | tuple[float, float | None]]) -> None:
    habits = MappingHabits()
    for one in happenings:
        if isinstance(one, tuple):
            habits.measured(outlived=one[0], lost=one[1])
        else:
            habits.silence_ended(one)
            assert habits.interval(10.0, most=20.0) <= max(one, LEAST_INTERVAL)
        assert LEAST_INTERVAL <= habits.interval(10.0, most=20.0) <= 20.0
