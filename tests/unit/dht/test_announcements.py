"""When what is announced: at once, again, not too much at a time, and no more once it is forgotten."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.dht.announcements import INTERVAL, RETRY, Announcements
from librats.errors import UsageError


def key(number: int) -> bytes:
    return number.to_bytes(20)


def test_a_hash_is_announced_at_once_and_again_after_the_interval() -> None:
    one = Announcements()
    assert one.next_timer() is None
    assert one.want(key(1), now=10.0)
    assert one.next_timer() == 10.0
    assert one.due(now=10.0) == [key(1)]
    one.done(key(1), now=11.0, worked=True)
    assert one.due(now=11.0 + INTERVAL - 1) == []
    assert one.next_timer() == 11.0 + INTERVAL
    assert one.due(now=11.0 + INTERVAL) == [key(1)]


def test_what_nobody_has_taken_is_tried_again_after_longer_pauses() -> None:
    one = Announcements()
    one.want(key(1), now=0.0)
    now, pauses = 0.0, []
    for _ in range(10):
        assert one.due(now=now) == [key(1)]
        one.done(key(1), now=now, worked=False)
        due = one.next_timer()
        assert due is not None
        pauses.append(due - now)
        now = due
    assert pauses == [*(RETRY * 2**number for number in range(8)), INTERVAL, INTERVAL]
    assert one.counters["failed"] == 10


def test_so_many_are_under_way_and_so_many_begin_in_a_second() -> None:
    one = Announcements(at_once=2, per_second=10.0)
    for number in range(5):
        one.want(key(number), now=0.0)
    assert one.due(now=0.0) == [key(0)]
    assert one.due(now=0.05) == []
    assert one.due(now=0.1) == [key(1)]
    assert one.due(now=1.0) == []
    assert one.next_timer() is None
    one.done(key(0), now=1.0, worked=True)
    assert one.due(now=1.0) == [key(2)]


def test_what_is_forgotten_is_announced_no_more_and_makes_room() -> None:
    one = Announcements(most=1, at_once=1)
    assert one.want(key(1), now=0.0)
    assert one.want(key(1), now=0.0)
    assert not one.want(key(2), now=0.0)
    assert one.counters["refused"] == 1
    assert one.due(now=0.0) == [key(1)]
    one.forget(key(1))
    one.forget(key(1))
    one.done(key(1), now=1.0, worked=True)
    assert one.counters["announced"] == 0
    assert one.want(key(2), now=1.0)
    assert one.due(now=1.0) == [key(2)]


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError):
        Announcements(most=0)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["want", "forget", "due", "worked", "failed"]), st.integers(0, 5), st.floats(0, 100))
    )
)
def test_no_more_is_under_way_than_may_be_and_nothing_is_lost(steps: list[tuple[str, int, float]]) -> None:
    one = Announcements(most=4, at_once=2, per_second=1.0)
    now, under_way, begun = 0.0, set(), []
    for what, number, seconds in steps:
        now += seconds
        if what == "want":
            one.want(key(number), now=now)
        elif what == "forget":
            one.forget(key(number))
            under_way.discard(key(number))
        elif what == "due":
            found = one.due(now=now)
            assert not under_way & set(found)
            under_way |= set(found)
            begun += [now] * len(found)
        else:
            one.done(key(number), now=now, worked=what == "worked")
            under_way.discard(key(number))
        assert len(under_way) <= 2
        assert len(one) <= 4
    for key_ in under_way:
        one.done(key_, now=now, worked=True)
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(begun))
    due = one.next_timer()
    assert (due is None) == (len(one) == 0)
