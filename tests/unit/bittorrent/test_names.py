"""Names of torrents, made safe: what comes back goes below a folder, and nowhere twice."""

from __future__ import annotations

import pytest

from librats.bittorrent.names import SafePaths, clean_name, clean_part, torrent_name
from librats.transfer.names import check_parts


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"plain.txt", "plain.txt"),
        (b"..", ""),
        (b".", ""),
        (b"", ""),
        (b"../../etc/passwd", "....etcpasswd"),
        (b"C:\\x", "C_x"),
        (b"a\0b", "a_b"),
        (b"a\xffb", "a_b"),
        (b"nul.txt", "_nul.txt"),
        (b"ends. .", "ends"),
        ("a\u202egnp.exe".encode(), "a_gnp.exe"),
        (b"what?", "what_"),
        ("\u6f22\u5b57".encode(), "\u6f22\u5b57"),
    ],
)
def test_a_name_is_made_safe(raw: bytes, wanted: str) -> None:
    assert clean_name(raw) == wanted
    check_parts((clean_part(raw),))


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b".librats", "_.librats"),
        (b".LibRats", "_.LibRats"),
        (b".librats-0123456789abcdef.part", "_.librats-0123456789abcdef.part"),
        (b"..", ""),
    ],
)
def test_a_torrent_has_no_name_of_what_downloads_and_transfers_keep(raw: bytes, wanted: str) -> None:
    assert torrent_name(raw) == wanted


def test_a_long_name_keeps_its_ending() -> None:
    name = clean_name(b"x" * 100_000 + b".jpg") or "x"
    assert len(name) == 240
    name = clean_name(b"y" * 500 + b".jpeg")
    assert name.endswith("y.jpeg")
    assert len(name) == 240


def test_a_file_of_a_taken_name_gets_a_number() -> None:
    paths = SafePaths()
    raw = [(b"n", b"a.txt"), (b"n", b"A.TXT"), (b"n", b"a.txt"), (b"n", b"a.1.txt"), (b"n", b"b"), (b"n", b"b")]
    placed = [paths.place(path)[1] for path in raw]
    assert placed == ["a.txt", "A.1.TXT", "a.2.txt", "a.1.1.txt", "b", "b.1"]


def test_folders_that_some_system_takes_for_one_become_one() -> None:
    paths = SafePaths()
    assert paths.place((b"Docs", b"a")) == ("Docs", "a")
    assert paths.place((b"docs", b"b")) == ("Docs", "b")
    assert paths.place((b"docs/", b"a")) == ("Docs", "a.1")


def test_a_folder_of_the_name_of_a_file_is_named_otherwise_once() -> None:
    paths = SafePaths()
    assert paths.place((b"n", b"x")) == ("n", "x")
    assert paths.place((b"n", b"x", b"y")) == ("n", "x.1", "y")
    assert paths.place((b"n", b"x", b"z")) == ("n", "x.1", "z")
    assert paths.place((b"n", b"x.1")) == ("n", "x.1.1")


def test_a_path_that_is_too_deep_is_cut_short() -> None:
    paths = SafePaths()
    first = paths.place((b"n", *[b"d"] * 60, b"f.txt"))
    second = paths.place((b"n", *[b"d"] * 61, b"f.txt"))
    assert first != second
    for path in (first, second):
        check_parts(path)
        assert (len(path), path[0], path[1][-4:]) == (2, "n", ".txt")


def test_many_files_of_one_name_take_no_long_time() -> None:
    paths = SafePaths()
    assert len({paths.place((b"n", b"same")) for _ in range(20_000)}) == 20_000
