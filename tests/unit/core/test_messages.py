"""Messages that arrived, alone and in runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats._core.messages import MessageRun, json_nests_deeper, make_message, make_run


def described(run: MessageRun) -> list[tuple[object, ...]]:
    return [(m.kind, m.name, m.payload, m.cost, m.request_id, m.timeout_ms) for m in run]


def test_a_run_gives_each_message_with_its_own_cost() -> None:
    run = make_run(1, "chat", [b"one", b"", b"three"], 70)
    assert described(run) == [
        (1, "chat", b"one", 73, 0, 0),
        (1, "chat", b"", 70, 0, 0),
        (1, "chat", b"three", 75, 0, 0),
    ]
    assert (len(run), run.cost, run.longest) == (3, 218, 5)
    assert [run.cost_of(count) for count in range(5)] == [0, 73, 143, 218, 218]
    assert repr(run) == "<MessageRun 'chat' of 3>"


@pytest.mark.parametrize("index", [-1, 3])
def test_a_message_that_is_not_there_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"message {index} of 3"):
        make_run(0, "", [b"1", b"2", b"3"], 64).message(index)


def test_a_run_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        make_run(0, "chat", [], 64)


def test_a_message_made_by_hand_is_no_request() -> None:
    message = make_message(2, "note", b"text", 99)
    assert (message.kind, message.name, message.payload, message.cost) == (2, "note", b"text", 99)
    assert (message.request_id, message.timeout_ms) == (0, 0)


@given(st.lists(st.text('[]{}"\\a1,', max_size=40), min_size=1, max_size=6), st.integers(0, 8))
def test_a_run_nests_as_deep_as_its_deepest_message(texts: list[str], limit: int) -> None:
    payloads = [text.encode() for text in texts]
    run = make_run(0, "x", payloads, 64)
    assert run.nests_deeper(limit) == any(json_nests_deeper(payload, limit) for payload in payloads)


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
