from __future__ import annotations

import json
from typing import Any

import pytest

from librats.errors import DecodeError
from librats.ice.candidate_text import parse_candidate
from librats.ice.descriptions import MAX_CANDIDATES, OPTIONS, IceDescription, new_credentials
from librats.testing.entropy import SeededEntropy

LINE = "candidate:1 1 udp 2130706431 192.0.2.7 8998 typ host"
WHOLE = IceDescription(
    ufrag="evtj",
    password="VOkJxbRl1RmTxUk/WvJxBt",
    candidates=(parse_candidate(LINE),),
    complete=True,
    options=OPTIONS,
)


def test_it_comes_back_from_json() -> None:
    assert IceDescription.from_json(json.loads(json.dumps(WHOLE.to_json()))) == WHOLE


def test_it_comes_back_from_attributes() -> None:
    assert IceDescription.from_attributes(WHOLE.to_attributes()) == WHOLE
    lines = ["a=mid:0", *(f"a={line}" for line in WHOLE.to_attributes()), "a=rtpmap:0 PCMU/8000"]
    assert IceDescription.from_attributes(lines) == WHOLE


def test_candidates_may_be_dictionaries_as_well() -> None:
    value = {**WHOLE.to_json(), "candidates": [WHOLE.candidates[0].to_json()]}
    assert IceDescription.from_json(value) == WHOLE


def test_unknown_types_and_transports_are_left_out() -> None:
    others = [LINE.replace("host", "magic"), LINE.replace("udp", "sctp")]
    assert IceDescription.from_json({**WHOLE.to_json(), "candidates": [*others, LINE]}) == WHOLE


def test_the_password_is_not_shown() -> None:
    assert WHOLE.password not in repr(WHOLE)


@pytest.mark.parametrize(
    "change",
    [
        {"ufrag": None},
        {"ufrag": "abc"},
        {"ufrag": "a" * 257},
        {"ufrag": "ab:d"},
        {"pwd": "short"},
        {"pwd": 7},
        {"candidates": None},
        {"candidates": [LINE] * (MAX_CANDIDATES + 1)},
        {"candidates": [LINE.replace("host", "magic").replace("8998", "x")]},
        {"options": "trickle"},
        {"options": ["a"] * 17},
        {"options": [7]},
        {"end_of_candidates": 1},
    ],
)
def test_what_is_not_of_the_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        IceDescription.from_json({**WHOLE.to_json(), **change})


@pytest.mark.parametrize("value", [None, 7, "text", [WHOLE.to_json()]])
def test_what_is_no_dictionary_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        IceDescription.from_json(value)


@pytest.mark.parametrize("lines", [["x"] * 257, [7], ["ice-ufrag:evtj"], [*WHOLE.to_attributes(), *[LINE] * 64]])
def test_attributes_that_are_no_description_are_refused(lines: list[Any]) -> None:
    with pytest.raises(DecodeError):
        IceDescription.from_attributes(lines)


def test_credentials_are_long_enough_and_drawn_anew() -> None:
    entropy = SeededEntropy(1)
    drawn = [new_credentials(entropy) for _ in range(100)]
    assert len(set(drawn)) == 100
    for ufrag, password in drawn:
        assert len(ufrag) * 6 >= 24
        assert len(password) * 6 >= 128
        IceDescription.from_json({"ufrag": ufrag, "pwd": password})
