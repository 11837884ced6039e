"""The machines of a transfer against each other: whatever givers do, what is there in the end is what was offered."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties.exchange import Exchange, Line

from librats.transfer.tree import LEAF_SIZE

KIB, MIB = 1 << 10, 1 << 20


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{seed}/{size}").randbytes(size)  # noqa: S311 - nothing here is a secret


sizes = st.lists(
    st.sampled_from([0, 1, 100, LEAF_SIZE - 1, LEAF_SIZE, LEAF_SIZE + 1, 3 * LEAF_SIZE, 5 * LEAF_SIZE + 7]), max_size=12
)
faults = st.sampled_from(["none", "dies_after", "falls_silent_after", "spoils", "shortens"])
lines = st.lists(
    st.builds(
        lambda rate, latency, fault, when, backwards: Line(
            rate=rate,
            latency=latency,
            answers_backwards=backwards,
            **({} if fault == "none" else {fault: when}),
        ),
        st.sampled_from([1e5, 1e6, 1e8]),
        st.sampled_from([0.0, 0.001, 0.2]),
        faults,
        st.integers(1, 5),
        st.booleans(),
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(sizes=sizes, lines=lines, chunk=st.sampled_from([LEAF_SIZE, 3 * LEAF_SIZE, MIB]), data=st.data())
def test_whatever_the_givers_do_the_files_come_out_whole(
    sizes: list[int], lines: list[Line], chunk: int, data: st.DataObject
) -> None:
    contents = [content(size, number % 3) for number, size in enumerate(sizes)]
    leaves = [(n, leaf) for n, size in enumerate(sizes) for leaf in range(-(-size // LEAF_SIZE))]
    have = data.draw(st.lists(st.sampled_from(leaves), max_size=5)) if leaves else []
    exchange = Exchange(contents, [*lines, Line()], have=have, chunk=chunk, window=8 * chunk)
    assert exchange.run(), exchange.blamed
    exchange.check()
    assert exchange.most_ahead <= 8 * chunk + (len(lines) + 1) * chunk  # each may be asked for one more
    assert len(lines) not in dict(exchange.blamed)  # the honest one is blamed for nothing


def test_a_giver_whose_chunk_was_damaged_is_named_and_the_others_finish() -> None:
    exchange = Exchange([content(8 * MIB)], [Line(spoils=2), Line()])
    assert exchange.run()
    exchange.check()
    assert exchange.blamed == [(0, "bad_chunk")]


def test_a_giver_that_lies_about_a_length_is_named() -> None:
    exchange = Exchange([content(8 * MIB)], [Line(shortens=2), Line()])
    assert exchange.run()
    exchange.check()
    assert exchange.blamed == [(0, "protocol")]


def test_a_silent_giver_is_given_up_after_the_stall_time() -> None:
    exchange = Exchange([content(8 * MIB)], [Line(falls_silent_after=1)], stall=30.0)
    assert not exchange.run()
    assert exchange.blamed == [(0, "stalled")]
    assert 30.0 <= exchange.now < 31.0


def test_two_givers_share_the_work_by_their_speed() -> None:
    exchange = Exchange([content(32 * MIB)], [Line(rate=3e6), Line(rate=9e6)])
    assert exchange.run()
    exchange.check()
    slow, fast = (giver.machine.sent for giver in exchange.givers.values())
    assert 2 < fast / slow < 4
    # Alone, the faster one would have taken 3.7 s.
    assert exchange.now < 3.3


def test_the_end_does_not_wait_for_a_slow_giver() -> None:
    exchange = Exchange([content(16 * MIB)], [Line(rate=1e5), Line(rate=20e6)])
    assert exchange.run()
    exchange.check()
    assert exchange.now < 3  # a single chunk takes the slow one 10 s


def test_the_window_grows_until_a_long_line_is_full_and_no_further() -> None:
    contents = [content(48 * MIB)]
    distant = Exchange(contents, [Line(rate=25e6, latency=0.2)], window=32 * MIB)
    assert distant.run()
    assert distant.now < 1.6 * 48 * MIB / 25e6
    near = Exchange(contents, [Line(rate=25e6, latency=0.001)], window=32 * MIB)
    assert near.run()
    assert near.most_ahead < 10 * MIB < distant.most_ahead


def test_files_with_one_content_are_asked_for_once() -> None:
    same = content(3 * MIB)
    exchange = Exchange([same, b"other", same, same], [Line()])
    assert exchange.run()
    exchange.check()
    assert exchange.givers[0].machine.sent == 3 * MIB + 5


def test_many_small_files_make_few_chunks() -> None:
    exchange = Exchange([content(1000, number) for number in range(2500)], [Line()])
    assert exchange.run()
    exchange.check()
    assert exchange.givers[0].given <= 4
    assert exchange.now < 0.2


def test_a_limit_of_the_taker_holds() -> None:
    exchange = Exchange([content(8 * MIB)], [Line(rate=1e9)], limit=1e6)
    assert exchange.run()
    assert exchange.now == pytest.approx(8 * MIB / 1e6, rel=0.2)


def test_what_is_there_is_not_asked_for() -> None:
    exchange = Exchange([content(MIB)], [Line()], have=[(0, leaf) for leaf in range(16) if leaf != 5])
    assert exchange.run()
    exchange.check()
    assert exchange.givers[0].machine.sent == LEAF_SIZE
