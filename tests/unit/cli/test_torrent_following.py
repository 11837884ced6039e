"""How far the check of what is there of a torrent is, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from librats.cli.output import Output
from librats.cli.torrent_following import CheckShown, follow_check
from librats.services.torrenting.progress import TorrentProgress
from librats.torrents import TorrentClient, create_torrent


def checked(size: int, status: str = "checking") -> TorrentProgress:
    return TorrentProgress(
        status=status,
        bytes_checked=size,
        bytes_done=0,
        bytes_total=4_000_000_000,
        pieces_done=0,
        pieces_total=4000,
        download_rate=0.0,
        upload_rate=0.0,
        downloaded=0,
        uploaded=0,
        wasted=0,
        peers=0,
    )


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_check_of_a_moment_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with CheckShown(Output(as_json=False), clock) as shown:
        for size in range(0, 4_000_000_001, 500_000_000):
            clock.now += 0.1
            shown.update(checked(size))
        shown.update(checked(4_000_000_000, "downloading"))
    assert capsys.readouterr() == ("", "")


def test_a_longer_check_has_a_bar_that_tells_what_was_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with CheckShown(Output(as_json=False), clock) as shown:
        for _ in range(28):
            clock.now += 0.125
            shown.update(checked(round((clock.now - 100) * 1e9)))
        shown.update(checked(4_000_000_000, "downloading"))
        clock.now += 5
        shown.update(checked(4_000_000_000, "downloading"))
    told = capsys.readouterr().err.splitlines()
    assert told[0].strip() == "checking what is there of 4.00 GB"
    assert [line.split()[0] for line in told[1:]] == ["25", "50", "75"]


async def test_a_program_is_told_how_far_the_check_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "file.bin").write_bytes(content)
    raw = create_torrent(tmp_path / "file.bin", version="v2", piece_length=65_536)
    (tmp_path / "file.bin").write_bytes(bytes(65_536) + content[65_536:])
    async with TorrentClient(listen_host="127.0.0.1") as client:
        download = await client.add(raw, tmp_path)
        await follow_check(download, Output(as_json=True))
        progress = download.progress
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["status"] for event in events] == ["checking"]
    assert 0 <= events[0]["checked"] <= events[0]["total"] == len(content)
    assert progress.bytes_checked == len(content)
    assert progress.bytes_done == len(content) - 65_536
