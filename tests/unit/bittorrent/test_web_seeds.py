"""Web seeds (BEP 19): where the files are, and what is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.bittorrent.joined_swarms import Dice, Room, content_of, torrent_of

from librats._core import bencode
from librats.bittorrent.creating import TorrentBuilder
from librats.bittorrent.metainfo import Torrent, read_torrent
from librats.bittorrent.picker import Block, PiecePicker
from librats.bittorrent.web_seeds import WebSeed


def folder_torrent(
    version: str = "hybrid", sizes: tuple[int, ...] = (20_000, 0, 50_000), *, piece_length: int = 16_384
) -> tuple[Torrent, dict[str, bytes]]:
    """Return a torrent of a folder, and its files by their URLs."""
    files = [((f"d{number}", "a b.bin"), size) for number, size in enumerate(sizes)]
    builder = TorrentBuilder("my set", files, version=version, piece_length=piece_length)
    contents: dict[str, bytes] = {}
    for path, size in builder.files:
        data = content_of(size + len(contents))[:size]
        builder.update(data)
        contents[f"http://h/w/my%20set/{path[0]}/a%20b.bin"] = data
    return read_torrent(builder.finish()), contents


def urls_of(torrent: Torrent, base: str) -> set[str]:
    seed = WebSeed(base, torrent, now=0.0)
    blocks = [(piece, 0, torrent.layout.data_size(piece)) for piece in range(torrent.layout.piece_count)]
    return {part.url for run in seed.runs(blocks) for part in run.parts}


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
@pytest.mark.parametrize("base", ["http://h/w", "http://h/w/"])
def test_files_of_a_folder_are_below_the_url(version: str, base: str) -> None:
    torrent, contents = folder_torrent(version)
    assert urls_of(torrent, base) == {url for url, data in contents.items() if data}


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
def test_a_single_file_is_the_url_itself_or_below_a_folders(version: str) -> None:
    torrent = torrent_of(40_000, version=version)
    assert urls_of(torrent, "http://h/w") == {"http://h/w"}
    assert urls_of(torrent, "http://h/w/") == {"http://h/w/file"}


def test_names_are_those_of_the_torrent_not_those_that_are_safe_here() -> None:
    files = [
        {b"length": 5, b"path": [b"con.txt"]},
        {b"length": 5, b"path": [b"..", b"x"]},
        {b"length": 5, b"path": [b"a/b"]},
    ]
    info = {b"name": b"\xff: set", b"piece length": 16_384, b"pieces": bytes(20), b"files": files}
    torrent = read_torrent(bencode.encode({b"info": info}))
    seed = WebSeed("http://h", torrent, now=0.0)
    (run,) = seed.runs([(0, 0, 15)])
    assert [part.url for part in run.parts] == ["http://h/%FF%3A%20set/con.txt", "http://h/%FF%3A%20set/a%2Fb"]
    assert not seed.has_piece(0)  # of a path that leads upwards nothing is asked for


def test_a_torrent_whose_keys_are_in_no_order_has_web_seeds_too() -> None:
    info = b"d4:name4:file6:lengthi5e12:piece lengthi16384e6:pieces20:" + bytes(20) + b"e"
    torrent = read_torrent(b"d4:info" + info + b"e")
    (run,) = WebSeed("http://h/w/", torrent, now=0.0).runs([(0, 0, 5)])
    assert [part.url for part in run.parts] == ["http://h/w/file"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["v1", "v2", "hybrid"]),
    st.sampled_from([16_384, 65_536]),
    st.lists(st.integers(0, 60_000), min_size=1, max_size=5).map(tuple).filter(any),
    st.integers(0, 1000),
    st.integers(1, 12),
)
def test_what_is_asked_for_is_what_the_blocks_are_made_of(
    version: str, piece_length: int, sizes: tuple[int, ...], seed_number: int, count: int
) -> None:
    torrent, contents = folder_torrent(version, sizes, piece_length=piece_length)
    layout = torrent.layout
    whole = bytearray(layout.total_size)
    for file in layout.files:
        if not file.is_pad:
            url = "http://h/w/" + "/".join(part.replace(" ", "%20") for part in file.path)
            whole[file.offset : file.offset + file.size] = contents[url]
    seed = WebSeed("http://h/w", torrent, now=0.0)
    picker = PiecePicker(layout, Dice(seed_number), even=torrent.info_hash_v1 is not None)
    got: list[Block] = []
    while blocks := picker.pick(seed, count):
        for run in seed.runs(blocks):
            data = bytearray(run.size)
            for part in run.parts:
                data[part.at : part.at + part.size] = contents[part.url][part.offset : part.offset + part.size]
            at = 0
            for piece, begin, length in run.blocks:
                offset = piece * layout.piece_length + begin
                assert data[at : at + length] == whole[offset : offset + length]
                picker.receive(piece, begin, data[at : at + length], seed.key)
                at += length
            assert at == run.size
            got += run.blocks
        for piece in range(layout.piece_count):
            started = picker.take_whole(piece)
            if started is not None:
                assert torrent.piece_is_right(piece, started.buffer)
                picker.end_check(piece, is_right=True)
    assert picker.is_complete
    assert len(set(got)) == len(got)


def test_for_no_blocks_nothing_is_asked() -> None:
    assert list(WebSeed("http://h/w", folder_torrent()[0], now=0.0).runs([])) == []


@pytest.mark.parametrize("empty", [(), (0,)])
def test_a_server_without_a_file_is_asked_for_the_others_and_one_without_any_no_more(empty: tuple[int, ...]) -> None:
    torrent, _ = folder_torrent("v1", (16_384, 16_384, 32_768, *empty))
    seed = WebSeed("http://h/w", torrent, now=0.0)
    seed.lose_file(1)
    assert [seed.has_piece(piece) for piece in range(4)] == [True, False, True, True]
    assert not seed.is_useless
    seed.lose_file(0)
    seed.lose_file(2)
    assert seed.is_useless


def test_a_server_that_fails_is_asked_ever_later_and_then_no_more() -> None:
    seed = WebSeed("http://h/w", torrent_of(40_000), now=0.0)
    pauses, now = [], 0.0
    while not seed.is_useless:
        seed.fail(now)
        pauses.append(seed.next_time - now)
        now = seed.next_time
    assert pauses[:4] == [10.0, 20.0, 40.0, 80.0]
    assert max(pauses) == 900.0
    assert len(pauses) == 20
    seed = WebSeed("http://h/w", torrent_of(40_000), now=0.0)
    seed.fail(0.0, pause=60.0)
    assert seed.next_time == 60.0
    seed.succeed(16_384)
    seed.fail(100.0)
    assert seed.next_time == 110.0


def test_a_server_that_gives_a_wrong_piece_alone_lies_and_is_asked_for_nothing() -> None:
    room = Room(torrent_of(40_000))
    leecher = room.leecher()
    seed = WebSeed("http://h/file", room.torrent, now=0.0)
    leecher.swarm.web_seeds[seed.key] = seed
    for piece, begin, length in leecher.swarm.pick(seed, 2):
        leecher.swarm.take_block(seed, piece, begin, bytes(length))
    leecher.settle()
    assert seed.is_lying
    assert seed.is_useless
    assert leecher.swarm.pick(seed, 2) == []
    honest = WebSeed("http://other/file", room.torrent, now=0.0)
    while blocks := leecher.swarm.pick(honest, 2):
        for piece, begin, length in blocks:
            at = piece * 32_768 + begin
            leecher.swarm.take_block(honest, piece, begin, content_of(40_000)[at : at + length])
        leecher.settle()
    assert leecher.is_complete


def test_nothing_is_asked_of_a_server_in_a_pause_and_what_is_released_is_asked_for_again() -> None:
    room = Room(torrent_of(40_000))
    leecher = room.leecher()
    seed = WebSeed("http://h/file", room.torrent, now=0.0)
    leecher.swarm.pause()
    assert leecher.swarm.pick(seed, 2) == []
    leecher.swarm.go_on(0.0)
    blocks = leecher.swarm.pick(seed, 100)
    assert len(blocks) == 3
    for piece, begin, _ in blocks:
        leecher.swarm.release(seed, piece, begin)
    assert sorted(leecher.swarm.pick(seed, 100)) == sorted(blocks)


@pytest.mark.parametrize(("kib", "blocks"), [(16, 16), (512, 32), (4096, 256), (8192, 256)])
def test_a_server_is_asked_for_a_piece_at_once_within_bounds(kib: int, blocks: int) -> None:
    builder = TorrentBuilder("n", [((), 5)], version="v1", piece_length=kib << 10)
    builder.update(b"bytes")
    assert WebSeed("http://h/w", read_torrent(builder.finish()), now=0.0).ahead == blocks


def test_one_that_lies_has_no_piece_whatever_files_it_has() -> None:
    seed = WebSeed("http://h/w", folder_torrent("v1", (16_384, 16_384))[0], now=0.0)
    seed.lose_file(1)
    assert seed.has_piece(0)
    seed.is_lying = True
    assert not seed.has_piece(0)


def test_what_a_server_gives_is_counted() -> None:
    seed = WebSeed("http://h/w", torrent_of(40_000), now=0.0)
    seed.succeed(16_384)
    seed.succeed(7232)
    assert seed.down.total == 23_616
