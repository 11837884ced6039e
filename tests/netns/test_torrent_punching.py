"""Torrents behind the kernel's own NATs: a third client brings two together that only it knows (BEP 55)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.netns.lab import SERVER, Lab, missing
from tests.netns.test_hole_punching import TcpBoxNetwork

from librats.bittorrent.candidates import Candidates
from librats.bittorrent.extensions import HolepunchKind, HolepunchMessage
from librats.bittorrent.messages import Handshake
from librats.bittorrent.peer import PeerLink
from librats.bittorrent.swarm import Swarm
from librats.services.torrenting import meeting
from librats.services.torrenting.wire import PeerWire
from librats.torrents import Download, TorrentClient, create_torrent
from librats.types import Address

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

PORT = 6881
MIDDLE = f"{SERVER[0]}:{PORT}"
HOMES = ["203.0.113.101", "203.0.113.102"]
SECONDS = 60.0
SIZE = 3_000_000


class Heard:
    """What clients have said to each other of holes, and whom they have met."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes_on = True
        self.failed = asyncio.Event()
        self.rendezvous: list[str] = []
        self.connects: list[str] = []
        self.met: set[tuple[str, bool]] = set()
        enter, fail, take_holepunch = Download.enter, Download.fail_to_dial, Swarm.take_holepunch

        def take(swarm: Swarm, link: PeerLink, message: HolepunchMessage) -> None:
            if message.kind is HolepunchKind.RENDEZVOUS:
                self.rendezvous.append(message.address.host)
            elif message.kind is HolepunchKind.CONNECT:
                self.connects.append(message.address.host)
            if self.passes_on:
                take_holepunch(swarm, link, message)

        def meet(download: Download, wire: PeerWire, handshake: Handshake) -> PeerLink:
            self.met.add((wire.address.host, wire.is_utp))
            return enter(download, wire, handshake)

        def fail_to_dial(download: Download, address: Address) -> None:
            fail(download, address)
            self.failed.set()

        monkeypatch.setattr(Download, "enter", meet)
        monkeypatch.setattr(Download, "fail_to_dial", fail_to_dial)
        monkeypatch.setattr(Swarm, "take_holepunch", take)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


@pytest.fixture
def quiet_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the seed dial nobody: where both dial at the same time by chance, nobody has to bring them together."""
    take = Candidates.take

    def take_unless_seeding(self: Candidates, now: float, *, seeds: bool = True) -> Address | None:
        return take(self, now) if seeds else None

    monkeypatch.setattr(Candidates, "take", take_unless_seeding)


def make_torrent(folder: Path) -> bytes:
    """Make what the seed has, and return its torrent."""
    (folder / "seed").mkdir()
    (folder / "seed" / "file.bin").write_bytes(os.urandom(SIZE))
    return create_torrent(folder / "seed" / "file.bin")


@pytest.fixture
def torrent(tmp_path: Path) -> bytes:
    return make_torrent(tmp_path)


async def client_in(lab: Lab, box: str, transports: Sequence[str]) -> TorrentClient:
    cast("Any", asyncio.get_running_loop()).librats_network = TcpBoxNetwork(lab, box)
    client = TorrentClient(PORT, listen_host="0.0.0.0", transports=transports)  # noqa: S104 - all that the box has
    await client.start()
    return client


@asynccontextmanager
async def swarm(
    lab: Lab, raw: bytes, folder: Path, transports: Sequence[str] = ("utp",)
) -> AsyncIterator[tuple[Download, Download]]:
    """Yield what is downloaded at one home, and what the one in the middle has of it. The other home has all of it."""
    middle, seed, leecher = [await client_in(lab, box, transports) for box in ("server", "host", "host2")]
    try:
        between = await middle.add(raw, folder / "middle")
        between.pause()
        await seed.add(raw, folder / "seed", trusted=True, peers=[MIDDLE])
        yield await leecher.add(raw, folder / "leecher", peers=[MIDDLE]), between
    finally:
        for client in (leecher, seed, middle):
            await client.close()


async def whole(download: Download, between: Download) -> None:
    """Wait for all of it, none of which is from the one in the middle."""
    async with asyncio.timeout(SECONDS):
        await download.wait()
    assert between.progress.uploaded == between.progress.bytes_done == 0


@pytest.mark.usefixtures("quiet_seed")
async def test_two_homes_that_only_a_third_knows_meet_through_their_nats(
    tmp_path: Path, torrent: bytes, heard: Heard
) -> None:
    with Lab("port_restricted", "port_restricted") as lab:
        async with swarm(lab, torrent, tmp_path) as (download, between):
            await whole(download, between)
            assert heard.met == {(host, True) for host in (SERVER[0], *HOMES)}
            assert heard.rendezvous == HOMES[:1]  # whom the seed would not dial by itself
            assert sorted(heard.connects) == HOMES
    assert (tmp_path / "leecher" / "file.bin").read_bytes() == (tmp_path / "seed" / "file.bin").read_bytes()


@pytest.mark.usefixtures("quiet_seed")
async def test_they_do_not_meet_where_the_third_passes_nothing_on(
    tmp_path: Path, torrent: bytes, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard.passes_on = False
    monkeypatch.setattr(meeting, "MEETING_TIME", 0.5)
    with Lab("port_restricted", "port_restricted") as lab:
        async with swarm(lab, torrent, tmp_path) as (download, _):
            async with asyncio.timeout(SECONDS):
                await heard.failed.wait()  # it has asked, waited, and dialled by itself, in vain
            assert heard.rendezvous == HOMES[:1]
            assert download.connections == 1
            assert download.progress.bytes_done == 0


@pytest.mark.parametrize(
    ("seed", "leecher", "delay"),
    [
        ("openwrt", "openwrt", 0.0),
        ("symmetric_seq", "restricted", 0.0),
        # Such a router keeps what comes from outside first. That does where no way takes any time.
        ("bare_masquerade", "bare_masquerade", 0.02),
        ("bare_masquerade", "port_restricted", 0.02),
    ],
)
async def test_they_meet_through_other_nats_as_well(
    tmp_path: Path, torrent: bytes, seed: str, leecher: str, delay: float
) -> None:
    with Lab(seed, leecher, delay=delay) as lab:
        async with swarm(lab, torrent, tmp_path) as (download, between):
            await whole(download, between)


async def test_they_meet_over_utp_though_each_has_met_the_third_over_tcp(
    tmp_path: Path, torrent: bytes, heard: Heard
) -> None:
    with Lab("port_restricted", "port_restricted") as lab:
        async with swarm(lab, torrent, tmp_path, ["tcp", "utp"]) as (download, between):
            await whole(download, between)
            assert {(SERVER[0], False), (HOMES[0], True)} <= heard.met
