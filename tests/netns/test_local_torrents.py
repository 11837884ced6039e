"""Torrents between hosts of one network that know nothing of each other: by Local Service Discovery alone (BEP 14)."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.netns.lab import Lab, end, missing, tool_path

from librats.bittorrent.local_discovery import LSD_GROUPS, MAX_ANNOUNCED, LocalAnnouncement, read_local_announcement
from librats.bittorrent.local_pacing import MAX_TAKEN
from librats.bittorrent.messages import Handshake
from librats.bittorrent.peer import PeerLink
from librats.runtime.multicast import MAX_RATE, MulticastLink, multicast_links
from librats.services.torrenting import local_seeking
from librats.services.torrenting.wire import PeerWire
from librats.torrents import Download, Torrent, TorrentClient, create_torrent, read_torrent

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

SIZE = 300_000
SECONDS = 60.0
GROUP = LSD_GROUPS[False]
HOSTS = ["100.64.0.11", "100.64.0.12"]


@pytest.fixture(autouse=True)
def announcing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let networks be told: those of the laboratory lead nowhere."""
    monkeypatch.setenv("LIBRATS_LSD", "1")


@contextmanager
def one_network(*, ipv4: bool = True, unique_local: bool = False) -> Iterator[Lab]:
    """Two hosts on one bridge.

    Args:
        ipv4: Whether they have IPv4. They always have the link-local addresses of IPv6 that the kernel gives them.
        unique_local: Whether they have addresses of IPv6 beside those.
    """
    with Lab("none", "none", shared="openwrt") as lab:
        for number, box in enumerate(("host", "host2"), start=1):
            if not ipv4:
                run_in(lab, box, "ip", "-4", "addr", "flush", "dev", "eth0")
            if unique_local:
                run_in(lab, box, "ip", "addr", "add", f"fd00:1::{number}/64", "dev", "eth0", "nodad")
        yield lab


def run_in(lab: Lab, box: str, *command: str) -> None:
    with lab.enter(box):
        subprocess.run([tool_path(command[0]), *command[1:]], check=True)


class Inside:
    """Runs a coroutine on a loop of its own in a thread that stays in a box."""

    def __init__(self, lab: Lab, box: str, work: Callable[[], Awaitable[None]]) -> None:
        self._lab, self._box, self._work_of = lab, box, work
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        async def limited() -> None:
            async with asyncio.timeout(SECONDS):
                await self._work_of()

        try:
            with self._lab.enter(self._box):
                asyncio.run(limited())
        except BaseException as error:
            self.error = error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        """Wait until it has ended, and raise what it has raised."""
        self._thread.join(SECONDS + 10)
        if self.error is not None:
            raise self.error


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the hosts that clients have a connection with."""
    hosts: set[str] = set()
    enter = Download.enter

    def note(download: Download, wire: PeerWire, handshake: Handshake) -> PeerLink:
        hosts.add(wire.address.host)
        return enter(download, wire, handshake)

    monkeypatch.setattr(Download, "enter", note)
    return hosts


def make_torrent(folder: Path, *, private: bool = False) -> Torrent:
    (folder / "seed").mkdir()
    file = folder / "seed" / "file.bin"
    file.write_bytes(os.urandom(SIZE))
    return read_torrent(create_torrent(file, private=private))


def is_same(folder: Path) -> bool:
    return (folder / "leecher" / "file.bin").read_bytes() == (folder / "seed" / "file.bin").read_bytes()


class Pair:
    """A seed in one box and a leecher in the other one, which end once the leecher has all of it."""

    def __init__(self, torrent: Torrent, folder: Path) -> None:
        self.torrent, self.folder = torrent, folder
        self.is_done = threading.Event()

    async def seed(self) -> None:
        async with TorrentClient(port_mapping=False) as client:
            download = await client.add(self.torrent, self.folder / "seed", trusted=True)
            await self.last(download)

    async def leech(self) -> None:
        try:
            async with TorrentClient(port_mapping=False) as client:
                download = await client.add(self.torrent.magnet(), self.folder / "leecher")
                await download.wait()
        finally:
            self.is_done.set()

    async def last(self, download: Download) -> None:
        await asyncio.to_thread(self.is_done.wait, SECONDS)
        assert not download.is_closed

    def run(self, lab: Lab, other: str = "host2") -> None:
        ends = [Inside(lab, "host", self.seed), Inside(lab, other, self.leech)]
        for one in ends:
            one.end()


def test_two_that_know_nothing_of_each_other_complete_a_torrent(tmp_path: Path, met: set[str]) -> None:
    pair = Pair(make_torrent(tmp_path), tmp_path)
    with one_network() as lab:
        pair.run(lab)
    assert is_same(tmp_path)
    assert len(met) >= 2
    assert all(host in HOSTS or host.startswith("fe80:") for host in met)  # by whichever was heard first


def test_ipv6_alone_works_by_link_local_addresses(tmp_path: Path, met: set[str]) -> None:
    pair = Pair(make_torrent(tmp_path), tmp_path)
    with one_network(ipv4=False) as lab:
        pair.run(lab)
    assert is_same(tmp_path)
    assert len(met) == 2
    assert all(host.startswith("fe80:") for host in met)


def test_two_on_one_machine_share_the_port_and_complete_a_torrent(tmp_path: Path) -> None:
    pair = Pair(make_torrent(tmp_path), tmp_path)
    with one_network() as lab:
        pair.run(lab, "host")
    assert is_same(tmp_path)


def test_a_network_that_is_joined_later_is_used(tmp_path: Path, met: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_seeking, "LOOK_AT_LINKS", 0.0)
    pair = Pair(make_torrent(tmp_path), tmp_path)
    looked = threading.Event()

    async def look() -> list[MulticastLink]:
        links = await multicast_links()
        if not links:
            looked.set()
        return links

    with one_network() as lab:
        for box in ("host", "host2"):
            run_in(lab, box, "ip", "link", "set", "eth0", "down")
            run_in(lab, box, "ip", "addr", "flush", "dev", "eth0")
        monkeypatch.setattr(local_seeking, "multicast_links", look)
        ends = [Inside(lab, "host", pair.seed), Inside(lab, "host2", pair.leech)]
        try:
            assert looked.wait(SECONDS)
        finally:
            for host, box in zip(HOSTS, ("host", "host2"), strict=True):
                run_in(lab, box, "ip", "link", "set", "eth0", "up")
                run_in(lab, box, "ip", "addr", "add", f"{host}/24", "dev", "eth0")
        for one in ends:
            one.end()
    assert is_same(tmp_path)
    assert len(met) >= 2


def test_two_commands_that_are_told_nothing_complete_a_torrent(tmp_path: Path) -> None:
    make_torrent(tmp_path)
    (tmp_path / "file.torrent").write_bytes(create_torrent(tmp_path / "seed" / "file.bin"))
    command = [sys.executable, "-m", "librats", "torrent"]
    options = ["file.torrent", "--no-dht", "--no-port-mapping", "--folder"]
    with one_network() as lab:
        with lab.enter("host"):
            seed = subprocess.Popen([*command, "seed", *options, "seed"], cwd=tmp_path, stdout=subprocess.DEVNULL)
        try:
            with lab.enter("host2"):
                subprocess.run([*command, "download", *options, "leecher"], cwd=tmp_path, check=True, timeout=SECONDS)
        finally:
            end(seed)
    assert is_same(tmp_path)


# What one tells, and what it takes


def ear_in(lab: Lab, box: str) -> socket.socket:
    """Return a socket that hears what is announced on the network of a box, and that announces there."""
    address = HOSTS[box != "host"]
    with lab.enter(box):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ear.bind(("", GROUP.port))
    ear.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    membership = socket.inet_aton(GROUP.host) + socket.inet_aton(address)
    ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    ear.settimeout(SECONDS)
    return ear


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)


def test_a_private_torrent_is_neither_told_of_nor_looked_for(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    public, private = make_torrent(tmp_path), make_torrent(tmp_path / "private", private=True)
    both = (private.magnet().info_hash, public.magnet().info_hash)

    async def scenario() -> None:
        async with TorrentClient(port_mapping=False) as client:
            hidden = await client.add(private, tmp_path / "private" / "seed", trusted=True)
            shown = await client.add(public, tmp_path / "seed", trusted=True)
            told = read_local_announcement(await asyncio.to_thread(ear.recv, 1500))
            assert both[0] not in told.info_hashes
            assert both[1] in told.info_hashes
            assert told.port == client.listen_port
            theirs = LocalAnnouncement(port=9, info_hashes=both)
            ear.sendto(theirs.encode(ipv6=False), GROUP)
            await until(lambda: len(shown.candidates))
            assert not len(hidden.candidates)

    with one_network() as lab, ear_in(lab, "host2") as ear:
        Inside(lab, "host", scenario).end()


def test_of_a_flood_a_hundred_datagrams_a_second_are_looked_at_and_few_addresses_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torrent = make_torrent(tmp_path)
    handled = 0

    def count(data: bytes) -> LocalAnnouncement:
        nonlocal handled
        handled += 1
        return read_local_announcement(data)

    monkeypatch.setattr(local_seeking, "read_local_announcement", count)

    async def scenario() -> None:
        async with TorrentClient(port_mapping=False) as client:
            download = await client.add(torrent, tmp_path / "seed", trusted=True)
            await asyncio.to_thread(ear.recv, 1500)  # it listens by now
            foreign = LocalAnnouncement(port=9, info_hashes=tuple(os.urandom(20) for _ in range(MAX_ANNOUNCED)))
            ours = [
                LocalAnnouncement(port=port, info_hashes=(torrent.magnet().info_hash,)).encode(ipv6=False)
                for port in range(1, 1000)
            ]
            begun = time.monotonic()
            for number in range(20_000):
                ear.sendto(ours[number % len(ours)] if number % 2 else foreign.encode(ipv6=False), GROUP)
                if number % 100 == 0:
                    await asyncio.sleep(0)
            await until(lambda: len(download.candidates))
            took = time.monotonic() - begun
            assert 0 < handled <= MAX_RATE * (took + 2)
            assert len(download.candidates) <= MAX_TAKEN

    with one_network() as lab, ear_in(lab, "host2") as ear:
        Inside(lab, "host", scenario).end()
