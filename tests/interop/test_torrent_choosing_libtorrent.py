"""Chosen files of a torrent with libtorrent on the other side: what we choose of it, and what it chooses of us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.interop.torrent_ends import VERSIONS, Theirs, contents, done, libtorrent, make_files, our_client

from librats.torrents import create_torrent, parse_magnet, read_torrent

pytestmark = pytest.mark.interop

UPLOAD_ONLY = libtorrent.peer_info.upload_only
SIZES = (70_000, 90_000, 50_000, 30_000)


@pytest.mark.filterwarnings("ignore:files")
@pytest.mark.parametrize("version", VERSIONS)
def test_libtorrent_counts_the_files_of_a_torrent_as_we_do(tmp_path: Path, version: str) -> None:
    raw = create_torrent(make_files(tmp_path, SIZES), version=version, piece_length=16_384)
    theirs = libtorrent.load_torrent_buffer(raw).ti.files()
    ours = read_torrent(raw).layout.files
    for number, file in enumerate(ours):
        if not file.is_pad:
            assert theirs.file_path(number) == str(Path(*file.path))
            assert theirs.file_size(number) == file.size


def test_a_link_that_chooses_files_is_read_by_libtorrent_as_it_is_meant() -> None:
    link = str(replace(parse_magnet("magnet:?xt=urn:btih:" + 40 * "a"), files=(0, 2, 3, 4, 7)))
    assert list(libtorrent.parse_magnet_uri(link).file_priorities) == [4, 0, 4, 4, 4, 0, 0, 4]


@pytest.mark.parametrize("version", VERSIONS)
async def test_we_get_one_file_of_libtorrent_and_give_it_to_another_one_that_wants_the_same(
    tmp_path: Path, version: str
) -> None:
    top = make_files(tmp_path / "a", SIZES)
    raw = create_torrent(top, version=version, piece_length=16_384)
    torrent = read_torrent(raw)
    theirs = Theirs(torrent, raw, tmp_path / "a", seeds=True)
    await theirs.seeding()
    number = next(number for number, file in enumerate(torrent.layout.files) if file.path[-1] == "1.bin")
    async with our_client() as client:
        link = str(replace(torrent.magnet(), files=(number,)))
        download = await client.add(link, tmp_path / "b", peers=[theirs.address])
        await done(download)
        assert download.progress.bytes_done == download.progress.bytes_total == SIZES[1]
        assert contents(tmp_path / "b" / "set") == {str(Path("sub", "1.bin")): (top / "sub" / "1.bin").read_bytes()}
        leecher = Theirs(torrent, raw, tmp_path / "c", close_redundant_connections=False)
        leecher.handle.prioritize_files([4 if other == number else 0 for other in range(len(torrent.layout.files))])
        leecher.connect(client.listen_port)
        await until(lambda: leecher.handle.status().is_finished)
        await until(lambda: [bool(peer.flags & UPLOAD_ONLY) for peer in leecher.handle.get_peer_info()] == [True])
        assert not leecher.handle.get_peer_info()[0].flags & libtorrent.peer_info.seed
        leecher.handle.flush_cache()
        await until((tmp_path / "c" / "set" / "sub" / "1.bin").exists)
    assert (tmp_path / "c" / "set" / "sub" / "1.bin").read_bytes() == (top / "sub" / "1.bin").read_bytes()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(is_so):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)
