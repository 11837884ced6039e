"""What is known of NATs decides how often something is sent for them, and what is measured counts at once."""

from __future__ import annotations

from librats.stun.mapping_habits import LEAST_INTERVAL, LONGEST_KEPT, SHORTEST_KEPT, MappingHabits, MappingTimes


class Keeper:
    def __init__(self) -> None:
        self.intervals: list[float] = []

    def adjust(self, habits: MappingHabits) -> None:
        self.intervals.append(habits.interval(10.0, most=20.0))


def test_while_nothing_is_known_the_usual_holds() -> None:
    assert MappingHabits().interval(10.0, most=20.0) == 10.0


def test_a_generous_nat_is_sent_to_less_often_up_to_the_most() -> None:
    habits = MappingHabits(MappingTimes(outlived=18.0))
    assert habits.interval(10.0, most=20.0) == 18.0 * 0.8
    habits.measured(outlived=120.0, lost=None)
    assert habits.interval(10.0, most=20.0) == 20.0


def test_a_short_silence_outlived_alone_is_no_reason_to_send_more() -> None:
    assert MappingHabits(MappingTimes(outlived=5.0)).interval(10.0, most=20.0) == 10.0


def test_a_strict_nat_is_sent_to_before_it_forgets() -> None:
    habits = MappingHabits(MappingTimes(outlived=5.0, lost=10.0))
    assert habits.interval(10.0, most=20.0) == 6.0
    assert habits.interval(10.0, most=4.0) == 4.0


def test_a_measured_death_counts_at_once_whatever_was_known() -> None:
    habits = MappingHabits(MappingTimes(outlived=120.0))
    learnt: list[MappingTimes] = []
    habits.changed = lambda: learnt.append(habits.times)
    habits.silence_ended(12.0)
    assert habits.interval(10.0, most=20.0) < 12.0
    assert learnt == [MappingTimes(outlived=6.0, lost=12.0)]
    assert habits.is_doubted


def test_deaths_alone_never_make_it_send_all_the_time() -> None:
    habits = MappingHabits()
    for _ in range(50):
        habits.silence_ended(habits.interval(10.0, most=20.0))
    assert habits.interval(10.0, most=20.0) >= LEAST_INTERVAL
    assert habits.times.lost == SHORTEST_KEPT


def test_a_measurement_takes_the_place_of_what_deaths_have_told() -> None:
    habits = MappingHabits()
    habits.silence_ended(12.0)
    habits.measured(outlived=60.0, lost=120.0)
    assert habits.times == MappingTimes(outlived=60.0, lost=120.0)
    assert not habits.is_doubted


def test_a_measurement_that_found_nothing_changes_nothing() -> None:
    habits = MappingHabits()
    habits.silence_ended(12.0)
    habits.measured(outlived=None, lost=None)
    assert habits.times.lost == 12.0
    assert habits.is_doubted


def test_where_a_way_has_died_no_more_than_the_usual_silence_is_trusted() -> None:
    habits = MappingHabits(MappingTimes(outlived=120.0))
    habits.doubt()
    assert habits.interval(10.0, most=20.0) == 10.0
    strict = MappingHabits(MappingTimes(outlived=5.0, lost=10.0))
    strict.doubt()
    assert strict.interval(10.0, most=20.0) == 6.0


def test_a_life_is_kept_within_bounds_and_may_be_no_habit_after_all() -> None:
    habits = MappingHabits()
    habits.use_ended(10**6)
    assert habits.times.life == LONGEST_KEPT
    habits.use_ended(None)
    assert habits.times.life is None


def test_who_keeps_mappings_is_adjusted_now_and_whenever_something_is_learnt() -> None:
    habits, keeper = MappingHabits(), Keeper()
    habits.keep(keeper)
    habits.measured(outlived=120.0, lost=None)
    habits.restore(MappingTimes(lost=10.0))
    assert keeper.intervals == [10.0, 20.0, 6.0]


def test_going_on_in_another_network_tells_of_nothing_learnt() -> None:
    habits = MappingHabits()
    habits.changed = lambda: (_ for _ in ()).throw(AssertionError("nothing was learnt"))
    habits.restore(MappingTimes(outlived=60.0))
    assert habits.times.outlived == 60.0
