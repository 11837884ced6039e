"""Torrents for code without asyncio: the same verbs, which wait."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from librats import ClosedError, UsageError, torrents
from librats.blocking import torrents as blocking
from librats.torrents import create_torrent
from librats.types import Address

INTERNAL = {
    torrents.TorrentClient: {"find", "find_obfuscated", "forget", "meet"},
    torrents.Download: {
        *("start", "close", "remove_resume", "swarm", "candidates", "wants_peers", "connections", "is_closed"),
        *("has_room", "enter", "leave", "fail_to_dial", "settle", "serve", "meet", "listen_at"),
        *("traffic", "wait_for_want", "heed_limits"),
    },
}


def public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


@pytest.mark.parametrize("name", ["TorrentClient", "Download"])
def test_the_blocking_classes_have_every_public_verb(name: str) -> None:
    ours, theirs = getattr(torrents, name), getattr(blocking, name)
    assert public(ours) - INTERNAL[ours] == public(theirs)
    for verb in public(theirs):
        if inspect.isfunction(vars(theirs)[verb]):
            wanted, found = inspect.signature(vars(ours)[verb]), inspect.signature(vars(theirs)[verb])
            assert list(wanted.parameters) == list(found.parameters), verb


def test_a_torrent_goes_from_one_to_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(range(256)) * 2000)
    raw = create_torrent(tmp_path / "a" / "file")
    with blocking.TorrentClient(listen_host="127.0.0.1") as one, blocking.TorrentClient(listen_host="127.0.0.1") as two:
        seed = one.add(raw, tmp_path / "a", trusted=True)
        seed.wait()
        download = two.add(str(seed.magnet), tmp_path / "b", peers=[Address("127.0.0.1", one.listen_port)])
        assert [progress.status for progress in download.updates()][-1] == "seeding"
        download.wait()
        assert download.name == "file"
        assert download.path == tmp_path / "b" / "file"
        assert list(two.downloads) == [seed.magnet.info_hash]
        two.remove(download)
        assert not two.downloads
        waiting = two.add(raw, tmp_path / "c")
        waiting.pause()
        assert waiting.progress.status in {"metadata", "checking", "paused"}
        waiting.go_on()
    assert (tmp_path / "b" / "file").read_bytes() == (tmp_path / "a" / "file").read_bytes()
    with pytest.raises(ClosedError):
        waiting.wait()


def test_limits_are_set_and_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(70_000))
    raw = create_torrent(tmp_path / "file")
    with blocking.TorrentClient(listen_host="127.0.0.1", upload_limit=5_000_000) as client:
        download = client.add(raw, tmp_path / "b", download_limit=1000)
        client.download_limit, download.upload_limit = 2000, 3000
        assert (client.download_limit, client.upload_limit) == (2000, 5_000_000)
        assert (download.download_limit, download.upload_limit) == (1000, 3000)
        download.download_limit = client.upload_limit = None
        assert (download.download_limit, client.upload_limit) == (None, None)
        with pytest.raises(UsageError, match="above 0"):
            client.download_limit = 0


def test_trackers_are_asked_how_many_peers_there_are() -> None:
    with blocking.TorrentClient(listen_host="127.0.0.1") as client:
        (told,) = client.scrape("magnet:?xt=urn:btih:" + 40 * "a" + "&tr=http://tracker.example/a", timeout=5)
    assert "cannot be scraped" in told.error
