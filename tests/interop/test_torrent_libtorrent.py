"""Torrents between our client and libtorrent, both ways: files, magnets and a swarm of both kinds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.interop.torrent_ends import (
    HERE,
    VERSIONS,
    Theirs,
    contents,
    done,
    libtorrent,
    make_files,
    our_client,
)

from librats.torrents import TorrentClient, create_torrent, read_torrent

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("magnet", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
async def test_we_download_what_libtorrent_seeds(tmp_path: Path, version: str, magnet: bool) -> None:
    top = make_files(tmp_path / "a")
    raw = create_torrent(top, version=version, piece_length=16_384)
    torrent = read_torrent(raw)
    theirs = Theirs(torrent, raw, tmp_path / "a", seeds=True)
    await theirs.seeding()
    async with our_client() as client:
        source = str(torrent.magnet()) if magnet else torrent
        download = await client.add(source, tmp_path / "b", peers=[theirs.address])
        await done(download)
        assert download.progress.wasted == 0
    assert contents(tmp_path / "b" / "set") == contents(top)


@pytest.mark.parametrize("magnet", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
async def test_libtorrent_downloads_what_we_seed(tmp_path: Path, version: str, magnet: bool) -> None:
    top = make_files(tmp_path / "a")
    raw = create_torrent(top, version=version, piece_length=16_384)
    torrent = read_torrent(raw)
    async with our_client() as client:
        await client.add(torrent, tmp_path / "a", trusted=True)
        theirs = Theirs(torrent, raw, tmp_path / "b", magnet=magnet)
        theirs.connect(client.listen_port)
        await theirs.seeding()
    assert contents(tmp_path / "b" / "set") == contents(top)


async def test_torrents_go_both_ways_over_utp(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    raw = create_torrent(top, piece_length=16_384)
    torrent = read_torrent(raw)
    seed = Theirs(torrent, raw, tmp_path / "a", seeds=True, transport="utp")
    await seed.seeding()
    async with TorrentClient(listen_host=HERE, transports=["utp"]) as client:
        download = await client.add(torrent, tmp_path / "b", peers=[seed.address])
        await done(download)
        leecher = Theirs(torrent, raw, tmp_path / "c", transport="utp")
        leecher.connect(client.listen_port)
        await leecher.seeding()
    assert contents(tmp_path / "b" / "set") == contents(tmp_path / "c" / "set") == contents(top)


@pytest.mark.parametrize("version", VERSIONS)
def test_libtorrent_finds_the_same_in_our_torrents_as_we_do(tmp_path: Path, version: str) -> None:
    top = make_files(tmp_path)
    raw = create_torrent(top, version=version, trackers=[["udp://tracker.example:1"]], comment="hello")
    ours, theirs = read_torrent(raw), libtorrent.load_torrent_buffer(raw).ti
    hashes = theirs.info_hashes()
    assert ours.info_hash_v1 == (hashes.v1.to_bytes() if hashes.has_v1() else None)
    assert ours.info_hash_v2 == (hashes.v2.to_bytes() if hashes.has_v2() else None)
    assert ours.layout.piece_count == theirs.num_pieces()


async def test_a_swarm_of_both_kinds_fills_everybody_from_one_seed(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a", (1_500_000,))
    raw = create_torrent(top, piece_length=16_384)
    torrent = read_torrent(raw)
    seed = Theirs(torrent, raw, tmp_path / "a", seeds=True)
    await seed.seeding()
    theirs = [Theirs(torrent, raw, tmp_path / f"t{number}") for number in range(3)]
    clients = [TorrentClient(listen_host=HERE) for _ in range(3)]
    try:
        for client in clients:
            await client.start()
        peers = [*(f"{HERE}:{client.listen_port}" for client in clients), *(other.address for other in theirs)]
        ours = [
            await client.add(torrent, tmp_path / f"o{number}", peers=[seed.address, *peers])
            for number, client in enumerate(clients)
        ]
        for other in theirs:
            other.connect(seed.session.listen_port())
        await asyncio.gather(*(done(download) for download in ours), *(other.seeding() for other in theirs))
    finally:
        for client in clients:
            await client.close()
    for number in range(3):
        assert contents(tmp_path / f"o{number}" / "set") == contents(tmp_path / f"t{number}" / "set") == contents(top)
