"""Nodes of the DHT that get to know each other by a torrent's connection alone (BEP 5), with libtorrent's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.interop.torrent_ends import HERE, Theirs, make_files

from librats import DhtConfig, NatTraversalConfig, RatsClient, RatsConfig
from librats.torrents import TorrentClient, create_torrent, read_torrent

pytestmark = pytest.mark.interop

QUIET: dict[str, Any] = {"enable_dht": True, "dht_bootstrap_nodes": "", "dht_restrict_routing_ips": False}


@pytest.mark.filterwarnings("ignore:status")
@pytest.mark.parametrize("we_dial", [True, False])
async def test_a_node_of_ours_and_one_of_libtorrent_know_each_other_by_a_torrents_connection(
    tmp_path: Path, we_dial: bool
) -> None:
    raw = create_torrent(make_files(tmp_path / "a"), piece_length=16_384)
    torrent = read_torrent(raw)
    theirs = Theirs(torrent, raw, tmp_path / "b", **QUIET)
    config = RatsConfig(
        listen_host=HERE, transports=("udp",), nat=NatTraversalConfig.offline(), dht=DhtConfig(bootstrap=())
    )
    async with RatsClient(0, config=config) as node:
        await node.start_dht_discovery(meet=False)
        assert node.dht.listen_port
        async with TorrentClient(listen_host=HERE, dht=node.dht, port_mapping=False) as client:
            peers = [theirs.address] if we_dial else []
            await client.add(torrent, tmp_path / "a", trusted=True, peers=peers)
            if not we_dial:
                theirs.connect(client.listen_port)
            await theirs.seeding()
            await until(lambda: node.dht.is_reachable)
            found = await node.dht.find_nodes(bytes(20))
            assert [info.address.port for info in found] == [theirs.session.listen_port()]
            await until(lambda: theirs.session.status().dht_nodes > 0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)
