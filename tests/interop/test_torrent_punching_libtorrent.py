"""Holes in the kernel's NATs (BEP 55) with libtorrent in each role: between, met, and as the one who wants to meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.interop.torrent_ends import Theirs, libtorrent
from tests.netns.lab import SERVER, Lab, missing
from tests.netns.test_torrent_punching import HOMES, MIDDLE, PORT, SECONDS, client_in, make_torrent

from librats.bittorrent.events import PeersTold
from librats.torrents import Download, TorrentClient, read_torrent
from librats.types import Address

WHY_NOT = missing()
pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.fixture
def raw(tmp_path: Path) -> bytes:
    return make_torrent(tmp_path)


def theirs_in(lab: Lab, box: str, raw: bytes, folder: Path, *, seeds: bool = False) -> Theirs:
    """Start libtorrent, whose threads stay in the box."""
    with lab.enter(box):
        return Theirs(
            read_torrent(raw),
            raw,
            folder,
            seeds=seeds,
            transport="utp",
            listen_interfaces=f"0.0.0.0:{PORT}",
            close_redundant_connections=False,
        )


@asynccontextmanager
async def ours_in(lab: Lab, box: str) -> AsyncIterator[TorrentClient]:
    client = await client_in(lab, box, ["utp"])
    try:
        yield client
    finally:
        await client.close()


def meets(theirs: Theirs) -> None:
    theirs.handle.connect_peer((SERVER[0], PORT))


async def connected(download: Download, *hosts: str) -> None:
    async with asyncio.timeout(SECONDS):
        async for _ in download.updates():
            if {link.address.host for link in download.swarm.links.values()} >= set(hosts):
                return


def same(tmp_path: Path) -> bool:
    return (tmp_path / "leecher" / "file.bin").read_bytes() == (tmp_path / "seed" / "file.bin").read_bytes()


async def test_libtorrent_brings_two_of_ours_together(tmp_path: Path, raw: bytes) -> None:
    with Lab("port_restricted", "port_restricted") as lab:
        middle = theirs_in(lab, "server", raw, tmp_path / "middle")
        middle.handle.set_flags(libtorrent.torrent_flags.upload_mode)  # it wants nothing
        async with ours_in(lab, "host") as seed, ours_in(lab, "host2") as leecher:
            await connected(await seed.add(raw, tmp_path / "seed", trusted=True, peers=[MIDDLE]), SERVER[0])
            download = await leecher.add(raw, tmp_path / "leecher", peers=[MIDDLE])
            await connected(download, SERVER[0])
            (link,) = download.swarm.links.values()
            # It tells of those alone that it has dialled itself.
            download._take_told(PeersTold(link, (Address(HOMES[0], PORT),), frozenset()))
            async with asyncio.timeout(SECONDS):
                await download.wait()
        assert middle.handle.status().total_payload_upload == 0
    assert same(tmp_path)


async def test_we_meet_a_seed_of_libtorrent(tmp_path: Path, raw: bytes) -> None:
    with Lab("port_restricted", "port_restricted") as lab:
        async with ours_in(lab, "server") as middle, ours_in(lab, "host2") as leecher:
            between = await middle.add(raw, tmp_path / "middle")
            between.pause()
            seed = theirs_in(lab, "host", raw, tmp_path / "seed", seeds=True)
            meets(seed)
            await connected(between, HOMES[0])
            download = await leecher.add(raw, tmp_path / "leecher", peers=[MIDDLE])
            async with asyncio.timeout(SECONDS):
                await download.wait()
            assert between.progress.uploaded == between.progress.bytes_done == 0
    assert same(tmp_path)


async def test_libtorrent_meets_a_seed_of_ours(tmp_path: Path, raw: bytes) -> None:
    with Lab("port_restricted", "port_restricted") as lab:
        async with ours_in(lab, "server") as middle, ours_in(lab, "host") as seed:
            between = await middle.add(raw, tmp_path / "middle")
            between.pause()
            await seed.add(raw, tmp_path / "seed", trusted=True, peers=[MIDDLE])
            await connected(between, HOMES[0])
            leecher = theirs_in(lab, "host2", raw, tmp_path / "leecher")
            meets(leecher)
            await leecher.seeding()
            assert between.progress.uploaded == between.progress.bytes_done == 0
    assert same(tmp_path)
