"""What may be shown on a terminal, and where it goes."""

from __future__ import annotations

import io
import json
import sys

import pytest

from librats.cli.output import LONGEST, Output, as_text, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("ünïcödé 漢字 🙂", "ünïcödé 漢字 🙂"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]52;c;c3RvbGVu\x1b\\after", "after"),
        ("\x1bPdevice\x1b\\after", "after"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1b(0box\x1bc", "box"),
        ("\x1b]0;never ended", "0;never ended"),
        ("\x1b\x1b[[31mnested", "[[31mnested"),
        ("a\nb\tc\rd", "a b c d"),
        ("bell\a back\b del\x7f nul\0", "bell back del nul"),
        ("right\u202eleft", "rightleft"),
        ("family 👩\u200d👧", "family 👩\u200d👧"),
        ("lone \ud800", "lone "),
    ],
)
def test_only_what_cannot_act_on_a_terminal_is_left(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_endless_text_is_cut() -> None:
    assert len(plain("x" * 10**6)) == LONGEST + 1


def test_text_full_of_begun_sequences_takes_no_more_than_a_moment() -> None:
    assert set(plain("\x1b]" * 10**6)) == {"…"}


def test_data_are_shown_as_json_and_bytes_by_their_number() -> None:
    assert as_text({"a": "é\n"}) == '{"a": "é\\n"}'
    assert as_text(b"12345") == "5 bytes"


def test_results_are_json_where_that_is_wanted_and_text_for_people_goes_aside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output(as_json=True)
    output.tell("text", event="x", value="é\x7f")
    output.emit(event="y")
    output.say("for people")
    shown = capsys.readouterr()
    assert [json.loads(line) for line in shown.out.splitlines()] == [{"event": "x", "value": "é\x7f"}, {"event": "y"}]
    assert shown.out.isascii()
    assert shown.err == "for people\n"


def test_results_are_text_where_json_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.tell("text", event="x")
    output.emit(event="y")
    output.say("for people")
    output.hint("a remark")
    assert capsys.readouterr() == ("text\nfor people\n", "a remark\n")


def test_a_standard_output_that_was_never_there_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    output = Output(as_json=False)
    output.tell("text")
    assert output.trouble == ""


def test_what_the_encoding_lacks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken, encoding="ascii"))
    Output(as_json=False).tell("é \ud800")
    assert taken.getvalue() == b"? ?\n"
