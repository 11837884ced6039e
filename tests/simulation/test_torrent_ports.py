"""Torrents behind a simulated router that maps ports: peers come to the port outside, which is another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from librats.runtime.network import current_network
from librats.services.torrenting.outside import OuterPorts, ReachedAt
from librats.testing import RouterBehavior, SimNetwork
from librats.testing.routers import SimRouter
from librats.torrents import Download, TorrentClient, create_torrent
from librats.types import Address, MappedTransport

PORT = 6881
CONTENT = bytes(range(256)) * 500


class Announced:
    """A node of the DHT for those at home: what they announce."""

    listen_port = 0

    def __init__(self) -> None:
        self.ports: list[int] = []

    async def ping(self, _address: Address, *, timeout: float | None = None) -> None:
        del timeout

    async def find_peers(self, _info_hash: bytes, *, timeout: float | None = None) -> list[Address]:
        del timeout
        return []

    async def announce(self, _info_hash: bytes, port: int | None = None, *, timeout: float | None = None) -> int:
        del timeout
        self.ports.append(port or 0)
        return 1


def make_torrent(folder: Path) -> bytes:
    (folder / "a").mkdir()
    (folder / "a" / "file.bin").write_bytes(CONTENT)
    return create_torrent(folder / "a" / "file.bin")


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.1)


def shared_home(net: SimNetwork) -> SimRouter:
    """Make a home whose router maps ports, in which another host has the one that clients ask for."""
    return net.router("home", RouterBehavior(port_mapping=("pcp", "nat-pmp"), ipv6="none"))


async def at_home(transports: list[str], **options: object) -> TorrentClient:
    client = TorrentClient(PORT, transports=transports, **options)  # type: ignore[arg-type]
    await client.start()
    return client


@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_a_peer_gets_the_file_by_the_port_outside_that_was_announced(tmp_path: Path, transport: str) -> None:
    raw = make_torrent(tmp_path)
    net = SimNetwork(seed=11, delay=0.02)
    home = shared_home(net)
    first, host, peer = net.host("first", behind=home), net.host("host", behind=home), net.host("peer")
    dht = Announced()

    async def on_host() -> tuple[TorrentClient, Download]:
        client = await at_home([transport], dht=dht)
        return client, await client.add(raw, tmp_path / "a", trusted=True)

    async def on_peer() -> None:
        other = await first.spawn(at_home([transport]))
        await until(lambda: len(other.port_mappings()) == 1)
        seed, given = await host.spawn(on_host())
        await until(lambda: len(seed.port_mappings()) == 1)
        (mapping,) = seed.port_mappings()
        assert mapping.external.host == home.address
        assert mapping.external.port not in {PORT, 0}
        await until(lambda: mapping.external.port in dht.ports)
        client = TorrentClient(PORT, transports=[transport], port_mapping=False)
        await client.start()
        download = await client.add(raw, tmp_path / "b", peers=[Address(home.address, dht.ports[-1])])
        async with asyncio.timeout(300):
            await download.wait()
        assert given.progress.uploaded == len(CONTENT)
        await client.close()
        await seed.close()
        assert len(home.port_mapping.leases) == 1
        await other.close()
        assert len(home.port_mapping.leases) == 0

    with net:
        net.run(peer.run(on_peer()))
    assert (tmp_path / "b" / "file.bin").read_bytes() == CONTENT


def test_peers_that_are_connected_already_are_told_of_the_port_outside(tmp_path: Path) -> None:
    raw = make_torrent(tmp_path)
    net = SimNetwork(seed=12, delay=0.02)
    home = shared_home(net)
    first, host = net.host("first", behind=home), net.host("host", behind=home)
    peer = net.host("peer", addresses=["203.0.113.10"])

    async def on_host() -> tuple[TorrentClient, Download]:
        client = await at_home(["tcp"])
        return client, await client.add(raw, tmp_path / "b", peers=["203.0.113.10:6881"])

    async def on_peer() -> None:
        other = await first.spawn(at_home(["tcp"]))
        await until(lambda: len(other.port_mappings()) == 1)
        home.down()
        client = await at_home(["tcp"])
        download = await client.add(raw, tmp_path / "c")
        leecher, _ = await host.spawn(on_host())
        await asyncio.sleep(1)
        home.up()
        await until(lambda: len(download.swarm.links) == 1)
        (link,) = download.swarm.links.values()
        await until(lambda: link.remote.port != 0)
        before = link.remote.port
        await until(lambda: len(leecher.port_mappings()) == 1)
        await until(lambda: link.remote.port == leecher.port_mappings()[0].external.port)
        assert before == PORT
        for one in (client, leecher, other):
            await one.close()

    with net:
        net.run(peer.run(on_peer()))


def test_a_port_that_changes_all_the_time_is_announced_once_a_minute(tmp_path: Path) -> None:
    raw = make_torrent(tmp_path)
    net = SimNetwork(seed=15, delay=0.02)
    host, dht = net.host("host"), Announced()

    async def on_host() -> None:
        client = await at_home(["tcp"], dht=dht)
        await client.add(raw, tmp_path / "a", trusted=True)
        await asyncio.sleep(600)
        dht.ports.clear()
        for _ in range(60):
            client._tell_port()
            await asyncio.sleep(1)
            client._tell_port()
            await asyncio.sleep(9)
        assert 9 <= len(dht.ports) // 2 <= 12  # for each of its two hashes
        await client.close()

    with net:
        net.run(host.run(on_host()))


def test_no_gateway_is_asked_where_that_is_switched_off() -> None:
    net = SimNetwork(seed=13, delay=0.02)
    home = shared_home(net)
    host = net.host("host", behind=home)

    async def on_host() -> None:
        client = await at_home(["tcp", "utp"], port_mapping=False)
        await asyncio.sleep(100)
        assert client.port_mappings() == []
        assert len(home.port_mapping.leases) == 0
        await client.close()

    with net:
        net.run(host.run(on_host()))


def test_another_port_is_told_once_though_each_transport_has_a_mapping_of_its_own() -> None:
    net = SimNetwork(seed=13, delay=0.02)
    home = shared_home(net)
    first, host = net.host("first", behind=home), net.host("host", behind=home)

    async def mapped(told: list[ReachedAt]) -> OuterPorts:
        ports = OuterPorts(current_network(), lambda: told.append(ports.told))
        (here,) = current_network().addresses  # type: ignore[attr-defined]
        ports.start([Address(here, PORT)], [MappedTransport.TCP, MappedTransport.UDP], maps=True)
        await until(lambda: len(ports.mappings) == 2)
        return ports

    async def on_host() -> None:
        told: list[ReachedAt] = []
        other = await first.spawn(mapped([]))
        ports = await mapped(told)
        await asyncio.sleep(7200)
        [tcp] = [one.external.port for one in ports.mappings if one.transport is MappedTransport.TCP]
        assert tcp != PORT
        assert told[-1] == ports.told == (tcp, PORT)
        assert len(told) == len(set(told))
        await ports.close()
        await other.close()
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    with net:
        net.run(host.run(on_host()))


def test_who_listens_nowhere_has_nothing_mapped() -> None:
    net = SimNetwork(seed=13, delay=0.02)
    home = shared_home(net)
    host = net.host("host", behind=home)

    async def on_host() -> None:
        ports = OuterPorts(current_network(), lambda: None)
        ports.start([], [MappedTransport.TCP], maps=True)
        await asyncio.sleep(100)
        assert (ports.mappings, ports.told) == ([], (0, 0))
        assert len(home.port_mapping.leases) == 0
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await ports.close()

    with net:
        net.run(host.run(on_host()))


def test_a_mapping_is_renewed_as_long_as_the_client_runs() -> None:
    net = SimNetwork(seed=14, delay=0.02)
    home = shared_home(net)
    host = net.host("host", behind=home)

    async def on_host() -> None:
        client = await at_home(["tcp", "utp"])
        for _ in range(5):
            await asyncio.sleep(3600)
            assert {mapping.transport for mapping in client.port_mappings()} == {"tcp", "udp"}
            assert len(home.port_mapping.leases) == 2
        home.restart()
        await asyncio.sleep(300)
        assert len(home.port_mapping.leases) == 2
        await client.close()
        assert client.port_mappings() == []
        assert len(home.port_mapping.leases) == 0

    with net:
        net.run(host.run(on_host()))
