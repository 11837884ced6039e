from __future__ import annotations

import pytest

from librats import UsageError
from librats.stun.transaction import Retransmission, Transaction


def play(pace: Retransmission, start: float = 0.0) -> tuple[list[float], float]:
    """Return when a request is sent, and when it is given up."""
    transaction = Transaction(pace, now=start)
    times: list[float] = []
    now = start
    while not transaction.is_over(now):
        if transaction.is_due(now):
            times.append(now)
        now = transaction.next_timer
    return times, now


def test_the_default_is_that_of_the_standard() -> None:
    # RFC 8489, 6.2.1: "requests are sent at times 0 ms, 500 ms, 1500 ms, 3500 ms, 7500 ms, 15500 ms, and 31500 ms", and
    # without a response "after 39500 ms" the transaction has timed out.
    assert play(Retransmission()) == ([0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5], 39.5)
    assert (Retransmission().sending_times, Retransmission().duration) == ((0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5), 39.5)


def test_the_values_can_be_chosen() -> None:
    assert play(Retransmission(rto=1.0, rc=3, rm=2), 10.0) == ([10, 11, 13], 15)


def test_a_loop_that_was_held_up_does_not_send_twice_in_a_row() -> None:
    transaction = Transaction(Retransmission(), now=0.0)
    assert transaction.is_due(0.0)
    assert transaction.is_due(20.0)
    assert not transaction.is_due(20.5)
    assert transaction.next_timer == 21.0


def test_the_round_trip_is_told_only_where_the_answer_can_belong_to_one_request() -> None:
    transaction = Transaction(Retransmission(), now=5.0)
    assert transaction.is_due(5.0)
    assert transaction.rtt(5.25) == 0.25
    assert transaction.is_due(5.5)
    assert transaction.rtt(5.6) is None


@pytest.mark.parametrize("values", [{"rto": 0}, {"rc": 0}, {"rm": 0}, {"rto": -1}])
def test_values_that_make_no_sense_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Retransmission(**values)
