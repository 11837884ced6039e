"""500 MB among clients of ours and of libtorrent: by a magnet link alone, ten leechers of one seed, and a crash."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.interop.test_torrent_swarm_libtorrent import dht_client, join_dht
from tests.interop.torrent_ends import (
    BIG,
    HERE,
    PIECE,
    Theirs,
    all_there,
    big_torrent,
    done,
    new_session,
    our_client,
    rate_of,
    room_for,
)

from librats import Address, RatsClient
from librats.bittorrent.request_depth import MAX_DEPTH
from librats.torrents import TorrentClient

pytestmark = [pytest.mark.interop, pytest.mark.long, pytest.mark.timeout(1800)]

PATIENCE = 600.0
BLOCK = 16_384
ON_ONE_HOST: dict[str, Any] = {"dht_restrict_routing_ips": False, "dht_restrict_search_ips": False}


def tell(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - what it is run for


@asynccontextmanager
async def first_node(whose: str) -> AsyncIterator[int]:
    """Run the node that all others of a DHT begin with; yield its port."""
    if whose == "theirs":
        session = new_session(dht_bootstrap_nodes="", **ON_ONE_HOST)
        session.apply_settings({"enable_dht": True})
        while not session.is_dht_running():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.05)
        yield session.listen_port()
        return
    async with dht_client() as first:
        await first.start_dht_discovery(meet=False)
        yield first.listen_port


async def our_node(stack: AsyncExitStack, port: int) -> RatsClient:
    node = await stack.enter_async_context(dht_client(f"{HERE}:{port}"))
    await node.start_dht_discovery(meet=False)
    return node


@pytest.mark.parametrize("whose", ["ours", "theirs"])
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_500_mb_are_found_in_the_dht_by_a_magnet_link_alone(version: str, whose: str) -> None:
    with room_for(4 * BIG) as room:
        async with AsyncExitStack() as stack:
            one = big_torrent(room / "seed", version)
            other = big_torrent(room / "seed", version, PIECE // 2)
            link = str(one.torrent.magnet())
            assert ("btmh" in link, "btih" in link) == (version == "v2", version == "v1")
            assert not one.torrent.magnet().peers
            assert not one.torrent.magnet().trackers
            port = await stack.enter_async_context(first_node(whose))
            node = await our_node(stack, port)
            client = await stack.enter_async_context(our_client(dht=node.dht))
            seed = Theirs(one.torrent, one.raw, room / "seed", seeds=True)
            joining = [asyncio.create_task(join_dht(seed, port))]
            download = await client.add(link, room / "down")
            down = await rate_of(done(download, PATIENCE))
            await client.remove(download)
            await client.add(other.torrent, room / "seed", trusted=True)
            leecher = Theirs(other.torrent, other.raw, room / "up", magnet=True)
            joining.append(asyncio.create_task(join_dht(leecher, port)))
            up = await rate_of(leecher.seeding(PATIENCE))
            for task in joining:
                task.cancel()
            tell(f"{version} by magnet link, {whose} first: to us {down / 1e6:.1f} MB/s, from us {up / 1e6:.1f}")
        assert one.is_same(room / "down")
        assert one.is_same(room / "up")


@pytest.mark.parametrize("whose", ["ours", "theirs"])
async def test_ten_leechers_of_both_kinds_have_500_mb_from_one_seed(whose: str) -> None:
    with room_for(12 * BIG) as room:
        big = big_torrent(room / "seed", "hybrid")
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(our_client()) for _ in range(5)]
            if whose == "ours":
                seeding = await stack.enter_async_context(our_client())
                handle = await seeding.add(big.torrent, room / "seed", trusted=True)
                first = f"{HERE}:{seeding.listen_port}"
            else:
                seed = Theirs(big.torrent, big.raw, room / "seed", seeds=True)
                await seed.seeding()
                first = seed.address
            theirs = [Theirs(big.torrent, big.raw, room / f"theirs{number}") for number in range(5)]
            peers = [first, *(f"{HERE}:{client.listen_port}" for client in clients), *(one.address for one in theirs)]
            ours = [
                await client.add(big.torrent, room / f"ours{number}", peers=peers)
                for number, client in enumerate(clients)
            ]
            for one in theirs:
                one.connect(int(first.rpartition(":")[2]))
            work = asyncio.gather(
                *(done(download, PATIENCE) for download in ours), *(one.seeding(PATIENCE) for one in theirs)
            )
            rate = 10 * await rate_of(work)
            given = handle.progress.uploaded if whose == "ours" else seed.handle.status().total_payload_upload
            passed_on = sum(download.progress.uploaded for download in ours)
            wasted = sum(download.progress.wasted for download in ours)
            tell(
                f"ten leechers, seed of {whose}: {rate / 1e6:.1f} MB/s, {given / BIG:.2f} copies by the seed, "
                f"{passed_on / BIG:.2f} passed on by our leechers, {wasted / BIG:.4f} in vain"
            )
            assert given < 10 * BIG
            assert passed_on > 0
        for number in range(5):
            assert big.is_same(room / f"ours{number}")
            assert big.is_same(room / f"theirs{number}")


async def next_progress(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    while True:
        line = await process.stdout.readline()
        assert line
        if line.startswith(b"{"):  # an editable build may say that it waits for its turn
            told: dict[str, Any] = json.loads(line)
            if told["event"] == "progress":
                return told


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_download_of_500_mb_that_is_killed_fetches_next_to_nothing_again(version: str) -> None:
    with room_for(3 * BIG) as room:
        big = big_torrent(room / "seed", version)
        file = room / "big.torrent"
        file.write_bytes(big.raw)
        seed = Theirs(big.torrent, big.raw, room / "seed", seeds=True)
        await seed.seeding()
        seed.handle.set_upload_limit(BIG // 8)
        words = ("torrent", "download", str(file), "--folder", str(room / "down"), "--peer", seed.address)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "librats", *words, "--listen", f"{HERE}:0", "--no-dht", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LIBRATS_DATA_DIR": str(room / "data"), "SKBUILD_EDITABLE_VERBOSE": "0"},
        )
        async with asyncio.timeout(PATIENCE):
            while (verified := (await next_progress(process))["bytes"]) < BIG // 4:
                pass
        process.send_signal(signal.SIGKILL)
        await process.wait()
        given = int(seed.handle.status().total_payload_upload)
        seed.handle.set_upload_limit(0)
        async with TorrentClient(listen_host=HERE) as client:
            download = await client.add(big.torrent, room / "down")
            async with asyncio.timeout(PATIENCE):
                while download.progress.status in {"metadata", "checking"}:  # noqa: ASYNC110 - it is quick
                    await asyncio.sleep(0.01)
            kept, before = download.progress.bytes_done, download.progress.downloaded
            download.add_peers([Address.parse(seed.address)])
            await all_there(download, PATIENCE)
            fetched = download.progress.downloaded - before
        tell(
            f"{version}, killed when {verified:,} bytes were told: {given:,} were sent, {kept:,} are kept, "
            f"{given - kept:,} are fetched again"
        )
        assert BIG // 4 <= verified <= kept < BIG
        assert fetched == BIG - kept
        assert given - kept <= PIECE + MAX_DEPTH * BLOCK
        assert big.is_same(room / "down")
