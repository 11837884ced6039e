"""Local Service Discovery with libtorrent in the same network: each finds the other by what it announces (BEP 14)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.interop.torrent_ends import Theirs
from tests.netns.lab import Lab, missing
from tests.netns.test_local_torrents import SECONDS, Inside, is_same, make_torrent, one_network, until

from librats.bittorrent.candidates import Candidates
from librats.bittorrent.local_discovery import LSD_GROUPS
from librats.bittorrent.local_pacing import LocalPacing
from librats.torrents import Torrent, TorrentClient, create_torrent

WHY_NOT = missing()
pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

# Where there are only link-local addresses libtorrent 2.1.1 hears announcements, and dials nobody that it hears of.
EVERYWHERE = "0.0.0.0:6881,[::]:6881"


@pytest.fixture(autouse=True)
def announcing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let networks be told: those of the laboratory lead nowhere."""
    monkeypatch.setenv("LIBRATS_LSD", "1")


@pytest.fixture(params=["theirs", "ours"])
def announced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have only one of the two find the other: us, who announce nothing, or libtorrent, as we do not listen."""
    if request.param == "theirs":
        monkeypatch.setattr(LocalPacing, "take_due", lambda *_args: ())
    else:
        monkeypatch.setattr(Candidates, "add_local", lambda *_args: False)
    return str(request.param)


@pytest.fixture
def torrent(tmp_path: Path) -> Torrent:
    return make_torrent(tmp_path)


class Pair:
    """A client of ours in one box, and libtorrent in the same or another one: who is to hear the other begins."""

    def __init__(self, lab: Lab, announced: str, torrent: Torrent, folder: Path, *, box: str = "host2") -> None:
        self._lab, self._announced, self._box = lab, announced, box
        self._torrent, self._folder = torrent, folder
        self._theirs: list[Theirs] = []

    def _start_theirs(self, name: str) -> None:
        """Start libtorrent, whose threads stay in the box."""
        raw = create_torrent(self._folder / "seed" / "file.bin")
        with self._lab.enter(self._box):
            self._theirs.append(
                Theirs(
                    *(self._torrent, raw, self._folder / name),
                    seeds=name == "seed",
                    enable_lsd=True,
                    listen_interfaces=EVERYWHERE,
                )
            )

    def run(self, work: Callable[[], Awaitable[None]], theirs: str) -> None:
        """Run what ours does, and libtorrent with its files in that folder, until the former has ended."""
        if self._announced == "ours":
            self._start_theirs(theirs)
        ours = Inside(self._lab, "host", work)
        try:
            if self._announced == "theirs":
                self._wait_until_we_listen(ours)
                self._start_theirs(theirs)
        finally:
            ours.end()
            self._theirs.clear()

    def _wait_until_we_listen(self, ours: Inside) -> None:
        wanted = f":{LSD_GROUPS[False].port:04X} "
        tables = [Path("/proc/thread-self/net", name) for name in ("udp", "udp6")]
        with self._lab.enter("host"):
            while ours.is_running and not any(wanted in table.read_text() for table in tables):
                time.sleep(0.01)

    async def leech(self) -> None:
        async with TorrentClient(port_mapping=False) as client:
            download = await client.add(self._torrent.magnet(), self._folder / "leecher")
            await download.wait()

    async def seed(self) -> None:
        async with TorrentClient(port_mapping=False) as client:
            await client.add(self._torrent, self._folder / "seed", trusted=True)
            await until(lambda: self._theirs)
            await self._theirs[0].seeding(SECONDS)


@pytest.mark.parametrize("ipv4", [True, False], ids=["ipv4", "ipv6"])
def test_we_find_a_seed_of_libtorrent_or_it_finds_us(
    tmp_path: Path, torrent: Torrent, announced: str, ipv4: bool
) -> None:
    with one_network(ipv4=ipv4, unique_local=not ipv4) as lab:
        pair = Pair(lab, announced, torrent, tmp_path)
        pair.run(pair.leech, "seed")
    assert is_same(tmp_path)


@pytest.mark.parametrize("ipv4", [True, False], ids=["ipv4", "ipv6"])
def test_libtorrent_finds_a_seed_of_ours_or_we_find_it(
    tmp_path: Path, torrent: Torrent, announced: str, ipv4: bool
) -> None:
    with one_network(ipv4=ipv4, unique_local=not ipv4) as lab:
        pair = Pair(lab, announced, torrent, tmp_path)
        pair.run(pair.seed, "leecher")
    assert is_same(tmp_path)


def test_both_share_the_port_on_one_machine(tmp_path: Path, torrent: Torrent, announced: str) -> None:
    with one_network() as lab:
        pair = Pair(lab, announced, torrent, tmp_path, box="host")
        pair.run(pair.leech, "seed")
    assert is_same(tmp_path)
