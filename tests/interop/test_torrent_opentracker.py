"""A tracker that others have written counts who takes part as it should, and tells when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.interop.opentracker import OpenTracker
from tests.loopback.test_torrent_choosing import make_torrent
from tests.loopback.test_torrents import HERE, client, done

from librats.torrents import TorrentClient, TrackerCounts

pytestmark = pytest.mark.interop

SECONDS = 60.0


@asynccontextmanager
async def running(folder: Path, *info_hashes: bytes) -> AsyncIterator[OpenTracker]:
    one = await OpenTracker(folder, info_hashes).start()
    try:
        yield one
    finally:
        await one.kill()


async def counted(link: str, seeds: int, leechers: int, asker: TorrentClient) -> TrackerCounts:
    """Ask until the tracker counts so many, or forever."""
    async with asyncio.timeout(SECONDS):
        while True:
            (told,) = await asker.scrape(link)
            if (told.seeds, told.leechers) == (seeds, leechers):
                return told
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("scheme", ["http", "udp"])
@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
async def test_it_tells_of_a_seed_and_of_one_that_wanted_some_files_alone(
    tmp_path: Path, scheme: str, version: str
) -> None:
    if scheme == "http":
        pytest.importorskip("aiohttp")
    made = make_torrent(tmp_path / "a", version)
    async with running(tmp_path / "tracker", *made.magnet().info_hashes) as tracker:
        torrent = make_torrent(tmp_path / "a", version, [[tracker.url(scheme)]])
        link = str(torrent.magnet())
        async with client() as one, client() as other:
            await one.add(torrent, tmp_path / "a", trusted=True)
            await counted(link, 1, 0, other)
            download = await other.add(torrent, tmp_path / "b", files=["b.bin"], peers=[f"{HERE}:{one.listen_port}"])
            await done(download)
            told = await counted(link, 1, 1, other)
            assert set(told.counts) == set(torrent.magnet().info_hashes)
            assert (told.downloaded, told.error) == (0, "")
            await download.choose(None)
            await done(download)
            told = await counted(link, 2, 0, other)
            assert told.downloaded == 1
        await counted(link, 0, 0, other)


@pytest.mark.parametrize("scheme", ["http", "udp"])
async def test_of_a_torrent_that_it_does_not_have_it_tells_nothing_or_nobody(tmp_path: Path, scheme: str) -> None:
    if scheme == "http":
        pytest.importorskip("aiohttp")
    async with running(tmp_path / "tracker", b"a" * 20) as tracker:
        (told,) = await TorrentClient().scrape(f"magnet:?xt=urn:btih:{40 * 'b'}&tr={tracker.url(scheme)}")
    if scheme == "http":
        assert told.error == "it does not know the torrent"
    else:
        assert (told.seeds, told.leechers, told.downloaded) == (0, 0, 0)
