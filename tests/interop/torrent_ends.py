"""The ends of torrents between our client and libtorrent: its sessions, our clients, files, and how quick they are."""

from __future__ import annotations

import asyncio
import filecmp
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from librats.torrents import Download, Torrent, TorrentClient, create_torrent, read_torrent

libtorrent: Any = pytest.importorskip("libtorrent")

HERE = "127.0.0.1"
SECONDS = 60.0
VERSIONS = ["v1", "v2", "hybrid"]
PLAIN = 2  # pe_disabled

BIG = 500_000_000
"""Bytes of the file that takes long."""

PIECE = 524_288
MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it have names that nobody guesses


def new_session(transport: str = "tcp", **settings: Any) -> Any:
    other = "utp" if transport == "tcp" else "tcp"
    return libtorrent.session(
        {
            "listen_interfaces": f"{HERE}:0",
            "alert_mask": 0,
            **dict.fromkeys(("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"), False),
            **dict.fromkeys((f"enable_outgoing_{other}", f"enable_incoming_{other}"), False),
            **dict.fromkeys(("in_enc_policy", "out_enc_policy"), PLAIN),
            "allow_multiple_connections_per_ip": True,
            **settings,
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
        **settings: Any,
    ) -> None:
        self.session = new_session(transport, **settings)
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

    async def seeding(self, seconds: float = SECONDS, *, enough: int | None = None) -> None:
        """Wait until it has everything, or bytes that are enough."""
        async with asyncio.timeout(seconds):
            while True:
                # It answers when it has time for that, which what we give it does not wait for. No event tells of it.
                status = await asyncio.to_thread(self.handle.status)
                if status.is_seeding or (enough is not None and status.total_done >= enough):
                    return
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
async def our_client(**options: Any) -> AsyncIterator[TorrentClient]:
    async with TorrentClient(listen_host=HERE, **options) as client:
        yield client


# What takes long


@contextmanager
def room_for(size: int) -> Iterator[Path]:
    """A folder in memory where there is room for that many bytes, else on the disk."""
    where = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > size else None
    with tempfile.TemporaryDirectory(prefix="torrents", dir=where) as folder:
        yield Path(folder)


class BigTorrent(NamedTuple):
    """A torrent of one file of :data:`BIG` bytes."""

    torrent: Torrent
    raw: bytes
    path: Path

    def is_same(self, folder: Path) -> bool:
        """Whether the file in another folder has the same bytes."""
        return filecmp.cmp(self.path, folder / self.path.name, shallow=False)


def make_big(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "big.bin"
    dice = random.Random(5)  # noqa: S311 - the same in every run
    with path.open("wb") as file:
        left = BIG
        while left:
            left -= file.write(dice.randbytes(min(left, 1 << 20)))
    return path


def big_torrent(folder: Path, version: str, piece_length: int = PIECE) -> BigTorrent:
    path = folder / "big.bin" if (folder / "big.bin").exists() else make_big(folder)
    raw = create_torrent(path, version=version, piece_length=piece_length)
    return BigTorrent(read_torrent(raw), raw, path)


async def all_there(download: Download, seconds: float = 300) -> None:
    """Wait until it is written, and not until the disk has it: libtorrent does not wait for that, either."""
    async with asyncio.timeout(seconds):
        while download.progress.bytes_done < BIG:  # noqa: ASYNC110 - as libtorrent is asked
            await asyncio.sleep(0.02)


async def rate_of(work: Awaitable[object], size: int = BIG) -> float:
    """Return bytes a second of what carries the big file, or as much of it."""
    begun = time.perf_counter()
    await work
    return size / (time.perf_counter() - begun)


class Rates(NamedTuple):
    """Bytes a second of the big file."""

    theirs: float
    """From libtorrent to libtorrent."""

    down: float
    """From libtorrent to us."""

    up: float
    """From us to libtorrent."""

    @classmethod
    def best(cls, rounds: list[Rates]) -> Rates:
        """Return the highest of each kind."""
        return cls(*map(max, zip(*rounds, strict=True)))

    def __str__(self) -> str:
        """Show them."""
        theirs, down, up = (rate / 1e6 for rate in self)
        return (
            f"libtorrent to itself {theirs:.1f} MB/s, to us {down:.1f} ({down / theirs:.2f}), "
            f"from us {up:.1f} ({up / theirs:.2f})"
        )


async def race(
    big: BigTorrent, room: Path, transport: str = "tcp", seconds: float = 300, *, sample: int = BIG, **settings: Any
) -> Rates:
    """Have the big file carried from libtorrent to libtorrent, to us, and from us, and see that it is the same.

    Args:
        big: The file.
        room: A folder for its copies.
        transport: "tcp" or "utp".
        seconds: How long one of them may take.
        sample: How many bytes libtorrent carries to itself.
        settings: Of libtorrent.
    """
    torrent, raw, path = big

    def theirs(name: str, *, seeds: bool = False) -> Theirs:
        return Theirs(torrent, raw, path.parent if seeds else room / name, seeds=seeds, transport=transport, **settings)

    seed = theirs("", seeds=True)
    await seed.seeding()
    leecher = theirs("theirs")
    leecher.connect(seed.session.listen_port())
    to_itself = await rate_of(leecher.seeding(seconds, enough=sample), sample)
    del leecher
    async with our_client(transports=[transport]) as client:
        download = await client.add(torrent, room / "down", peers=[seed.address])
        down = await rate_of(all_there(download, seconds))
        await done(download, seconds)
    del seed
    async with our_client(transports=[transport]) as client:
        await client.add(torrent, path.parent, trusted=True)
        leecher = theirs("up")
        leecher.connect(client.listen_port)
        up = await rate_of(leecher.seeding(seconds))
        del leecher
    assert big.is_same(room / "down")
    assert big.is_same(room / "up")
    for name in ("theirs", "down", "up"):
        shutil.rmtree(room / name)
    return Rates(to_itself, down, up)
