"""Torrents in the simulated network: peers behind NATs who meet through a third one, and paths that lose."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from librats.bittorrent.extensions import HolepunchKind, HolepunchMessage
from librats.bittorrent.peer import PeerLink
from librats.bittorrent.swarm import Swarm
from librats.testing import SimNetwork
from librats.testing.hosts import SimHost
from librats.torrents import Download, TorrentClient, create_torrent, read_torrent
from librats.types import Address

PORT = 6881
CONTENT = bytes(range(256)) * 1000


def make_files(folder: Path) -> bytes:
    (folder / "a").mkdir()
    (folder / "a" / "file.bin").write_bytes(CONTENT)
    return create_torrent(folder / "a" / "file.bin")


async def begun(transports: list[str]) -> TorrentClient:
    client = TorrentClient(PORT, transports=transports)
    await client.start()
    return client


def test_peers_behind_nats_meet_through_one_that_both_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make_files(tmp_path)
    net = SimNetwork(seed=5, delay=0.02)
    middle = net.host("middle", addresses=["203.0.113.10"])
    home = net.host("home", behind=net.router("one", "port_restricted"))
    flat = net.host("flat", behind=net.router("two", "port_restricted"))

    async def on_middle() -> tuple[TorrentClient, Download]:
        client = await begun(["utp"])
        download = await client.add(raw, tmp_path / "m")
        download.pause()
        return client, download

    async def on_home() -> TorrentClient:
        client = await begun(["utp"])
        await client.add(raw, tmp_path / "a", trusted=True, peers=["203.0.113.10:6881"])
        return client

    async def on_flat() -> None:
        met: list[str] = []
        take_holepunch = Swarm.take_holepunch

        def take(self: Swarm, link: PeerLink, message: HolepunchMessage) -> None:
            if message.kind is HolepunchKind.RENDEZVOUS:
                met.append(link.address.host)
            take_holepunch(self, link, message)

        monkeypatch.setattr(Swarm, "take_holepunch", take)
        between, nothing = await middle.spawn(on_middle())
        seed = await home.spawn(on_home())
        client = await begun(["utp"])
        download = await client.add(raw, tmp_path / "b", peers=["203.0.113.10:6881"])
        async with asyncio.timeout(300):
            await download.wait()
        assert nothing.progress.bytes_done == 0
        assert nothing.progress.uploaded == 0
        assert set(met) <= {"203.0.113.101", "203.0.113.102"}
        assert met  # without this they would not have met
        for other in (client, seed, between):
            await other.close()

    with net:
        net.run(flat.run(on_flat()))
    assert (tmp_path / "b" / "file.bin").read_bytes() == CONTENT


class Dials:
    """Whom clients dial over TCP in the simulated network, in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: list[str] = []
        dial = SimHost.dial_tcp

        async def dialled(network: SimHost, factory: Any, address: Address, **options: Any) -> None:
            self.of.append(address.host)
            await dial(network, factory, address, **options)

        monkeypatch.setattr(SimHost, "dial_tcp", dialled)


def test_a_seed_that_nobody_can_dial_dials_those_who_lack_something(tmp_path: Path) -> None:
    raw = make_files(tmp_path)
    net = SimNetwork(seed=9, delay=0.02)
    home = net.host("home", behind=net.router("one", "port_restricted"))
    peer = net.host("peer", addresses=["203.0.113.10"])

    async def on_home() -> TorrentClient:
        client = await begun(["tcp"])
        download = await client.add(raw, tmp_path / "a", trusted=True)
        await download.wait()
        download.add_peers([Address("203.0.113.10", PORT)])
        return client

    async def on_peer() -> None:
        client = await begun(["tcp"])
        download = await client.add(raw, tmp_path / "b")
        seed = await home.spawn(on_home())
        async with asyncio.timeout(300):
            await download.wait()
        await client.close()
        await seed.close()

    with net:
        net.run(peer.run(on_peer()))
    assert (tmp_path / "b" / "file.bin").read_bytes() == CONTENT


def test_two_seeds_that_have_met_do_not_dial_each_other_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make_files(tmp_path)
    dials = Dials(monkeypatch)
    net = SimNetwork(seed=9, delay=0.02)
    one, other = net.host("one", addresses=["203.0.113.10"]), net.host("other", addresses=["203.0.113.11"])

    async def on_one() -> TorrentClient:
        client = await begun(["tcp"])
        download = await client.add(raw, tmp_path / "a", trusted=True)
        await download.wait()
        download.add_peers([Address("203.0.113.11", PORT)])
        return client

    async def on_other() -> None:
        client = await begun(["tcp"])
        download = await client.add(raw, tmp_path / "a", trusted=True)
        seed = await one.spawn(on_one())
        await asyncio.sleep(3600)
        assert dials.of == ["203.0.113.11"]
        assert not download.connections
        await client.close()
        await seed.close()

    with net:
        net.run(other.run(on_other()))


def test_a_peer_that_has_dialled_us_is_not_dialled_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make_files(tmp_path)
    dials = Dials(monkeypatch)
    net = SimNetwork(seed=9, delay=0.02)
    one, other = net.host("one", addresses=["203.0.113.10"]), net.host("other", addresses=["203.0.113.11"])

    async def on_one() -> tuple[TorrentClient, Download]:
        client = await begun(["tcp"])
        return client, await client.add(raw, tmp_path / "b")

    async def on_other() -> None:
        dialled, there = await one.spawn(on_one())
        client = await begun(["tcp"])
        await client.add(raw, tmp_path / "c", peers=["203.0.113.10:6881"])
        await asyncio.sleep(5)
        assert there.connections == 1
        there.add_peers([Address("203.0.113.11", PORT)])
        await asyncio.sleep(600)
        assert dials.of == ["203.0.113.10"]
        assert there.connections == 1
        await client.close()
        await dialled.close()

    with net:
        net.run(other.run(on_other()))


@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_a_torrent_comes_over_a_path_that_loses_two_in_a_hundred(tmp_path: Path, transport: str) -> None:
    raw = make_files(tmp_path)
    net = SimNetwork(seed=7, delay=0.02, loss=0.02)
    one, other = net.host("one", addresses=["203.0.113.10"]), net.host("other", addresses=["203.0.113.11"])

    async def on_one() -> TorrentClient:
        client = await begun([transport])
        await client.add(raw, tmp_path / "a", trusted=True)
        return client

    async def on_other() -> None:
        seed = await one.spawn(on_one())
        client = await begun([transport])
        download = await client.add(read_torrent(raw), tmp_path / "b", peers=["203.0.113.10:6881"])
        async with asyncio.timeout(300):
            await download.wait()
        await client.close()
        await seed.close()

    with net:
        net.run(other.run(on_other()))
    assert (tmp_path / "b" / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_is_fetched_is_what_was_missing_though_the_last_piece_is_short_and_there(
    tmp_path: Path, version: str
) -> None:
    length = 65_536
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file.bin").write_bytes(CONTENT)
    raw = create_torrent(tmp_path / "a" / "file.bin", version=version, piece_length=length)
    (tmp_path / "b").mkdir()
    last = len(CONTENT) // length * length
    (tmp_path / "b" / "file.bin").write_bytes(bytes(last) + CONTENT[last:])
    net = SimNetwork(seed=3, delay=0.02)
    one, other = net.host("one", addresses=["203.0.113.10"]), net.host("other", addresses=["203.0.113.11"])

    async def on_one() -> TorrentClient:
        client = await begun(["tcp"])
        await client.add(raw, tmp_path / "a", trusted=True)
        return client

    async def on_other() -> None:
        seed = await one.spawn(on_one())
        client = await begun(["tcp"])
        download = await client.add(raw, tmp_path / "b")
        async for progress in download.updates():
            if progress.status == "downloading":
                break
        assert progress.bytes_done == len(CONTENT) - last  # without the zeros that fill the piece in version 2
        assert progress.bytes_checked == progress.bytes_total == len(CONTENT)
        download.add_peers([Address("203.0.113.10", PORT)])
        async with asyncio.timeout(300):
            await download.wait()
        assert download.progress.downloaded == last
        assert download.progress.bytes_done == len(CONTENT)
        await client.close()
        await seed.close()

    with net:
        net.run(other.run(on_other()))
    assert (tmp_path / "b" / "file.bin").read_bytes() == CONTENT
