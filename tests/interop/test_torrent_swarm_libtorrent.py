"""Torrents among clients of ours and of libtorrent: found in the DHT alone, ten leechers of one seed, and a crash."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.torrent_ends import HERE, Theirs, contents, done, make_files

from librats import DhtConfig, Identity, NatTraversalConfig, RatsClient, RatsConfig
from librats.torrents import TorrentClient, create_torrent, read_torrent

pytestmark = pytest.mark.interop


def dht_client(*begin: str) -> RatsClient:
    config = RatsConfig(
        listen_host=HERE, transports=("udp",), nat=NatTraversalConfig.offline(), dht=DhtConfig(bootstrap=begin)
    )
    return RatsClient(config=config, identity=Identity.generate())


async def join_dht(theirs: Theirs, port: int) -> None:
    """Let a session of libtorrent take part in a DHT on one host, and announce and look for its torrent there."""
    theirs.session.apply_settings(
        {
            "dht_bootstrap_nodes": "",
            "dht_restrict_routing_ips": False,
            "dht_restrict_search_ips": False,
            "enable_dht": True,
        }
    )
    theirs.session.add_dht_node((HERE, port))
    while True:  # it does so by itself every 15 minutes
        theirs.handle.force_dht_announce()
        await asyncio.sleep(0.5)


async def test_a_magnet_link_is_enough_where_there_is_a_dht(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    other_top = make_files(tmp_path / "x", (90_000,))
    raw, other_raw = create_torrent(top, piece_length=16_384), create_torrent(other_top, piece_length=16_384)
    torrent, other = read_torrent(raw), read_torrent(other_raw)
    async with dht_client() as first:
        await first.start_dht_discovery(meet=False)
        begin = f"{HERE}:{first.listen_port}"
        async with dht_client(begin) as ours:
            await ours.start_dht_discovery(meet=False)
            async with TorrentClient(listen_host=HERE, dht=ours.dht) as client:
                seed = Theirs(torrent, raw, tmp_path / "a", seeds=True)
                joining = [asyncio.create_task(join_dht(seed, first.listen_port))]
                download = await client.add(str(torrent.magnet()), tmp_path / "b")
                await client.add(other, tmp_path / "x", trusted=True)
                leecher = Theirs(other, other_raw, tmp_path / "y", magnet=True)
                joining.append(asyncio.create_task(join_dht(leecher, first.listen_port)))
                await asyncio.gather(done(download), leecher.seeding())
                for task in joining:
                    task.cancel()
    assert contents(tmp_path / "b" / "set") == contents(top)
    assert contents(tmp_path / "y" / "set") == contents(other_top)


async def test_ten_leechers_of_both_kinds_have_all_of_it_from_one_seed(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a", (2_000_000,))
    raw = create_torrent(top, piece_length=32_768)
    torrent = read_torrent(raw)
    clients = [TorrentClient(listen_host=HERE) for _ in range(6)]
    try:
        for client in clients:
            await client.start()
        await clients[0].add(torrent, tmp_path / "a", trusted=True)
        theirs = [Theirs(torrent, raw, tmp_path / f"t{number}") for number in range(5)]
        peers = [*(f"{HERE}:{client.listen_port}" for client in clients), *(other.address for other in theirs)]
        ours = [
            await client.add(torrent, tmp_path / f"o{number}", peers=peers) for number, client in enumerate(clients[1:])
        ]
        await asyncio.gather(*(done(download) for download in ours), *(other.seeding() for other in theirs))
        given = [client.downloads[torrent.info_hash].progress.uploaded for client in clients]
        assert given[0] < 10 * torrent.size
        assert sum(given[1:]) > 0
    finally:
        for client in clients:
            await client.close()
    for number in range(5):
        assert contents(tmp_path / f"o{number}" / "set") == contents(tmp_path / f"t{number}" / "set") == contents(top)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
async def test_a_download_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a", (8_000_000,))
    raw = create_torrent(top, piece_length=32_768)
    torrent = read_torrent(raw)
    path = tmp_path / "set.torrent"
    path.write_bytes(raw)
    seed = Theirs(torrent, raw, tmp_path / "a", seeds=True)
    await seed.seeding()
    seed.handle.set_upload_limit(3_000_000)
    words = ("-m", "librats", "torrent", "download", str(path), "--folder", str(tmp_path / "b"), "--peer", seed.address)
    target = tmp_path / "b" / "set" / "0.bin"
    environment = {**os.environ, "LIBRATS_DATA_DIR": str(tmp_path / "data"), "SKBUILD_EDITABLE_VERBOSE": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *words, "--listen", f"{HERE}:0", "--no-dht", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while b'"progress"' not in (line := await process.stdout.readline()) or json.loads(line)["bytes"] < 100_000:
            assert line
    process.send_signal(signal.SIGKILL)
    await process.wait()
    seed.handle.set_upload_limit(0)
    assert target.exists()
    assert target.read_bytes() != (top / "0.bin").read_bytes()
    before = int(seed.handle.status().total_payload_upload)
    async with TorrentClient(listen_host=HERE) as client:
        download = await client.add(torrent, tmp_path / "b", peers=[seed.address])
        await done(download)
        assert 0 < download.progress.downloaded < torrent.size - 30_000
    assert before > 0
    assert contents(tmp_path / "b" / "set") == contents(top)
