"""Files of a torrent that are chosen: what comes, what does not, what is told of it, and other files later."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.loopback.test_torrents import HERE, SECONDS, HttpTracker, client, contents, done, until

from librats.errors import StoreError, UsageError
from librats.services.torrenting.stock import Stock
from librats.torrents import Torrent, create_torrent, read_torrent
from librats.types import Address

PIECE = 16_384
SIZES = {"a.bin": 70_000, "b.bin": 90_000, "c/d.bin": 50_000, "c/empty": 0}


def make_torrent(folder: Path, version: str = "v1", trackers: Sequence[Sequence[str]] = ()) -> Torrent:
    dice = random.Random(1)  # noqa: S311 - the same in every run
    for name, size in SIZES.items():
        path = folder / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dice.randbytes(size))
    return read_torrent(create_torrent(folder / "set", version=version, piece_length=PIECE, trackers=trackers))


def number_of(torrent: Torrent, name: str) -> int:
    paths = ["/".join(file.path[1:]) for file in torrent.layout.files]
    return paths.index(name)


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
@pytest.mark.parametrize("by", ["path", "number", "link"])
async def test_chosen_files_come_and_no_other_is_made(tmp_path: Path, version: str, by: str) -> None:
    torrent = make_torrent(tmp_path / "a", version)
    number = number_of(torrent, "b.bin")
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        peers = [f"{HERE}:{one.listen_port}"]
        if by == "link":
            link = str(replace(torrent.magnet(), files=(number,)))
            download = await other.add(link, tmp_path / "b", peers=peers)
        else:
            chosen = ["b.bin"] if by == "path" else [number]
            download = await other.add(torrent, tmp_path / "b", files=chosen, peers=peers)
        await done(download)
        progress = download.progress
        pieces = torrent.layout.pieces_of(number)
        asked = sum(map(torrent.layout.piece_size, pieces))
        assert (progress.status, progress.bytes_done, progress.bytes_total) == ("seeding", 90_000, 90_000)
        assert (progress.pieces_done, progress.pieces_total) == (len(pieces), len(pieces))
        assert progress.downloaded <= asked
    assert contents(tmp_path / "b" / "set") == {"b.bin": (tmp_path / "a" / "set" / "b.bin").read_bytes()}


async def test_it_goes_on_after_a_restart_and_gives_even_pieces_that_it_keeps_elsewhere(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        await done(await other.add(torrent, tmp_path / "b", files=["b.bin"], peers=[f"{HERE}:{one.listen_port}"]))
    async with client() as other, client() as third:
        again = await other.add(torrent, tmp_path / "b", files=["b.bin"])
        await done(again)
        had = again.progress.downloaded
        peers = [f"{HERE}:{other.listen_port}"]
        await done(await third.add(torrent, tmp_path / "c", files=["b.bin"], peers=peers))
        assert again.progress.downloaded == had
    assert contents(tmp_path / "c" / "set") == contents(tmp_path / "b" / "set")


async def test_other_files_may_be_chosen_later_and_what_was_kept_of_them_does_not_come_again(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        download = await other.add(torrent, tmp_path / "b", files=["b.bin"], peers=[f"{HERE}:{one.listen_port}"])
        await done(download)
        await download.choose(None)
        assert download.progress.status == "downloading"
        assert download.progress.bytes_total == torrent.size
        await done(download)
        assert download.progress.downloaded == torrent.size
        assert download.progress.bytes_done == torrent.size
        await download.choose(["c"])
        assert (download.progress.status, download.progress.bytes_total) == ("seeding", 50_000)
        await done(download)
    assert contents(tmp_path / "b" / "set") == contents(tmp_path / "a" / "set")
    assert [path.name for path in (tmp_path / "b" / ".librats").iterdir()] == [f"{torrent.info_hash.hex()}.resume"]


async def test_a_restart_with_more_files_has_what_was_kept_of_them(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client() as one:
        await one.add(torrent, tmp_path / "a", trusted=True)
        peers = [f"{HERE}:{one.listen_port}"]
        async with client() as other:
            await done(await other.add(torrent, tmp_path / "b", files=["b.bin"], peers=peers))
        async with client() as other:
            download = await other.add(torrent, tmp_path / "b", peers=peers)
            await done(download)
            assert download.progress.downloaded == torrent.size
    assert contents(tmp_path / "b" / "set") == contents(tmp_path / "a" / "set")


async def test_what_was_kept_and_is_gone_comes_again(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client() as one:
        await one.add(torrent, tmp_path / "a", trusted=True)
        peers = [f"{HERE}:{one.listen_port}"]
        async with client() as other:
            await done(await other.add(torrent, tmp_path / "b", files=["b.bin"], peers=peers))
        shutil.rmtree(tmp_path / "b" / ".librats" / f"{torrent.info_hash.hex()}.parts")
        async with client() as other:
            await done(await other.add(torrent, tmp_path / "b", peers=peers))
    assert contents(tmp_path / "b" / "set") == contents(tmp_path / "a" / "set")


async def test_files_that_are_chosen_before_the_torrent_is_there_are_looked_for_then(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        download = await other.add(str(torrent.magnet()), tmp_path / "b", files=["nothing"])
        await download.choose(["c/d.bin"])
        download.add_peers([Address(HERE, one.listen_port)])
        await done(download)
    assert list(contents(tmp_path / "b" / "set")) == [str(Path("c", "d.bin"))]


@pytest.mark.parametrize("link", ["&so=77", ""])
async def test_a_link_that_chooses_nothing_that_is_there_fails_once_that_is_known(tmp_path: Path, link: str) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        source, files = str(torrent.magnet()) + link, None if link else ["nothing"]
        download = await other.add(source, tmp_path / "b", files=files, peers=[f"{HERE}:{one.listen_port}"])
        with pytest.raises(UsageError, match="no file"):
            await done(download)
        assert download.progress.status == "failed"
    assert not (tmp_path / "b" / "set").exists()


async def test_after_a_wrong_choice_another_one_is_made_and_it_goes_on(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        peers = [f"{HERE}:{one.listen_port}"]
        download = await other.add(str(torrent.magnet()), tmp_path / "b", files=["nothing"], peers=peers)
        with pytest.raises(UsageError, match="no file"):
            await done(download)
        await download.choose(["b.bin"])
        download.go_on()
        await done(download)
        assert download.progress.bytes_done == 90_000
    assert list(contents(tmp_path / "b" / "set")) == ["b.bin"]


async def test_a_folder_that_could_not_be_made_is_tried_again(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    (tmp_path / "b").write_text("in the way")
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        peers = [f"{HERE}:{one.listen_port}"]
        download = await other.add(torrent, tmp_path / "b", files=["b.bin"], peers=peers, resume=False)
        with pytest.raises(StoreError):
            await done(download)
        (tmp_path / "b").unlink()
        download.go_on()
        await done(download)
    assert list(contents(tmp_path / "b" / "set")) == ["b.bin"]


async def test_to_choose_what_is_not_there_or_of_what_is_trusted_is_an_error(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client() as one:
        for files in (["nothing"], [-1], []):
            with pytest.raises(UsageError, match="no file"):
                await one.add(torrent, tmp_path / "b", files=files)
        with pytest.raises(UsageError, match="trusted"):
            await one.add(torrent, tmp_path / "a", files=["a.bin"], trusted=True)
        download = await one.add(torrent, tmp_path / "b", files=["a.bin"])
        with pytest.raises(UsageError, match="no file"):
            await download.choose(["nothing"])
        assert download.progress.bytes_total == 70_000


async def test_a_tracker_is_told_of_a_partial_seed_and_when_it_wants_more_with_what_is_left_of_all_files(
    tmp_path: Path,
) -> None:
    pytest.importorskip("aiohttp")
    tracker = HttpTracker()
    server = await asyncio.start_server(tracker.serve, HERE, 0)
    url = f"http://{HERE}:{server.sockets[0].getsockname()[1]}/announce"
    torrent = make_torrent(tmp_path / "a", trackers=[[url]])
    async with server, client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        await tracker.told("started")
        tracker.requests.clear()
        download = await other.add(torrent, tmp_path / "b", files=["b.bin"])
        await until(lambda: download.progress.status == "downloading" or download.progress.bytes_done > 0)
        download.add_peers([Address(HERE, one.listen_port)])
        await done(download)
        paused = await tracker.told("paused")
        pieces = torrent.layout.pieces_of(number_of(torrent, "b.bin"))
        assert paused["left"] == str(torrent.size - sum(map(torrent.layout.piece_size, pieces)))
        assert not any(fields.get("event") == "completed" for fields in tracker.requests)
        seed = next(iter(one.downloads.values()))
        seed.pause()
        tracker.requests.clear()
        await download.choose(None)
        async with asyncio.timeout(SECONDS), tracker.changed:
            await tracker.changed.wait_for(lambda: tracker.requests)
        assert (tracker.requests[0]["left"], tracker.requests[0].get("event")) == (paused["left"], None)
        seed.go_on()
        await done(download)
        assert (await tracker.told("completed"))["left"] == "0"


@pytest.mark.parametrize("files", [None, ["b.bin"]])
async def test_a_tracker_is_told_once_the_check_has_found_all_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str] | None
) -> None:
    pytest.importorskip("aiohttp")
    tracker, look, heard = HttpTracker(), Stock.look, asyncio.Event()

    async def look_later(stock: Stock, *args: Any, **more: Any) -> bytearray:
        await heard.wait()
        return await look(stock, *args, **more)

    monkeypatch.setattr(Stock, "look", look_later)
    server = await asyncio.start_server(tracker.serve, HERE, 0)
    url = f"http://{HERE}:{server.sockets[0].getsockname()[1]}/announce"
    torrent = make_torrent(tmp_path / "a", trackers=[[url]])
    if files:
        with (tmp_path / "a" / "set" / "a.bin").open("r+b") as file:
            file.write(bytes(100))  # so its first piece is wrong, which has nothing of what is wanted
    async with server, client() as one:
        download = await one.add(torrent, tmp_path / "a", files=files)
        started = await tracker.told("started")
        heard.set()
        await done(download)
        async with asyncio.timeout(SECONDS), tracker.changed:
            await tracker.changed.wait_for(lambda: len(tracker.requests) > 1)
        later = tracker.requests[1]
    assert started["left"] == str(torrent.size)
    expected = ("0", None) if files is None else (str(PIECE), "paused")
    assert (later["left"], later.get("event")) == expected
