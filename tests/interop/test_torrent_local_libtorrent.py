"""Local Service Discovery with libtorrent in the same network: each finds the other by what it announces (BEP 14)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop.torrent_ends import Theirs
from tests.netns.lab import Lab, missing
from tests.netns.test_local_torrents import SECONDS, Inside, is_same, make_torrent, one_network

from librats.bittorrent.candidates import Candidates
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


def theirs_in(lab: Lab, torrent: Torrent, raw: bytes, folder: Path, *, seeds: bool, box: str = "host2") -> Theirs:
    """Start libtorrent, whose threads stay in the box."""
    with lab.enter(box):
        return Theirs(torrent, raw, folder, seeds=seeds, enable_lsd=True, listen_interfaces=EVERYWHERE)


@pytest.mark.parametrize("ipv4", [True, False], ids=["ipv4", "ipv6"])
def test_we_find_a_seed_of_libtorrent_or_it_finds_us(tmp_path: Path, announced: str, ipv4: bool) -> None:
    torrent = make_torrent(tmp_path)
    raw = create_torrent(tmp_path / "seed" / "file.bin")

    async def leech() -> None:
        async with TorrentClient(port_mapping=False) as client:
            download = await client.add(torrent.magnet(), tmp_path / "leecher")
            await download.wait()

    with one_network(ipv4=ipv4, unique_local=not ipv4) as lab:
        seed = theirs_in(lab, torrent, raw, tmp_path / "seed", seeds=True)
        Inside(lab, "host", leech).end()
        del seed
    assert is_same(tmp_path)


@pytest.mark.parametrize("ipv4", [True, False], ids=["ipv4", "ipv6"])
def test_libtorrent_finds_a_seed_of_ours_or_we_find_it(tmp_path: Path, announced: str, ipv4: bool) -> None:
    torrent = make_torrent(tmp_path)
    raw = create_torrent(tmp_path / "seed" / "file.bin")

    async def seed(theirs: list[Theirs]) -> None:
        async with TorrentClient(port_mapping=False) as client:
            await client.add(torrent, tmp_path / "seed", trusted=True)
            await theirs[0].seeding(SECONDS)

    with one_network(ipv4=ipv4, unique_local=not ipv4) as lab:
        leecher = [theirs_in(lab, torrent, raw, tmp_path / "leecher", seeds=False)]
        Inside(lab, "host", lambda: seed(leecher)).end()
        leecher.clear()
    assert is_same(tmp_path)


def test_both_share_the_port_on_one_machine(tmp_path: Path, announced: str) -> None:
    torrent = make_torrent(tmp_path)
    raw = create_torrent(tmp_path / "seed" / "file.bin")

    async def leech() -> None:
        async with TorrentClient(port_mapping=False) as client:
            download = await client.add(torrent.magnet(), tmp_path / "leecher")
            await download.wait()

    with one_network() as lab:
        seed = theirs_in(lab, torrent, raw, tmp_path / "seed", seeds=True, box="host")
        Inside(lab, "host", leech).end()
        del seed
    assert is_same(tmp_path)
