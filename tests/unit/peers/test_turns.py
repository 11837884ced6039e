"""Who waits for how long to begin a handshake, and who goes without."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.peers.entry.turns import PATIENCE, Begun, HandshakeTurns

OF_SOURCE, OF_ALL = "max_handshake_rate_per_source", "max_handshake_rate"


def begin_all(turns: HandshakeTurns[str], source: str, names: str, now: float = 0.0) -> list[Begun[str]]:
    return [turns.begin(source, name, now=now) for name in names]


def test_some_begin_at_once_and_some_wait_for_their_turns() -> None:
    turns = HandshakeTurns[str](rate=100, source_rate=4)
    assert [begun.delay for begun in begin_all(turns, "a", "12345")] == [0, 0, 0, 0, 0.25]


def test_the_newest_has_the_next_turn_and_who_had_it_the_last() -> None:
    turns = HandshakeTurns[str](rate=100, source_rate=4)
    assert begin_all(turns, "a", "123456")[-1] == Begun(0.25)
    assert [turns.left(name, now=0.1) for name in "1456"] == [0.0, 0.0, pytest.approx(0.4), pytest.approx(0.15)]
    assert turns.left("6", now=0.3) == 0.0


def test_the_newest_has_the_next_turn_of_its_source_where_too_many_wait() -> None:
    turns = HandshakeTurns[str](rate=100, source_rate=4)
    begin_all(turns, "a", "123456")
    assert begin_all(turns, "a", "78") == [Begun(0.25, "6", OF_SOURCE), Begun(0.25, "7", OF_SOURCE)]


def test_who_comes_after_a_flood_is_next() -> None:
    turns = HandshakeTurns[int](rate=1000, source_rate=500)
    for number in range(5000):
        assert turns.begin("a", number, now=number / 2500).delay is not None
    late = turns.begin("a", -1, now=2.0)
    assert late.delay is not None
    assert late.delay <= 1 / 500 + 1e-6


def test_nobody_loses_the_turn_of_one_that_has_ended() -> None:
    turns = HandshakeTurns[str](rate=100, source_rate=4)
    begin_all(turns, "a", "123456")
    turns.end("6")
    assert begin_all(turns, "a", "78") == [Begun(0.25), Begun(0.25, "7", OF_SOURCE)]


def test_a_turn_that_has_come_is_taken_from_nobody() -> None:
    turns = HandshakeTurns[str](rate=100, source_rate=4)
    begin_all(turns, "a", "123456")
    assert begin_all(turns, "a", "78", now=0.25) == [Begun(0.25), Begun(0.25, "7", OF_SOURCE)]


def test_where_all_wait_for_all_who_has_most_gives_a_turn_to_a_newcomer() -> None:
    turns = HandshakeTurns[str](rate=4, source_rate=4)
    assert [begun.delay for begun in begin_all(turns, "a", "123456")] == [0, 0, 0, 0, 0.25, 0.25]
    assert begin_all(turns, "b", "7") == [Begun(0.25, "6", OF_ALL)]
    assert begin_all(turns, "b", "8") == [Begun(0.25, "7", OF_ALL)]  # it has one itself now


def test_a_turn_stays_whose_loser_ends_only_later() -> None:
    turns = HandshakeTurns[str](rate=100, source_rate=4)
    begin_all(turns, "a", "1234567")  # 6 has lost its turn to 7
    turns.end("6")
    assert begin_all(turns, "a", "8") == [Begun(0.25, "7", OF_SOURCE)]


def test_who_asks_for_too_much_takes_no_turn_of_another_source() -> None:
    turns = HandshakeTurns[str](rate=3, source_rate=1)
    assert [turns.begin(name, name, now=0.0).delay for name in "abcd"] == [0, 0, 0, pytest.approx(1 / 3)]
    assert turns.begin("a", "again", now=0.0) == Begun(None, "again", OF_SOURCE)


def test_where_nobody_waits_who_asks_for_too_much_goes_without() -> None:
    turns = HandshakeTurns[str](rate=100, source_rate=1)
    assert begin_all(turns, "a", "12") == [Begun(0.0), Begun(None, "2", OF_SOURCE)]


@pytest.mark.parametrize(("rate", "source_rate"), [(8, 8), (1000, 4)], ids=["of all", "of each"])
@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 0.2), st.booleans()), max_size=120))
def test_no_more_begin_than_the_rates_allow_and_nobody_waits_for_long(
    rate: int, source_rate: int, steps: list[tuple[str, float, bool]]
) -> None:
    turns = HandshakeTurns[int](rate=rate, source_rate=source_rate)
    now, starts = 0.0, dict[int, tuple[str, float]]()
    for number, (source, gap, ends) in enumerate(steps):
        now += gap
        begun = turns.begin(source, number, now=now)
        if begun.refused is not None:
            starts.pop(begun.refused, None)
        if begun.delay is not None:
            assert 0 <= begun.delay <= PATIENCE + 1e-6
            starts[number] = source, now + begun.delay
        if ends:
            turns.end(number)
            starts.pop(number, None)
        for waiting, (of, _) in starts.items():
            if turns.left(waiting, now=now):
                starts[waiting] = of, now + turns.left(waiting, now=now)
    for each, most in (("abc", 8),) if rate == 8 else (("a", 4), ("b", 4), ("c", 4)):
        times = sorted(time for source, time in starts.values() if source in each)
        for earlier, later in zip(times, times[most:], strict=False):
            assert later - earlier >= 1 / most - 1e-6


def test_turns_that_have_come_are_forgotten() -> None:
    turns = HandshakeTurns[int](rate=1000, source_rate=1)
    for number in range(20_000):
        turns.begin(f"source {number // 2}", number, now=number / 100)
        turns.begin(f"source {number // 2}", -number, now=number / 100 + 0.6)
        assert len(turns) <= 1100
