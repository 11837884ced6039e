"""Torrents that are made: what other programs make of the same files, and what is refused."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from librats._core import bencode
from librats.bittorrent.creating import TorrentBuilder, choose_piece_length
from librats.bittorrent.metainfo import read_torrent
from librats.errors import TransferError, UsageError


def content(seed: bytes, path: str, size: int) -> bytes:
    """Return the content that a vector means."""
    blocks = (sha256(seed + path.encode() + n.to_bytes(4)).digest() for n in range(-(-size // 32)))
    return b"".join(blocks)[:size]


@pytest.mark.vectors("torrent/created")
def test_files_give_the_info_hash_that_another_program_gives(case: dict[str, Any]) -> None:
    theirs = read_torrent(bytes.fromhex(case["torrent"]))
    seed = bytes.fromhex(case["content_seed"])
    sizes = dict(case["content_files"])
    is_single = list(sizes) == [case["name"]]
    # Its order is the other program's choice in version 1.
    paths = [file.path[1:] for file in theirs.layout.files if not file.is_pad]
    files = [(path, sizes["/".join(path) or case["name"]]) for path in paths]
    builder = TorrentBuilder(
        case["name"],
        [((), files[0][1])] if is_single else files,
        version=case["version"],
        piece_length=case["piece_length"],
    )
    for path, size in builder.files:
        data = content(seed, "/".join(path) or case["name"], size)
        for at in range(0, size, 7001):
            builder.update(data[at : at + 7001])
    ours = read_torrent(builder.finish())
    assert ours.piece_hashes == theirs.piece_hashes
    assert ours.piece_layers == theirs.piece_layers
    assert [file.root for file in ours.layout.files] == [file.root for file in theirs.layout.files]
    if not set(bencode.decode(theirs.info)) - set(bencode.decode(ours.info)):
        assert (ours.info_hash_v1, ours.info_hash_v2) == (theirs.info_hash_v1, theirs.info_hash_v2)


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
def test_pieces_of_what_was_hashed_are_right_and_others_not(version: str) -> None:
    data = bytes(range(256)) * 300
    builder = TorrentBuilder("d", [(("b",), 50_000), (("a",), 26_800)], version=version, piece_length=32_768)
    builder.update(data)
    torrent = read_torrent(builder.finish())
    assert torrent.version == version
    stream = iter_bytes(torrent.layout.files, data)
    for piece in range(torrent.layout.piece_count):
        at = piece * 32_768
        right = stream[at : at + torrent.layout.piece_size(piece)]
        assert torrent.piece_is_right(piece, right)
        assert not torrent.piece_is_right(piece, b"!" + right[1:])


def iter_bytes(files: Any, data: bytes) -> bytes:
    parts, at = [], 0
    for file in files:
        parts.append(bytes(file.size) if file.is_pad else data[at : at + file.size])
        at += 0 if file.is_pad else file.size
    return b"".join(parts)


def test_what_was_given_is_read_back() -> None:
    builder = TorrentBuilder(
        "n",
        [((), 1)],
        trackers=[["udp://a.b:1"], ["http://c.d/"]],
        web_seeds=["http://e.f/"],
        private=True,
        comment="words",
        created_by="us",
        created=7,
    )
    builder.update(b"x")
    torrent = read_torrent(builder.finish())
    assert torrent.is_private
    assert torrent.trackers == (("udp://a.b:1",), ("http://c.d/",))
    assert torrent.web_seeds == ("http://e.f/",)
    assert (torrent.comment, torrent.created_by, torrent.created) == ("words", "us", 7)


def test_pieces_get_longer_with_the_size_up_to_a_limit() -> None:
    assert [choose_piece_length(size) for size in (1, 24_576_000, 24_576_001, 1 << 50)] == [
        16_384,
        16_384,
        32_768,
        16 << 20,
    ]


def test_arguments_that_cannot_be_are_refused() -> None:
    for options in ({"version": "v3"}, {"piece_length": 8192}, {"piece_length": 40_000}):
        with pytest.raises(UsageError):
            TorrentBuilder("n", [((), 1)], **options)
    for files in ([], [((), 0)], [((), 1), ((), 2)], [(("a",), -1), (("b",), 5)]):
        with pytest.raises(UsageError):
            TorrentBuilder("n", files)
    for name, path in (("..", ("a",)), ("n", ("a", "..")), ("con", ("a",))):
        with pytest.raises(TransferError):
            TorrentBuilder(name, [(path, 1)])
    with pytest.raises(TransferError):
        TorrentBuilder("n", [(("a",), 1), (("A",), 1)])


@pytest.mark.parametrize(
    "options",
    [
        {"trackers": ["http://t.example/"]},
        {"trackers": [["t.example:80"]]},
        {"web_seeds": ["ftp://w.example/"]},
        {"web_seeds": "http://w.example/"},
    ],
)
def test_what_is_no_tracker_and_no_web_seed_is_refused_and_not_left_out(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"not a (tracker|web seed): "):
        TorrentBuilder("n", [((), 1)], **options)


def test_too_few_and_too_many_bytes_are_refused() -> None:
    builder = TorrentBuilder("n", [((), 2)])
    builder.update(b"a")
    with pytest.raises(UsageError, match="missing"):
        builder.finish()
    with pytest.raises(UsageError, match="more"):
        builder.update(b"bc")
