"""Names that peers send: those that are safe on every system are taken, and nothing else."""

# ruff: noqa: RUF001 - characters that look like others are what this is about

from __future__ import annotations

import pytest

from librats.errors import TransferError
from librats.transfer.names import MAX_DEPTH, MAX_PART, MAX_PATH, NameSet, check_parts, read_path, write_path

HOSTILE = {
    "parent": [b"..", b"../x", b"a/../../x", b"a/..", b".", b"a/./b", b"./a"],
    "parent in disguise": ["‥".encode(), "．．/x".encode(), "․․".encode()],
    "empty": [b"", b"/", b"a//b", b"a/", b"//"],
    "absolute": [b"/etc/passwd", b"//host/share/x", b"\\x", b"\\\\host\\share\\x", b"\\\\?\\C:\\x"],
    "drive": [b"C:", b"C:x", b"c:/x", b"C:\\x", b"a/C:/x"],
    "backslash": [b"a\\b", b"..\\x", b"a\\..\\..\\x"],
    "stream": [b"a.txt:hidden", b"a.txt::$DATA", b"a:"],
    "wildcard": [b"a*", b"a?", b"a<b", b"a>b", b'a"b', b"a|b"],
    "control": [
        *(f"a{chr(code)}b".encode() for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)),
        *(b"\x1b[2Jx", b"\n", b"a\0", b"a.txt\0.jpg"),
    ],
    "direction": [
        f"photo{c}gpj.exe".encode() for c in "\u202e\u202d\u202a\u202b\u202c\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
    ],
    "invisible": [f"a{c}b".encode() for c in "\u200b\u2060\ufeff\u206a\ufff9\ufffe\uffff\ufdd0\U0001fffe"],
    "device": [
        *(
            b"CON",
            b"con",
            b"Nul",
            b"nul.txt",
            b"NUL.tar.gz",
            b"a/PRN/b",
            b"AUX.c",
            b"COM1",
            b"com9.log",
            b"LPT3",
            b"COM0",
        ),
        *(f"{port}{digit}.x".encode() for port in ("com", "lpt") for digit in range(10)),
        *(b"CONIN$", b"conout$", b"CLOCK$", b"nul .txt", "COM¹".encode(), "lpt².x".encode(), "COM³.a.b".encode()),
        *("ＮＵＬ".encode(), "NU\u200dL".encode(), b"a/..namedfork/rsrc", b"a/..NamedFork"),
    ],
    "unfinished": [
        *(b".librats-0123456789abcdef.part", b"a/.librats-x.part/state", b".LIBRATS-0.Part", b".librats-.part"),
        *(".lib\u200drats-0.part".encode(), ".ｌibrats-0.part".encode()),
    ],
    "early iota": ["\u0345\u0301".encode(), "α\u0345\u0301".encode(), "ᾀ\u0301".encode()],
    "end": [b"a.", b"a ", b"a. .", b"a./b", b"a /b", b"...", b" ", b" .", b"a/.../b"],
    "too long": [
        *(b"a" * (MAX_PART + 1), "é".encode() * 128, "😀".encode() * 64, b"/".join([b"a" * 200] * 6)),
        *(b"/".join([b"a"] * (MAX_DEPTH + 1)), b"a" * 10_000_000, b"/" * 10_000_000),
    ],
    "not UTF-8": [
        b"\xff",
        b"a\xc0\xafb",
        b"\xc0\xae\xc0\xae/x",
        b"\xed\xa0\x80",
        b"\xed\xb2\x80x",
        b"a/\xf4\x90\x80\x80",
    ],
}


@pytest.mark.parametrize(
    ("kind", "raw"), [(kind, raw) for kind, raws in HOSTILE.items() for raw in raws], ids=lambda x: str(x)[:20]
)
def test_a_hostile_name_is_refused(kind: str, raw: bytes) -> None:
    with pytest.raises(TransferError) as refused:
        read_path(raw)
    assert refused.value.code == "bad_name"
    assert len(str(refused.value)) < 120
    assert str(refused.value).isprintable()


SAFE = [
    *(
        "a",
        "a.txt",
        ".hidden",
        "..a",
        "a..b",
        "...a",
        " a",
        "a b",
        "docs/2026/a.tar.gz",
        "-rf",
        "~",
        "$HOME",
        "%00",
        "a~1",
    ),
    *("console", "com", "com10", "communal.txt", "lpt", "nullable", "x.nul", "auxiliary", "CON-1", "con_", "COM¹⁰"),
    *(
        "Grüße.txt",
        "Gru\u0308ße.txt",
        "日本語：１.txt",
        "Привет",
        "שלום.txt",
        "مرحبا",
        "می\u200cخواهم",
        "👩\u200d👩\u200d👧.png",
        "½",
    ),
    *("a" * MAX_PART, "日" * 85, "/".join(["a"] * MAX_DEPTH), "/".join(["a" * 204] * 5)),
]


@pytest.mark.parametrize("text", SAFE, ids=lambda text: text[:20])
def test_an_honest_name_is_taken_as_it_is(text: str) -> None:
    parts = read_path(text.encode())
    assert "/".join(parts) == text
    assert write_path(parts) == text.encode()


def test_a_path_may_have_as_many_bytes_as_the_limit_says_and_no_more() -> None:
    longest = "/".join(["a" * 204] * 5)
    assert len(longest) == MAX_PATH
    assert len(read_path(longest.encode())) == 5
    with pytest.raises(TransferError, match="more than 1024 bytes"):
        write_path((*["a" * 204] * 4, "a" * 205))


def test_a_name_whose_decomposed_form_is_too_long_is_refused() -> None:
    assert read_path("Ǖ".encode() * 85)
    with pytest.raises(TransferError):
        read_path(("Ǖ" * 85 + "").encode().replace("Ǖ".encode(), "ΐ".encode()) + b"a" * 86)


@pytest.mark.parametrize("parts", [(), ("a/b",), ("",), ("a", ".."), ("\ud800",), ("a\udcff",)])
def test_parts_that_no_path_has_are_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(TransferError):
        check_parts(parts)
    with pytest.raises(TransferError):
        write_path(parts)


SAME = [
    *(
        ("a", "a"),
        ("a.txt", "A.TXT"),
        ("straße", "STRASSE"),
        ("é", "e\u0301"),
        ("ﬁle", "file"),
        ("Å", "\u212b"),
        ("K", "\u212a"),
    ),
    *(
        ("ς", "σ"),
        ("a", "ａ"),
        ("x²", "x2"),
        ("ǆ", "ǅ"),
        ("ı", "I"),
        ("i", "I"),
        ("ſ", "S"),
        ("ΐ", "\u03b9\u0308\u0301"),
    ),
    *(("ab", "a\u200db"), ("a\u200cb", "ab"), ("☃", "☃\ufe0f"), ("so\u00adft", "soft"), ("ᾳ", "ΑΙ")),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_files_that_a_system_takes_for_one_are_refused(one: str, other: str) -> None:
    names = NameSet()
    names.add_file(("docs", one))
    with pytest.raises(TransferError, match="the same but for case or normal form"):
        names.add_file(("docs", other))


@pytest.mark.parametrize(("one", "other"), [pair for pair in SAME if pair[0] != pair[1]])
def test_two_folders_that_a_system_takes_for_one_are_refused(one: str, other: str) -> None:
    names = NameSet()
    names.add_file((one, "a"))
    with pytest.raises(TransferError, match="two folders"):
        names.add_file((other, "b"))


def test_files_of_the_same_name_in_two_folders_are_two() -> None:
    names = NameSet()
    for path in [("a", "x"), ("b", "x"), ("x",), ("a", "b", "x"), ("a", "y")]:
        names.add_file(path)


def test_a_file_that_is_a_folder_of_another_is_refused() -> None:
    names = NameSet()
    names.add_file(("a", "b"))
    for path in [("a", "b", "c"), ("a", "B", "c"), ("a",), ("A",)]:
        with pytest.raises(TransferError, match="a file and a folder"):
            names.add_file(path)


def test_an_empty_folder_collides_as_others_do() -> None:
    names = NameSet()
    names.add_file(("a", "b"))
    names.add_empty_folder(("a", "empty"))
    for path in [("a",), ("a", "b"), ("a", "Empty"), ("a", "empty"), ("a", "b", "c")]:
        with pytest.raises(TransferError) as refused:
            names.add_empty_folder(path)
        assert refused.value.code == "bad_name"


def test_folders_are_counted() -> None:
    names = NameSet(max_folders=3)
    names.add_file(("a", "b", "x"))
    names.add_file(("a", "b", "y"))
    names.add_empty_folder(("c",))
    with pytest.raises(TransferError, match="more than 3 folders") as refused:
        names.add_file(("d", "x"))
    assert refused.value.code == "limit"
