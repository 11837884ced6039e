"""Requests between two machines: answers, refusals, deadlines, cancellations, and how many there may be."""

from __future__ import annotations

import pytest
from tests.unit.session.joined import Pair, errors_of
from tests.unit.session.test_messages import SMALL_WINDOW, request

from librats.config import MIN_MESSAGE_WINDOW, SessionConfig
from librats.errors import UsageError
from librats.session.events import (
    Message,
    ReplyReceived,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
)
from librats.session.frames import Kind, Reason


def test_replies_have_no_place_in_the_order() -> None:
    pair = Pair()
    pair.b.session.send_request((Kind.JSON, b"1"), b"ask", timeout=None, now=0.0)
    pair.b.session.send_request((Kind.JSON, b"1"), b"ask", timeout=None, now=0.0)
    pair.settle()
    first, second = pair.a.messages()
    pair.a.session.send_reply(first.request_id, (Kind.JSON, b"2"))
    pair.a.session.send_error(second.request_id, "no", "no")
    assert (pair.a.session.messages_in_order, pair.a.session.messages_sent) == (0, 2)
    assert pair.b.session.messages_in_order == 2


def test_a_refused_request_tells_code_and_words() -> None:
    pair = Pair()
    number = request(pair)
    pair.settle()
    pair.b.session.send_error(number, Reason.NO_HANDLER, "no handler for 'ask' \udc80")
    pair.settle()
    assert pair.a.of(RequestFailed) == [RequestFailed(number, "no_handler", "no handler for 'ask' ?")]
    assert pair.a.session.requests.count == pair.b.session.requests.count == 0


def test_codes_and_words_are_cut_to_what_a_frame_may_carry() -> None:
    pair = Pair()
    number = request(pair)
    pair.settle()
    pair.b.session.send_error(number, "c" * 40, "w" * 100_000)
    pair.settle()
    assert pair.a.of(RequestFailed) == [RequestFailed(number, "c" * 32, "w" * 1024)]


def test_a_request_is_answered_once() -> None:
    pair = Pair()
    number = request(pair)
    pair.settle()
    pair.b.session.send_reply(number, (Kind.JSON, b"1"))
    pair.b.session.send_reply(number, (Kind.JSON, b"2"))
    pair.b.session.send_error(number, "x", "y")
    pair.settle()
    assert [reply.payload for reply in pair.a.of(ReplyReceived)] == [b"1"]
    assert pair.a.of(RequestFailed) == []


def test_an_expired_request_is_told_on_both_sides_and_its_late_answer_dropped() -> None:
    pair = Pair()
    late, timely = request(pair, timeout=5.0), request(pair, timeout=50.0)
    pair.settle()
    assert pair.a.session.requests.next_deadline() == pair.now + 5.0
    pair.b.session.send_reply(late, (Kind.JSON, b"late"))
    pair.now += 5.0
    pair.a.session.handle_timer(now=pair.now)
    pair.settle()
    assert pair.a.of(RequestExpired) == [RequestExpired(late)]
    assert pair.b.of(RequestCancelled) == []  # it had answered before it heard
    assert pair.a.of(ReplyReceived) == []
    pair.now += 45.0
    pair.a.session.requests.expire(pair.now)
    pair.settle()
    assert pair.a.of(RequestExpired)[1:] == [RequestExpired(timely)]
    assert pair.b.of(RequestCancelled) == [RequestCancelled(timely)]
    assert not pair.b.session.requests.is_wanted(timely)
    pair.b.session.send_reply(timely, (Kind.JSON, b"no"))
    pair.settle()
    assert pair.a.of(ReplyReceived) == []
    assert pair.a.session.requests.count == pair.b.session.requests.count == 0
    assert pair.a.session.requests.next_deadline() == float("inf")


def test_a_cancelled_request_is_told_to_the_peer() -> None:
    pair = Pair()
    number = request(pair)
    pair.settle()
    pair.a.session.requests.cancel(number)
    pair.a.session.requests.cancel(number)
    pair.settle()
    assert pair.b.of(RequestCancelled) == [RequestCancelled(number)]


def test_a_request_cancelled_before_it_left_is_cancelled_behind_its_arrival() -> None:
    pair = Pair()
    number = request(pair)
    pair.a.session.requests.cancel(number)
    pair.settle()
    kinds = [type(event) for event in pair.b.events]
    assert kinds == [Message, RequestCancelled]
    assert not pair.b.session.requests.is_wanted(number)


def test_a_request_cancelled_while_the_window_holds_it_is_cancelled_when_it_comes() -> None:
    pair = Pair(SMALL_WINDOW)
    pair.a.session.send_message(Kind.BYTES, b"first", bytes(100_000))
    number = request(pair, bytes(60_000))
    pair.settle()
    pair.a.session.requests.cancel(number)
    pair.settle()
    (first,) = pair.b.messages()
    assert pair.b.of(RequestCancelled) == []
    pair.b.session.consumed(first.cost)
    pair.settle()
    assert [message.request_id for message in pair.b.messages()] == [0, number]
    assert pair.b.of(RequestCancelled) == [RequestCancelled(number)]


@pytest.mark.parametrize(
    ("timeout", "milliseconds"),
    [(None, 0), (0.0, 1), (-5.0, 1), (0.0001, 1), (0.0126, 13), (1e9, 2**32 - 1), (float("inf"), 2**32 - 1)],
)
def test_any_timeout_has_a_form_on_the_wire(timeout: float | None, milliseconds: int) -> None:
    pair = Pair()
    request(pair, timeout=timeout)
    pair.settle()
    assert [message.timeout_ms for message in pair.b.messages()] == [milliseconds]


def test_too_many_requests_are_refused_on_this_side() -> None:
    pair = Pair(SessionConfig(max_requests=3))
    for _ in range(3):
        request(pair)
    with pytest.raises(UsageError, match="max_requests"):
        request(pair)
    pair.settle()
    pair.b.session.send_reply(1, (Kind.JSON, b"1"))
    pair.settle()
    assert request(pair) == 4


def test_too_many_requests_are_refused_by_the_other_side_and_cost_no_window() -> None:
    pair = Pair(
        SessionConfig(message_window=MIN_MESSAGE_WINDOW),
        SessionConfig(max_requests=2, message_window=MIN_MESSAGE_WINDOW),
    )
    for _ in range(40):
        request(pair, bytes(20_000))
    wanted = []
    while pair.move(forward=True) + pair.move(forward=False):
        for event in pair.b.collect():
            assert isinstance(event, Message)
            # What was refused comes in its place among the others, and the driver drops it there.
            if pair.b.session.requests.is_wanted(event.request_id):
                wanted.append(event)
            else:
                pair.b.session.consumed(event.cost)
    assert [failure.code for failure in pair.a.of(RequestFailed)] == ["limit"] * 38
    assert len(wanted) == 2
    assert errors_of(pair.a, pair.b) == []


def test_numbers_go_round_and_pass_over_those_under_way() -> None:
    pair = Pair()
    assert request(pair) == 1
    pair.a.session.requests._last_number = 2**32 - 2
    assert [request(pair), request(pair)] == [2**32 - 1, 2]
    pair.settle()
    assert [message.request_id for message in pair.b.messages()] == [1, 2**32 - 1, 2]


def test_a_number_is_not_used_again_before_its_cancellation_has_left() -> None:
    pair = Pair()
    pair.a.session.requests.cancel(request(pair))
    pair.a.session.requests._last_number = 2**32 - 1
    assert request(pair) == 2
    pair.settle()
    pair.a.session.requests._last_number = 2**32 - 1
    assert request(pair) == 1


def test_answered_requests_leave_no_deadlines_behind() -> None:
    pair = Pair()
    for _ in range(50):
        numbers = [request(pair, timeout=3600.0) for _ in range(100)]
        pair.settle()
        for number in numbers:
            pair.b.session.send_reply(number, (Kind.JSON, b""))
        for message in pair.b.messages():
            pair.b.session.consumed(message.cost)
        pair.b.events.clear()
        pair.settle()
    assert pair.a.session.requests.count == 0
    assert pair.a.session.requests.deadlines_kept < 1500


def test_a_request_that_cannot_be_packed_leaves_nothing_behind() -> None:
    pair = Pair()
    with pytest.raises(BufferError):
        pair.a.session.send_request((Kind.BYTES, memoryview(b"abcd")[::2]), b"ask", timeout=1.0, now=pair.now)
    assert pair.a.session.requests.count == 0
    assert pair.a.session.is_idle
