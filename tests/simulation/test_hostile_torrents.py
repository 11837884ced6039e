"""Hosts that mean no good to a client of BitTorrent: none has all its places, and none has it dial whom it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from librats.bittorrent.messages import Handshake
from librats.bittorrent.metainfo import read_torrent
from librats.runtime.network import current_network
from librats.services.torrent import MAX_STRANGERS
from librats.services.torrenting.dialling import PUNCHES
from librats.services.torrenting.door import MAX_OF_HOST
from librats.services.utp import UtpSocket
from librats.testing import SimNetwork
from librats.torrents import TorrentClient, create_torrent
from librats.types import Address

PORT = 6881
VICTIM = Address("203.0.113.10", PORT)
CONTENT = bytes(range(256)) * 1000


def make_torrent(folder: Path) -> bytes:
    (folder / "a").mkdir()
    (folder / "a" / "file.bin").write_bytes(CONTENT)
    return create_torrent(folder / "a" / "file.bin")


class Line(asyncio.Protocol):
    """A connection that says one thing, and then nothing more."""

    def __init__(self, greeting: bytes) -> None:
        self._greeting = greeting
        self.is_open = False

    def itself(self) -> Line:
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.is_open = True
        self.transport = transport
        transport.write(self._greeting)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False


async def dialled(greetings: Sequence[bytes]) -> list[Line]:
    lines = [Line(greeting) for greeting in greetings]
    for line in lines:
        await current_network().dial_tcp(line.itself, VICTIM, timeout=10)
    await asyncio.sleep(1)
    return lines


def test_one_host_has_some_of_the_places_and_others_get_in(tmp_path: Path) -> None:
    raw = make_torrent(tmp_path)
    info_hash = read_torrent(raw).info_hash
    net = SimNetwork(seed=3, delay=0.01)
    victim, liar = net.host("victim", addresses=[VICTIM.host]), net.host("liar", addresses=["203.0.113.66"])
    honest = net.host("honest", addresses=["203.0.113.20"])

    async def on_victim() -> TorrentClient:
        client = TorrentClient(PORT, transports=["tcp"], max_peers=20)
        await client.start()
        await client.add(raw, tmp_path / "a", trusted=True)
        return client

    async def on_honest() -> None:
        client = await victim.spawn(on_victim())
        lines = await liar.spawn(dialled([Handshake.of(info_hash, b"%020d" % at).encode() for at in range(30)]))
        assert sum(line.is_open for line in lines) == MAX_OF_HOST
        async with TorrentClient(PORT, transports=["tcp"]) as own, asyncio.timeout(300):
            download = await own.add(raw, tmp_path / "b", peers=[VICTIM])
            await download.wait()
        await client.close()
        await asyncio.sleep(1)

    with net:
        net.run(honest.run(on_honest()))
    assert (tmp_path / "b" / "file.bin").read_bytes() == CONTENT


def test_connections_that_say_nothing_are_so_many_and_end_with_the_client(tmp_path: Path) -> None:
    net = SimNetwork(seed=3, delay=0.01)
    victim, liar = net.host("victim", addresses=[VICTIM.host]), net.host("liar", addresses=["203.0.113.66"])

    async def on_victim() -> TorrentClient:
        client = TorrentClient(PORT, transports=["tcp"])
        await client.start()
        return client

    async def on_liar() -> None:
        client = await victim.spawn(on_victim())
        lines = await dialled([b"\x13BitTorrent"] * (MAX_STRANGERS + 10))
        assert sum(line.is_open for line in lines) == MAX_STRANGERS
        assert not lines[0].is_open
        await client.close()
        await asyncio.sleep(1)
        assert not any(line.is_open for line in lines)

    with net:
        net.run(liar.run(on_liar()))


def test_punches_that_nobody_answers_leave_room_for_dials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make_torrent(tmp_path)
    net = SimNetwork(seed=3, delay=0.01)
    victim = net.host("victim", addresses=[VICTIM.host])
    dialled: list[bool] = []

    async def dial(*_args: object, punch: bool, **_options: object) -> None:
        dialled.append(punch)
        await asyncio.sleep(10)
        raise TimeoutError

    monkeypatch.setattr(UtpSocket, "dial", dial)

    async def on_victim() -> None:
        async with TorrentClient(PORT, transports=["utp"]) as client:
            download = await client.add(raw, tmp_path / "b")
            assert client._dialler is not None
            for at in range(100):
                client._dialler.punch(download, Address(f"198.51.100.{at + 1}", PORT))
            download.add_peers([Address("203.0.113.20", PORT)])
            await asyncio.sleep(5)
            assert dialled.count(True) == PUNCHES
            assert dialled.count(False) == 1

    with net:
        net.run(victim.run(on_victim()))
