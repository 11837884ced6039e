"""Codes as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.codes.code import MAX_PLACE, Code
from librats.codes.words import WORDS
from librats.errors import UsageError


def differ_by_one(one: str, other: str) -> bool:
    """Tell whether one letter makes the difference, left out, put in, or another one; slow and obvious."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    variants = {one[:at] + letter + one[at + 1 :] for at in range(len(one)) for letter in alphabet}
    variants |= {one[:at] + one[at + 1 :] for at in range(len(one))}
    variants |= {one[:at] + letter + one[at:] for at in range(len(one) + 1) for letter in alphabet}
    return other in variants


def test_there_are_1024_short_words() -> None:
    assert len(set(WORDS)) == len(WORDS) == 1024
    assert list(WORDS) == sorted(WORDS)
    assert all(3 <= len(word) <= 7 and word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_no_two_words_differ_by_one_letter() -> None:
    known = set(WORDS)
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    for word in WORDS:
        near = {word[:at] + letter + word[at + 1 :] for at in range(len(word)) for letter in alphabet}
        near |= {word[:at] + word[at + 1 :] for at in range(len(word))}
        assert near & known == {word}


@given(
    st.integers(1, MAX_PLACE), st.sampled_from(WORDS), st.sampled_from(WORDS), st.sampled_from(["-", " ", "--", " - "])
)
def test_a_code_is_read_as_it_was_written(place: int, one: str, other: str, between: str) -> None:
    code = Code(place, (one, other))
    assert Code.parse(str(code)) == code
    assert Code.parse(f" {place}{between}{one.upper()}{between}{other.title()}\n") == code
    assert Code.is_one(str(code))


@pytest.mark.parametrize(
    "text", ["", "7", "7-acorn", "acorn-tiger", "7-acorn-tiger-owl", "0-acorn-tiger", "7-acorn-x1"]
)
def test_what_is_no_code_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        Code.parse(text)


def test_a_ticket_and_an_address_do_not_look_like_a_code() -> None:
    assert not any(
        map(Code.is_one, ["rats1aeqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "192.0.2.7:8080", "example.org:1", "a" * 64])
    )


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        code = Code.parse(text)
    except UsageError:
        return
    assert Code.parse(str(code)) == code


@pytest.mark.parametrize("typed", ["acorm", "acrn", "acornn", "acor"])
def test_a_word_with_one_letter_wrong_is_guessed(typed: str) -> None:
    assert differ_by_one(typed, "acorn")
    with pytest.raises(UsageError, match="'acorn'"):
        Code.parse(f"7-{typed}-tiger")


def test_both_words_are_drawn_from_all() -> None:
    assert str(Code.new(5, lambda below: below - 1)) == f"5-{WORDS[-1]}-{WORDS[-1]}"
