"""Whatever name is taken stays below the folder, by the rules of Posix and of Windows; what looks the same collides."""

# ruff: noqa: RUF001 - characters that look like others are what this is about

from __future__ import annotations

import ntpath
import posixpath
import sys
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from librats.errors import TransferError
from librats.transfer.names import NameSet, read_path, write_path

NASTY = [
    *(
        "..",
        ".",
        "/",
        "//",
        "\\",
        ":",
        "C:",
        "\0",
        " ",
        "nul",
        "CON",
        "com1",
        "¹",
        "COM",
        "$",
        "\u202e",
        "～",
        "．",
        "‥",
        "\ud800",
    ),
    *("a", "A", "b.txt", "é", "e\u0301", "\u200d", "😀", "ﬁ", "?", "*", "\n", "x" * 120, "lpt", "²", "~1", "-", "日本"),
]
PIECES = st.sampled_from(NASTY) | st.text(max_size=3)
TEXTS = st.lists(PIECES, max_size=12).map("".join)
RAW = TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40)


def taken(raw: bytes) -> tuple[str, ...] | None:
    try:
        return read_path(raw)
    except TransferError:
        return None


def is_reserved(parts: tuple[str, ...]) -> bool:
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(ntpath.join(*parts))
    return any(PureWindowsPath(part).is_reserved() for part in parts)


def assert_below(parts: tuple[str, ...]) -> None:
    posix = PurePosixPath("/srv/in").joinpath(*parts)
    assert posix.relative_to("/srv/in").parts == parts
    assert posixpath.normpath(str(posix)) == str(posix)
    windows = PureWindowsPath("D:\\in").joinpath(*parts)
    assert windows.drive == "D:"
    assert windows.relative_to("D:\\in").parts == parts
    assert ntpath.normpath(str(windows)) == str(windows)
    assert not is_reserved(parts)
    assert ".." not in parts


@given(RAW)
@settings(max_examples=300)
def test_a_name_that_is_taken_stays_below_the_folder(raw: bytes) -> None:
    parts = taken(raw)
    if parts is not None:
        assert_below(parts)
        assert write_path(parts) == raw


@given(st.lists(st.text("abcé日 .", min_size=1, max_size=6).map(lambda text: f"{text}x"), min_size=1, max_size=6))
def test_a_name_of_letters_is_always_taken(parts: list[str]) -> None:
    assert taken("/".join(parts).encode()) == tuple(parts)
    assert_below(tuple(parts))


LOOKALIKES: list[Callable[[str], str]] = [
    *(str.upper, str.lower, str.casefold, str.swapcase),
    *(lambda text, form=form: unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")),
]


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]) | st.sampled_from("ΐᾳͅ\u0301ßıİſﬁ"),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.sampled_from(LOOKALIKES), min_size=1, max_size=3),
)
@settings(max_examples=200)
def test_a_name_in_another_case_or_normal_form_collides(name: str, changes: list[Callable[[str], str]]) -> None:
    other = name
    for change in changes:
        other = change(other)
    assume(taken(name.encode()) == (name,) and taken(other.encode()) == (other,))
    names = NameSet()
    names.add_file((name,))
    with pytest.raises(TransferError, match="the same but for case or normal form"):
        names.add_file((other,))


PATHS = st.lists(st.lists(st.sampled_from(["a", "A", "b", "é", "e\u0301", "c"]), min_size=1, max_size=3), max_size=8)


def fold(part: str) -> str:
    return unicodedata.normalize("NFC", part.lower())


@given(PATHS)
def test_a_set_takes_what_a_file_system_without_case_keeps_apart(paths: list[list[str]]) -> None:
    names = NameSet()
    files: set[tuple[str, ...]] = set()
    spelled: dict[tuple[str, ...], str] = {}
    for path in paths:
        folded = [tuple(map(fold, path[:depth])) for depth in range(1, len(path) + 1)]
        fits = folded[-1] not in files and folded[-1] not in spelled and files.isdisjoint(folded[:-1])
        fits = fits and all(spelled.get(key, part) == part for key, part in zip(folded[:-1], path, strict=False))
        if not fits:
            with pytest.raises(TransferError):
                names.add_file(tuple(path))
            return  # the offer is refused as a whole
        names.add_file(tuple(path))
        files.add(folded[-1])
        spelled.update(zip(folded[:-1], path, strict=False))


@given(st.text(max_size=20))
def test_any_text_is_written_so_that_it_is_read_or_is_refused(text: str) -> None:
    try:
        raw = write_path((text,))
    except TransferError:
        return
    assert read_path(raw) == (text,)
