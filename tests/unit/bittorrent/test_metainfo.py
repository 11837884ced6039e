"""Torrent files: those of other programs, those with faults, and what is refused."""

from __future__ import annotations

from hashlib import sha1, sha256
from typing import Any

import pytest

from librats._core import bencode
from librats.bittorrent.metainfo import MAX_PIECE_LENGTH, MAX_TORRENT, Torrent, read_info, read_torrent
from librats.errors import DecodeError, UsageError
from librats.transfer.names import check_parts

# A reader may take these or not: libtorrent trips over its own checks, or takes a name that begins with NUL for none.
EITHER = {"bad_name", "pad_file", "pad_file_no_path", "v2_overlong_integer"}


def described(torrent: Torrent) -> dict[str, Any]:
    return {
        "version": torrent.version,
        "info_hash_v1": torrent.info_hash_v1.hex() if torrent.info_hash_v1 else None,
        "info_hash_v2": torrent.info_hash_v2.hex() if torrent.info_hash_v2 else None,
        "name": torrent.name,
        "piece_length": torrent.layout.piece_length,
        "num_pieces": torrent.layout.piece_count,
        "total_size": torrent.layout.total_size,
        "private": torrent.is_private,
    }


def told_files(torrent: Torrent) -> list[tuple[object, ...]]:
    return [
        ("" if file.is_pad else "/".join(file.path), file.size, file.offset, file.is_pad, file.root.hex())
        for file in torrent.layout.files
    ]


def wanted_files(case: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        ("" if file["pad"] else file["path"], file["size"], file["offset"], file["pad"], file.get("root", ""))
        for file in case["files"]
    ]


def assert_is(torrent: Torrent, case: dict[str, Any]) -> None:
    assert described(torrent) == {key: case[key] for key in described(torrent)}
    told, wanted = told_files(torrent), wanted_files(case)
    assert [file for file in told if file[1]] == [file for file in wanted if file[1]]
    assert {file[0] for file in told} == {file[0] for file in wanted}  # where empty ones stand says nothing
    trackers = [(url, tier) for tier, urls in enumerate(torrent.trackers) for url in urls]
    assert sorted(trackers) == sorted((url, tier) for url, tier in case["trackers"])


@pytest.mark.vectors("torrent/created")
def test_a_torrent_of_another_program_is_read(case: dict[str, Any]) -> None:
    torrent = read_torrent(bytes.fromhex(case["torrent"]))
    assert_is(torrent, case)
    assert not torrent.missing_layers


@pytest.mark.vectors("torrent/corner_cases")
def test_a_corner_case_is_taken_or_refused_as_libtorrent_does(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["torrent"])
    if case["id"] in EITHER:
        try:
            torrent = read_torrent(raw)
        except DecodeError:
            return
        for file in torrent.layout.files:
            check_parts(file.path)
    elif case["loads"]:
        assert_is(read_torrent(raw), case)
    else:
        with pytest.raises(DecodeError):
            read_torrent(raw)


def info_of(**changed: Any) -> dict[bytes, Any]:
    info: dict[bytes, Any] = {
        b"name": b"n",
        b"piece length": 16_384,
        b"pieces": sha1(b"abc", usedforsecurity=False).digest(),
        b"length": 3,
    }
    info.update((key.replace("_", " ").encode(), value) for key, value in changed.items())
    return {key: value for key, value in info.items() if value is not None}


@pytest.mark.parametrize(
    "changed",
    [
        {"name": None},
        {"name": 7},
        {"length": None},
        {"length": -1},
        {"length": 0, "pieces": b""},
        {"length": 1 << 60},
        {"piece_length": 0},
        {"piece_length": MAX_PIECE_LENGTH + 1},
        {"pieces": bytes(19)},
        {"pieces": bytes(40)},
        {"pieces": 1},
        {"files": []},
        {"files": [7]},
        {"files": [{b"length": 3}]},
        {"files": [{b"length": 3, b"path": []}]},
        {"files": [{b"length": 3, b"path": [7]}]},
        {"files": [{b"length": 3, b"path": [b"a"] * 65}]},
        {"meta_version": 3, "file_tree": {b"n": {b"": {b"length": 3, b"pieces root": bytes(32)}}}},
        {"meta_version": 2, "file_tree": {}},
        {"meta_version": 2, "file_tree": {b"": {b"": {b"length": 3, b"pieces root": b"r" * 32}}}},
        {"meta_version": 2, "file_tree": {b"n": {b"": {b"length": 4, b"pieces root": b"r" * 32}}}},
        {"meta_version": 2, "file_tree": {b"m": {b"": {b"length": 3, b"pieces root": b"r" * 32}}}},
        {"meta_version": 2, "file_tree": {b"n": {b"": {b"length": 3, b"pieces root": b"r" * 31}}}},
        {"meta_version": 2, "file_tree": {b"n": {b"": {b"length": 3, b"pieces root": b"r" * 32}, b"x": {}}}},
    ],
)
def test_an_info_that_cannot_be_is_refused(changed: dict[str, Any]) -> None:
    read_info(bencode.encode(info_of()))
    with pytest.raises(DecodeError):
        read_info(bencode.encode(info_of(**changed)))


def test_an_info_of_a_list_of_files_that_both_versions_tell_otherwise_is_refused() -> None:
    tree = {b"a": {b"": {b"length": 3, b"pieces root": b"r" * 32}}}
    files = [{b"length": 3, b"path": [b"a"]}]
    both = info_of(length=None, files=files, meta_version=2, file_tree=tree)
    assert read_info(bencode.encode(both)).version == "hybrid"
    more = tree | {b"b": {b"": {b"length": 0}}}
    with pytest.raises(DecodeError, match="other files"):
        read_info(bencode.encode(both | {b"file tree": more}))


def test_the_info_hash_is_over_the_bytes_as_they_came() -> None:
    unsorted = b"d4:name1:n6:lengthi3e12:piece lengthi16384e6:pieces20:" + bytes(20) + b"e"
    torrent = read_torrent(b"d4:info" + unsorted + b"8:announce11:http://a.b/e")
    assert torrent.info == unsorted
    assert torrent.info_hash_v1 == sha1(unsorted, usedforsecurity=False).digest()
    assert torrent.trackers == (("http://a.b/",),)


def test_what_is_behind_a_torrent_is_ignored_and_what_is_no_torrent_refused() -> None:
    raw = bencode.encode({b"info": info_of()})
    assert read_torrent(raw + b"\n").name == "n"
    for other in (b"", b"i1e", b"le", raw[:-1], b"d4:infoi1ee", bytes(MAX_TORRENT + 1)):
        with pytest.raises(DecodeError):
            read_torrent(other)


def test_web_seeds_nodes_and_words_are_read_and_what_is_none_left_out() -> None:
    outer = {
        b"info": info_of(),
        b"url-list": [b"http://a.b/x", b"http://a.b/x", b"gopher://a.b/", 7],
        b"nodes": [[b"router.example", 6881], [b"x"], [b"y", 70_000], 7],
        b"comment": "\u00e9t\u00e9".encode(),
        b"created by": b"somebody",
        b"creation date": 1_700_000_000,
        b"announce-list": [[b"udp://a.b:1", b"ftp://a.b"], [b"udp://a.b:1"], [7], 8],
    }
    torrent = read_torrent(bencode.encode(outer))
    assert torrent.web_seeds == ("http://a.b/x",)
    assert [str(node) for node in torrent.nodes] == ["router.example:6881"]
    assert (torrent.comment, torrent.created_by, torrent.created) == ("\u00e9t\u00e9", "somebody", 1_700_000_000)
    assert torrent.trackers == (("udp://a.b:1",),)


def test_a_piece_is_checked_by_every_hash_that_the_torrent_has() -> None:
    root = sha256(b"abc").digest()
    tree = {b"n": {b"": {b"length": 3, b"pieces root": root}}}
    for info in (
        info_of(),
        info_of(meta_version=2, file_tree=tree),
        info_of(pieces=None, meta_version=2, file_tree=tree),
    ):
        torrent = read_info(bencode.encode(info))
        assert torrent.piece_is_right(0, b"abc")
        assert not torrent.piece_is_right(0, b"abx")
    liar = info_of(meta_version=2, file_tree={b"n": {b"": {b"length": 3, b"pieces root": b"r" * 32}}})
    assert not read_info(bencode.encode(liar)).piece_is_right(0, b"abc")
    with pytest.raises(UsageError):
        read_info(bencode.encode(info_of())).piece_is_right(1, b"abc")
