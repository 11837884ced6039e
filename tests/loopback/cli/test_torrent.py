"""`librats torrent`: made, looked at, seeded and downloaded by processes, and what is refused in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from librats.cli import main
from librats.errors import UsageError
from librats.torrents import create_torrent, read_torrent

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Start

HERE = ("--listen", "127.0.0.1:0", "--no-dht")


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder to share, and work beside it."""
    top = tmp_path / "album"
    (top / "more").mkdir(parents=True)
    (top / "one.bin").write_bytes(bytes(range(256)) * 1500)
    (top / "more" / "two.txt").write_text("two")
    monkeypatch.chdir(tmp_path)
    return top


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    status = main(["torrent", *words, "--json"])
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    event: dict[str, Any] = json.loads(printed.out)
    return event


def test_a_torrent_is_made_and_looked_at(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--tracker", "udp://a.example:1", "--tracker", "http://b.example/", "--comment", "hi", "--private")
    made = told(capsys, "create", "album", *options, "--kind", "v1", "--piece-length", "16384", "--no-date")
    assert made["torrent"] == "album.torrent"
    facts = told(capsys, "info", "album.torrent")
    assert {key: made[key] for key in made if key != "torrent"} == {key: facts[key] for key in facts if key != "files"}
    assert facts["trackers"] == ["udp://a.example:1", "http://b.example/"]
    assert (facts["version"], facts["private"], facts["comment"], facts["created"]) == ("v1", True, "hi", None)
    assert {file["path"]: file["size"] for file in facts["files"]} == {
        "album/more/two.txt": 3,
        "album/one.bin": 384_000,
    }
    assert {file["number"] for file in facts["files"]} == {0, 1}
    assert told(capsys, "info", facts["magnet"] + "&so=1")["chosen"] == [1]
    link = told(capsys, "info", facts["magnet"])
    assert (link["info_hash_v1"], link["name"]) == (facts["info_hash_v1"], "album")
    assert read_torrent((album.parent / "album.torrent").read_bytes()).info_hash_v1 == bytes.fromhex(
        facts["info_hash_v1"]
    )


def test_people_are_told_the_link_and_what_is_in_it(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["torrent", "create", str(album), "--output", "x.torrent"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("magnet:?xt=urn:btih:")
    assert "384.0 kB in" in printed.err
    assert main(["torrent", "info", "x.torrent"]) == 0
    assert "album/more/two.txt  3 bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("create", "album"), 2, "--force"),
        (("create", "nothing"), 1, "No such file"),
        (("create", "album", "--output", "no/where.torrent"), 1, "No such file"),
        (("create", "album", "--piece-length", "20000"), 2, "power of two"),
        (("create", "album", "--output", "x", "--tracker", "tracker.example:80"), 2, "http://, https:// or udp://"),
        (("info", "nothing.torrent"), 1, "No such file"),
        (("info", "album/one.bin"), 1, "no torrent"),
        (("info", "magnet:?dn=x"), 2, "info-hash"),
        (("seed", "magnet:?xt=urn:btih:" + 40 * "a", *HERE), 2, "not enough"),
        (("download", "album.torrent", "--peer", "x", *HERE), 2, "HOST:PORT"),
        (("download", "album.torrent", "--file", "three.txt", *HERE), 2, "no file 'three.txt'"),
        (("download", "album.torrent", "--download-limit", "0", *HERE), 2, "500k or 2M"),
        (("seed", "album.torrent", "--upload-limit", "2MB", *HERE), 2, "500k or 2M"),
        (("seed", "album.torrent", "--upload-limit", "-1", *HERE), 2, "500k or 2M"),
        (("download", "album.torrent", "--file", "99", *HERE), 2, "no file 99"),
        (("download", "magnet:?xt=urn:btih:" + 40 * "a" + "&so=9-7", *HERE), 2, "range of files"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    album: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, reason: str
) -> None:
    (album.parent / "album.torrent").write_bytes(create_torrent(album))
    assert main(["torrent", *words]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert reason in printed.err.splitlines()[-1]


@pytest.mark.parametrize(("by_link", "words"), [(True, "no peer has given the torrent"), (False, "goes on from there")])
def test_a_download_that_nobody_gives_ends_with_its_time_and_why_a_tracker_is_not_asked_is_told(
    album: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    by_link: bool,
    words: str,
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    raw = create_torrent(album, trackers=[["http://127.0.0.1:1/a"], ["http://127.0.0.1:1/b"]])
    (album.parent / "album.torrent").write_bytes(raw)
    source = str(read_torrent(raw).magnet()) if by_link else "album.torrent"
    assert main(["torrent", "download", source, "--folder", "other", "--timeout", "0.5", *HERE]) == 1
    assert words in capsys.readouterr().err.splitlines()[-1]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "pip install 'librats[torrent]'" in warnings[0]


@pytest.mark.parametrize("by_link", [False, True])
async def test_one_process_downloads_what_another_one_seeds(start: Start, album: Path, by_link: bool) -> None:
    raw = create_torrent(album)
    path = album.parent / "album.torrent"
    path.write_bytes(raw)
    seed = await start("torrent", "seed", str(path), "--folder", str(album.parent), *HERE, "--json")
    ready = await seed.event_named("ready")
    source = ready["magnet"] if by_link else str(path)
    target = album.parent / "received"
    peer = f"127.0.0.1:{ready['listen_port']}"
    download = await start("torrent", "download", source, "--folder", str(target), "--peer", peer, *HERE, "--json")
    done = await download.event_named("done")
    assert (done["path"], done["bytes"]) == (str(target / "album"), 384_003)
    assert (await download.finish()).status == 0
    assert (target / "album" / "one.bin").read_bytes() == (album / "one.bin").read_bytes()
    assert (await seed.stop()).status == 0


@pytest.mark.parametrize("words", [("--file", "more/two.txt"), ("--file", "1", "--file", "more")])
async def test_one_file_alone_is_downloaded(start: Start, album: Path, words: tuple[str, ...]) -> None:
    raw = create_torrent(album, version="v1")
    path = album.parent / "album.torrent"
    path.write_bytes(raw)
    numbers = {"/".join(file.path): number for number, file in enumerate(read_torrent(raw).layout.files)}
    seed = await start("torrent", "seed", str(path), "--folder", str(album.parent), *HERE, "--json")
    peer = f"127.0.0.1:{(await seed.event_named('ready'))['listen_port']}"
    target = album.parent / "received"
    words = tuple(str(numbers["album/more/two.txt"]) if word == "1" else word for word in words)
    options = ("--folder", str(target), "--peer", peer, *HERE, "--json", "--download-limit", "2.5M")
    download = await start("torrent", "download", str(path), *words, *options)
    done = await download.event_named("done")
    assert done["bytes"] == 3
    assert (await download.finish()).status == 0
    assert [file.name for file in (target / "album").rglob("*") if file.is_file()] == ["two.txt"]
    assert (await seed.stop()).status == 0


@pytest.mark.parametrize(("option", "wanted"), [((), True), (("--lsd",), True), (("--no-lsd",), False)])
def test_the_local_network_is_used_unless_it_is_told_not_to(
    album: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...], wanted: bool
) -> None:
    seen: dict[str, Any] = {}

    def make(_port: int, **options: Any) -> None:
        seen.update(options)
        raise UsageError("that is all")

    Path("album.torrent").write_bytes(create_torrent(album))
    monkeypatch.setattr("librats.torrents.TorrentClient", make)
    assert main(["torrent", "seed", "album.torrent", *HERE, *option]) == 2
    assert seen["lsd"] is wanted
