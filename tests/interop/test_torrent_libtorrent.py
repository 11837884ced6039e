"""Torrents between our client and libtorrent, both ways: files, magnets, swarms of both kinds, and how quick it is."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from librats.torrents import Download, Torrent, TorrentClient, create_torrent, read_torrent

libtorrent: Any = pytest.importorskip("libtorrent")

pytestmark = pytest.mark.interop

HERE = "127.0.0.1"
SECONDS = 60.0
VERSIONS = ["v1", "v2", "hybrid"]
PLAIN = 2  # pe_disabled


def new_session(transport: str = "tcp") -> Any:
    other = "utp" if transport == "tcp" else "tcp"
    return libtorrent.session(
        {
            "listen_interfaces": f"{HERE}:0",
            "alert_mask": 0,
            **dict.fromkeys(("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"), False),
            **dict.fromkeys((f"enable_outgoing_{other}", f"enable_incoming_{other}"), False),
            **dict.fromkeys(("in_enc_policy", "out_enc_policy"), PLAIN),
            "allow_multiple_connections_per_ip": True,
        }
    )


class Theirs:
    """A session of libtorrent with one torrent."""

    def __init__(
        self,
        torrent: Torrent,
        raw: bytes,
        folder: Path,
        *,
        seeds: bool = False,
        magnet: bool = False,
        transport: str = "tcp",
    ) -> None:
        self.session = new_session(transport)
        folder.mkdir(parents=True, exist_ok=True)
        link = str(torrent.magnet())
        params = libtorrent.parse_magnet_uri(link) if magnet else libtorrent.load_torrent_buffer(raw)
        params.save_path = str(folder)
        if seeds:
            params.flags |= libtorrent.torrent_flags.seed_mode
        params.flags &= ~(libtorrent.torrent_flags.paused | libtorrent.torrent_flags.auto_managed)
        self.handle = self.session.add_torrent(params)

    @property
    def address(self) -> str:
        return f"{HERE}:{self.session.listen_port()}"

    def connect(self, port: int) -> None:
        self.handle.connect_peer((HERE, port))

    async def seeding(self, seconds: float = SECONDS) -> None:
        async with asyncio.timeout(seconds):
            # It answers when it has time for that, which what we give it does not wait for. No event tells of it.
            while not (await asyncio.to_thread(self.handle.status)).is_seeding:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def done(download: Download, seconds: float = SECONDS) -> None:
    async with asyncio.timeout(seconds):
        await download.wait()


def make_files(folder: Path, sizes: tuple[int, ...] = (300_000, 5, 70_000)) -> Path:
    dice = random.Random(sum(sizes))  # noqa: S311 - the same in every run
    top = folder / "set"
    (top / "sub").mkdir(parents=True)
    for number, size in enumerate(sizes):
        (top / ("sub" if number % 2 else ".") / f"{number}.bin").write_bytes(dice.randbytes(size))
    return top


def contents(top: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if ".pad" not in name}


@asynccontextmanager
async def our_client() -> AsyncIterator[TorrentClient]:
    async with TorrentClient(listen_host=HERE) as client:
        yield client


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


BIG = 500_000_000


def make_big(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "big.bin"
    dice = random.Random(5)  # noqa: S311 - the same in every run
    with path.open("wb") as file:
        for _ in range(500):
            file.write(dice.randbytes(BIG // 500))
    return path


async def all_there(download: Download) -> None:
    """Wait until it is written, and not until the disk has it: libtorrent does not wait for that, either."""
    async with asyncio.timeout(300):
        while download.progress.bytes_done < BIG:  # noqa: ASYNC110 - as libtorrent is asked
            await asyncio.sleep(0.02)


async def seconds_of(work: Any) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", VERSIONS)
async def test_500_mb_go_both_ways_at_seven_tenths_of_their_rate_or_more(tmp_path: Path, version: str) -> None:
    path = make_big(tmp_path / "a")
    raw = create_torrent(path, version=version, piece_length=524_288)
    torrent = read_torrent(raw)
    best = {"theirs": 0.0, "down": 0.0, "up": 0.0}
    for number in range(3):
        seed = Theirs(torrent, raw, tmp_path / "a", seeds=True)
        await seed.seeding()
        leecher = Theirs(torrent, raw, tmp_path / f"t{number}")
        leecher.connect(seed.session.listen_port())
        best["theirs"] = max(best["theirs"], BIG / await seconds_of(leecher.seeding(300)))
        async with our_client() as client:
            download = await client.add(torrent, tmp_path / f"d{number}", peers=[seed.address])
            best["down"] = max(best["down"], BIG / await seconds_of(all_there(download)))
            await done(download, 300)
        assert (tmp_path / f"d{number}" / "big.bin").read_bytes() == path.read_bytes()
        async with our_client() as client:
            await client.add(torrent, tmp_path / "a", trusted=True)
            leecher = Theirs(torrent, raw, tmp_path / f"u{number}")
            leecher.connect(client.listen_port)
            best["up"] = max(best["up"], BIG / await seconds_of(leecher.seeding(300)))
        for name in ("t", "d", "u"):
            (tmp_path / f"{name}{number}" / "big.bin").unlink()
    print({name: f"{rate / 1e6:.0f} MB/s" for name, rate in best.items()}, file=sys.stderr)  # noqa: T201
    assert best["down"] >= 0.7 * best["theirs"]
    assert best["up"] >= 0.7 * best["theirs"]
