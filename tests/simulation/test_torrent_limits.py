"""Limits of how much comes and goes, between clients in the simulated network: by its clock, which is exact."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from librats.testing import SimNetwork
from librats.torrents import Download, TorrentClient, create_torrent

PORT = 6881
CONTENT = bytes(range(256)) * 20_000
SEED = "203.0.113.10"
SECONDS = 10.0


def make_torrent(folder: Path, name: str = "file.bin") -> bytes:
    (folder / "a").mkdir(exist_ok=True)
    (folder / "a" / name).write_bytes(CONTENT + name.encode())
    return create_torrent(folder / "a" / name, piece_length=65_536)


class Ends:
    """A client that seeds, and others that download of it, each at a host of its own."""

    def __init__(self, folder: Path, transport: str = "tcp", *, others: int = 1, **options: Any) -> None:
        self.folder = folder
        self.transport = transport
        self.net = SimNetwork(seed=3, delay=0.02)
        self.seed_host = self.net.host("seed", addresses=[SEED])
        self.hosts = [self.net.host(f"host{n}", addresses=[f"203.0.113.{20 + n}"]) for n in range(others)]
        self.seed_options = options
        self.seed: TorrentClient
        self.clients: list[TorrentClient] = []

    async def client(self, **options: Any) -> TorrentClient:
        client = TorrentClient(PORT, transports=[self.transport], port_mapping=False, **options)
        await client.start()
        self.clients.append(client)
        return client

    async def begin(self, *torrents: bytes) -> None:
        async def seeding() -> TorrentClient:
            client = await self.client(**self.seed_options)
            for raw in torrents:
                await client.add(raw, self.folder / "a", trusted=True)
            return client

        self.seed = await self.seed_host.spawn(seeding())

    async def close(self) -> None:
        for client in self.clients:
            await client.close()

    def run(self, work: Any) -> None:
        with self.net:
            self.net.run(self.hosts[0].run(work))


async def had_in(seconds: float, *downloads: Download) -> list[int]:
    before = [download.progress.downloaded for download in downloads]
    await asyncio.sleep(seconds)
    return [download.progress.downloaded - had for download, had in zip(downloads, before, strict=True)]


@pytest.mark.parametrize("transport", ["tcp", "utp"])
@pytest.mark.parametrize("way", ["client down", "download down", "client up", "download up"])
def test_a_limit_is_kept_over_some_seconds(tmp_path: Path, transport: str, way: str) -> None:
    raw = make_torrent(tmp_path)
    whose, which = way.split()
    ends = Ends(tmp_path, transport, **({"upload_limit": 200_000} if way == "client up" else {}))

    async def work() -> None:
        await ends.begin(raw)
        if way == "download up":
            next(iter(ends.seed.downloads.values())).upload_limit = 200_000
        own: dict[str, Any] = {"download_limit": 200_000} if which == "down" else {}
        client = await ends.client(**(own if whose == "client" else {}))
        download = await client.add(raw, tmp_path / "b", peers=[f"{SEED}:{PORT}"], **(own if whose != "client" else {}))
        await asyncio.sleep(2)
        (had,) = await had_in(SECONDS, download)
        assert had == pytest.approx(200_000 * SECONDS, rel=0.03)
        await ends.close()

    ends.run(work())


def test_a_limit_is_changed_while_it_runs_and_taken_away(tmp_path: Path) -> None:
    raw = make_torrent(tmp_path)
    ends = Ends(tmp_path)

    async def work() -> None:
        await ends.begin(raw)
        client = await ends.client(download_limit=50_000)
        download = await client.add(raw, tmp_path / "b", peers=[f"{SEED}:{PORT}"])
        await asyncio.sleep(2)
        assert (await had_in(SECONDS, download))[0] == pytest.approx(50_000 * SECONDS, rel=0.05)
        client.download_limit = 200_000
        await asyncio.sleep(0.5)
        assert (await had_in(SECONDS, download))[0] == pytest.approx(200_000 * SECONDS, rel=0.03)
        download.download_limit = 20_000
        await asyncio.sleep(1)
        assert (await had_in(SECONDS, download))[0] == pytest.approx(20_000 * SECONDS, rel=0.1)
        assert (client.download_limit, download.download_limit) == (200_000, 20_000)
        client.download_limit = download.download_limit = None
        async with asyncio.timeout(20):
            await download.wait()
        await ends.close()

    ends.run(work())
    assert (tmp_path / "b" / "file.bin").read_bytes() == CONTENT + b"file.bin"


def test_what_goes_is_shared_by_those_who_take_it(tmp_path: Path) -> None:
    raw = make_torrent(tmp_path)
    ends = Ends(tmp_path, others=4, upload_limit=400_000)

    async def work() -> None:
        await ends.begin(raw)

        async def taking(number: int) -> Download:
            client = await ends.client(upload_limit=1)  # so that they have it of the seed alone
            return await client.add(raw, tmp_path / f"t{number}", peers=[f"{SEED}:{PORT}"])

        others = [await host.spawn(taking(number)) for number, host in enumerate(ends.hosts[1:])]
        await asyncio.sleep(15)
        shares = await had_in(SECONDS, *others)
        assert sum(shares) == pytest.approx(400_000 * SECONDS, rel=0.03)
        assert max(shares) <= 1.1 * min(shares)
        await ends.close()

    ends.run(work())


def test_what_comes_is_shared_by_torrents(tmp_path: Path) -> None:
    raws = [make_torrent(tmp_path, name) for name in ("one", "two")]
    ends = Ends(tmp_path)

    async def work() -> None:
        await ends.begin(*raws)
        client = await ends.client(download_limit=200_000)
        both = [await client.add(raw, tmp_path / "b", peers=[f"{SEED}:{PORT}"]) for raw in raws]
        await asyncio.sleep(2)
        shares = await had_in(SECONDS, *both)
        assert sum(shares) == pytest.approx(200_000 * SECONDS, rel=0.03)
        assert max(shares) <= 1.1 * min(shares)
        await ends.close()

    ends.run(work())
