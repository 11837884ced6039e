"""Messages that arrived, alone and in runs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.runs import run_of

from librats._core.messages import MessageRun, json_nests_deeper, make_message


def described(run: MessageRun) -> list[tuple[object, ...]]:
    return [(m.kind, m.name, m.payload, m.cost, m.request_id, m.timeout_ms) for m in run]


def test_a_run_gives_each_message_with_its_own_cost() -> None:
    run = run_of(1, "chat", [b"one", b"", b"three"])
    assert described(run) == [
        (1, "chat", b"one", 72, 0, 0),
        (1, "chat", b"", 69, 0, 0),
        (1, "chat", b"three", 74, 0, 0),
    ]
    assert (len(run), run.cost) == (3, 215)
    assert repr(run) == "<MessageRun 'chat' of 3>"


def test_a_run_tells_of_any_part_what_it_holds_and_costs() -> None:
    run = run_of(1, "chat", [b"one", b"", b"three"])
    assert [run.cost_of(0, count) for count in range(5)] == [0, 72, 141, 215, 215]
    assert [run.cost_of(first, 2) for first in range(4)] == [141, 143, 74, 0]
    assert [run.payloads(first, 2) for first in range(4)] == [[b"one", b""], [b"", b"three"], [b"three"], []]


def test_texts_are_put_together_where_none_of_them_is_over_a_limit() -> None:
    run = run_of(0, "x", [b"[[1]]", b"[]", b"12345678"])
    assert run.json_array(0, 3, 8, 2) == b"[[[1]],[],12345678]"
    assert run.json_array(0, 3, 7, 2) is run.json_array(0, 3, 8, 1) is None
    assert run.json_array(1, 2, 8, 1) == run.json_array(1, 9, 8, 1) == b"[[],12345678]"
    assert run.json_array(0, 2, 7, 2) == b"[[[1]],[]]"
    assert run.json_array(3, 1, 8, 2) is run.json_array(0, 0, 8, 2) is run.json_array(-1, 2, 8, 2) is None


@pytest.mark.parametrize("kind", [1, 2])
def test_only_json_is_put_together(kind: int) -> None:
    assert run_of(kind, "x", [b"1"]).json_array(0, 1, 8, 2) is None


def test_a_packed_run_gives_each_message_and_what_any_part_costs() -> None:
    run = run_of(0, "chat", [b"one", b"", b"three"])
    assert described(run) == [
        (0, "chat", b"one", 72, 0, 0),
        (0, "chat", b"", 69, 0, 0),
        (0, "chat", b"three", 74, 0, 0),
    ]
    assert [run.cost_of(0, count) for count in range(5)] == [0, 72, 141, 215, 215]
    assert [run.cost_of(first, 2) for first in range(4)] == [141, 143, 74, 0]
    assert [run.payloads(first, 2) for first in range(4)] == [[b"one", b""], [b"", b"three"], [b"three"], []]


PIECES = st.lists(
    st.sampled_from(["{", "}", "[", "]", '"', "\\", '\\"', ",", ":", "1", "{}", '"a":', "[1]", "a" * 20]), max_size=12
).map("".join)
"""Texts some of which only make sense together."""


@given(st.lists(PIECES | st.just('{"text":"what is said most often"}'), min_size=1, max_size=5))
def test_an_array_of_as_many_elements_has_each_message_in_its_place(messages: list[str]) -> None:
    payloads = [message.encode() for message in messages]
    array = run_of(0, "x", payloads).json_array(0, len(payloads), 1000, 100)
    try:
        values = msgspec.json.decode(array) if array is not None else []
    except msgspec.DecodeError:
        return
    if len(values) == len(payloads):
        assert values == [msgspec.json.decode(payload) for payload in payloads]


@pytest.mark.parametrize(
    "messages", [["[1", "2]", "3,4"], ['"a', 'b"', "1,2"], ['{"a":[{}', "{}]}", "{},{}"], ['{"a":"}', '{"}', "{},{}"]]
)
def test_messages_that_complete_each_other_are_not_put_together(messages: list[str]) -> None:
    array = ",".join(messages)
    assert len(msgspec.json.decode(f"[{array}]")) == len(messages)
    assert run_of(0, "x", [message.encode() for message in messages]).json_array(0, 9, 1000, 100) is None


@pytest.mark.parametrize("size", range(40))
def test_a_flat_object_of_any_length_is_closed(size: int) -> None:
    text = b'{"k":"' + b"v" * size + b'"}'
    assert run_of(0, "x", [text]).json_array(0, 1, 100, 1) == b"[" + text + b"]"
    for place in range(1, len(text) - 1):
        for mark in b'{"[}]\\':
            damaged = bytearray(text)
            damaged[place] = mark
            array = run_of(0, "x", [bytes(damaged)]).json_array(0, 1, 100, 1)
            assert (array is not None) == is_closed(damaged.decode())


def is_closed(text: str) -> bool:
    """Whether a text ends outside strings, at the depth at which it begins, never deeper than 1."""
    depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        else:
            depth += (character in "[{") - (character in "]}")
            if depth > 1:
                return False
    return depth == 0 and not in_string


@pytest.mark.parametrize("index", [-1, 3])
def test_a_message_that_is_not_there_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"message {index} of 3"):
        run_of(0, "", [b"1", b"2", b"3"]).message(index)


def test_a_message_made_by_hand_is_no_request() -> None:
    message = make_message(2, "note", b"text", 99)
    assert (message.kind, message.name, message.payload, message.cost) == (2, "note", b"text", 99)
    assert (message.request_id, message.timeout_ms) == (0, 0)


@given(st.lists(st.text('[]{}"\\a1,', max_size=40), min_size=1, max_size=6), st.integers(0, 8))
def test_no_message_that_nests_too_deep_is_put_together_with_others(messages: list[str], limit: int) -> None:
    payloads = [message.encode() for message in messages]
    if any(json_nests_deeper(payload, limit) for payload in payloads):
        assert run_of(0, "x", payloads).json_array(0, 6, 160, limit) is None


def depth_of(text: str) -> int:
    """The deepest nesting of brackets outside strings, counted one character at a time."""
    deepest = depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


@given(st.text('[]{}"\\ab', max_size=80), st.integers(0, 10))
def test_nesting_is_measured_as_by_hand(text: str, limit: int) -> None:
    assert json_nests_deeper(text.encode(), limit) == (depth_of(text) > limit)


@given(st.integers(0, 1000), st.integers(0, 600))
def test_brackets_far_into_a_text_are_counted_too(before: int, depth: int) -> None:
    text = b" " * before + b"[" * depth
    assert json_nests_deeper(text, depth - 1) == (depth > 0)
    assert not json_nests_deeper(text, depth)
