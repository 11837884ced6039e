from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats import Address
from librats.errors import DecodeError
from librats.ice.messages import Credentials
from librats.punch.descriptions import (
    MAX_ADDRESSES,
    MAX_PORTS,
    PunchDescription,
    PunchEnd,
    PunchGo,
    read_punch_message,
)
from librats.punch.plans import NatFacts

WHOLE = PunchDescription(
    round=2,
    credentials=Credentials("evtj", "VOkJxbRl1RmTxUk/WvJxBt"),
    nat=NatFacts(step=3),
    public=(Address("192.0.2.7", 8998), Address("2001:db8::7", 8998)),
    hosts=(Address("10.0.0.7", 5000),),
    tcp=(Address("192.0.2.7", 80),),
    ports=(40000, 40003),
    held=0.25,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("message", [WHOLE, PunchGo(round=1, ports=(7,)), PunchEnd(reason="no-answer")])
def test_messages_come_back_from_json(message: Any) -> None:
    assert read_punch_message(json.loads(json.dumps(message.to_json()))) == message


def test_what_is_not_known_is_skipped() -> None:
    assert read_punch_message({**WHOLE.to_json(), "later": [1, 2]}) == WHOLE


def test_the_password_is_not_shown() -> None:
    assert WHOLE.credentials.password not in repr(WHOLE)


def test_a_long_reason_is_cut() -> None:
    assert read_punch_message({"v": 1, "end": "x" * 1000}) == PunchEnd(reason="x" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": None},
        {"round": 0},
        {"round": True},
        {"round": 1001},
        {"round": "1"},
        {"ufrag": "abc"},
        {"ufrag": 7},
        {"pwd": "short"},
        {"pwd": "a" * 65},
        {"nat": None},
        {"public": None},
        {"public": ["example.org:80"]},
        {"public": ["192.0.2.7:0"]},
        {"public": ["192.0.2.7:65536"]},
        {"public": [7]},
        {"public": ["1" * 65]},
        {"hosts": ["192.0.2.7:80"] * (MAX_ADDRESSES + 1)},
        {"tcp": "192.0.2.7:80"},
        {"ports": [0]},
        {"ports": [True]},
        {"ports": [1] * (MAX_PORTS + 1)},
        {"held": -1},
        {"held": float("nan")},
        {"held": 1e9},
        {"held": True},
        {"held": "1"},
        {"go": 0},
    ],
)
def test_what_is_not_right_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        read_punch_message({**WHOLE.to_json(), **change})


@given(anything, st.sampled_from(sorted(WHOLE.to_json())))
def test_hostile_values_raise_only_what_is_documented(value: Any, name: str) -> None:
    for told in (value, {**WHOLE.to_json(), name: value}, {"v": 1, "go": value}, {"v": 1, "end": value}):
        with contextlib.suppress(DecodeError):
            read_punch_message(told)
