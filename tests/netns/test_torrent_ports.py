"""Torrents behind a real miniupnpd that gives them another port outside: peers get the file by what was announced."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.netns.lab import SERVER, Lab, missing, tool_path
from tests.netns.miniupnpd import OUTSIDE, miniupnpd, missing_miniupnpd, rules_of

from librats.torrents import TorrentClient, create_torrent
from librats.types import Address, MappedTransport

WHY_NOT = missing() or missing_miniupnpd()
pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

PORT = 6881
FIRST_PORT = 6900
TRACKER_PORT = 6969
ROUTER, OTHER_HOST = "192.168.1.1", "192.168.1.12"
PATIENCE = 30.0
SIZE = 1_000_000


@pytest.fixture(autouse=True)
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gateways be asked: the laboratory has no way out."""
    monkeypatch.setenv("LIBRATS_PORT_MAPPING", "1")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("port_restricted") as lab:
        yield lab


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


class Tracker(asyncio.DatagramProtocol):
    """A tracker over UDP that knows nobody, and keeps what it is told: events and ports."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[8:12] == bytes(4):
            self.transport.sendto(bytes(4) + data[12:16] + b"connects", addr)
        elif data[:8] == b"connects":
            self.told.append((int.from_bytes(data[80:84]), int.from_bytes(data[96:98])))
            self.transport.sendto((1).to_bytes(4) + data[12:16] + (600).to_bytes(4) + bytes(8), addr)


def add_other_host(lab: Lab) -> None:
    """Give the host the address of another one as well."""
    with lab.enter("host"):
        subprocess.run([tool_path("ip"), "addr", "add", f"{OTHER_HOST}/24", "dev", "eth0"], check=True)


async def take_port_outside(transport: str) -> None:
    """Have another host behind the router get the port by UPnP; by PCP the daemon is told to refuse it."""
    from librats.services.port_mapping.upnp_device import find_upnp_gateway  # noqa: PLC0415 - an extra

    gateway = await find_upnp_gateway(ROUTER, OTHER_HOST, PATIENCE)
    await gateway.map(MappedTransport.TCP if transport == "tcp" else MappedTransport.UDP, PORT, PORT, 3600)
    await gateway.close()


class Outside:
    """The tracker and a leecher on the server, in a thread that stays there."""

    def __init__(self, lab: Lab, raw: bytes, folder: Path, transport: str) -> None:
        self.tracker = Tracker()
        self.is_up = threading.Event()
        self.may_end = threading.Event()
        self.is_done = threading.Event()
        self.used = 0
        self._lab, self._raw, self._folder, self._transport = lab, raw, folder, transport
        self.thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        with self._lab.enter("server"):
            asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self.tracker, (SERVER[0], TRACKER_PORT))
        self.is_up.set()
        try:
            await until(lambda: any(port != PORT for _, port in self.tracker.told))
            self.used = self.tracker.told[-1][1]
            async with TorrentClient(0, transports=[self._transport], port_mapping=False) as client:
                download = await client.add(self._raw, self._folder, peers=[Address(OUTSIDE, self.used)])
                async with asyncio.timeout(PATIENCE):
                    await download.wait()
            self.is_done.set()
            await loop.run_in_executor(None, self.may_end.wait, PATIENCE)
        finally:
            transport.close()


@pytest.mark.parametrize(
    ("upnp", "transport"),
    [
        pytest.param(False, "tcp", id="pcp-tcp"),
        pytest.param(True, "utp", id="upnp-utp"),
        pytest.param(False, "utp", id="pcp-utp", marks=pytest.mark.long),
        pytest.param(True, "tcp", id="upnp-tcp", marks=pytest.mark.long),
    ],
)
def test_a_peer_outside_gets_the_file_by_the_port_that_the_tracker_was_told(
    lab: Lab, tmp_path: Path, upnp: bool, transport: str
) -> None:
    if upnp:
        pytest.importorskip("async_upnp_client")
    (tmp_path / "seed").mkdir()
    file = tmp_path / "seed" / "file.bin"
    file.write_bytes(os.urandom(SIZE))
    raw = create_torrent(file, trackers=[[f"udp://{SERVER[0]}:{TRACKER_PORT}"]])

    async def scenario(outside: Outside) -> None:
        if upnp:
            await take_port_outside(transport)
        client = TorrentClient(PORT, transports=[transport])
        async with client:
            await client.add(raw, tmp_path / "seed", trusted=True)
            await until(outside.is_done.is_set)
            (mapping,) = client.port_mappings()
            assert mapping.external == Address(OUTSIDE, outside.used)
            assert (mapping.internal.port, mapping.protocol) == (PORT, "upnp" if upnp else "pcp")
            assert len(rules_of(lab)) == 1 + upnp
        assert len(rules_of(lab)) == upnp

    add_other_host(lab)
    stranger = Outside(lab, create_torrent(file, trackers=[]), tmp_path / "leecher", transport)
    with miniupnpd(lab, tmp_path, packets=not upnp, upnp=upnp, first_port=1024 if upnp else FIRST_PORT):
        stranger.thread.start()
        try:
            assert stranger.is_up.wait(PATIENCE)
            with lab.enter("host"):
                asyncio.run(scenario(stranger))
            assert stranger.tracker.told[-1] == (3, stranger.used)  # that it goes, from the same port
        finally:
            stranger.may_end.set()
            stranger.thread.join()
    assert (tmp_path / "leecher" / "file.bin").read_bytes() == file.read_bytes()
