"""`librats torrent scrape`: what each tracker tells, as a table and as JSON, and how it ends."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.services.test_torrent_scraping import HERE, udp_tracker

from librats.cli import main
from librats.torrents import create_torrent

NOBODY = "http://tracker.example/a"


@pytest.fixture
def url() -> Iterator[str]:
    """Run a tracker over UDP on a thread of its own."""
    ready, stop = threading.Event(), asyncio.Event()
    found: list[str] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with udp_tracker(lambda _: (5, 50, 10)) as (where, _):
            found.append(where.replace("tracker.example", HERE))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def test_the_trackers_of_a_torrent_file_are_asked(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.bin").write_bytes(bytes(1000))
    path = tmp_path / "one.torrent"
    path.write_bytes(create_torrent(tmp_path / "one.bin", trackers=[[NOBODY], [url]]))
    assert main(["torrent", "scrape", str(path), "--timeout", "60", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    silent = dict.fromkeys(("seeds", "leechers", "downloaded", "downloaders"))
    assert told == {
        "name": "one.bin",
        "trackers": [
            {
                "tracker": NOBODY,
                **silent,
                "min_interval": 0,
                "error": "it cannot be scraped: there is no /announce in its URL",
            },
            {"tracker": url, **silent, "seeds": 5, "leechers": 10, "downloaded": 50, "min_interval": 0, "error": None},
        ],
    }


def test_people_are_shown_a_table(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["torrent", "scrape", f"magnet:?xt=urn:btih:{40 * 'a'}&tr={NOBODY}&tr={url}", "--timeout", "60"]) == 0
    head, nobody, answered = capsys.readouterr().out.splitlines()
    assert head.split() == ["seeds", "leechers", "downloaded", "tracker"]
    assert nobody.split()[:4] == ["-", "-", "-", f"{NOBODY}:"]
    assert answered.split() == ["5", "10", "50", url]


def test_where_no_tracker_tells_it_ends_with_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["torrent", "scrape", f"magnet:?xt=urn:btih:{40 * 'a'}&tr={NOBODY}"]) == 1
    printed = capsys.readouterr()
    assert "cannot be scraped" in printed.out
    assert printed.err == "no tracker has told how many peers there are\n"


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ((f"magnet:?xt=urn:btih:{40 * 'a'}",), 2, "names no tracker"),
        (("nothing.torrent",), 1, "No such file"),
        (("magnet:?dn=x",), 2, "info-hash"),
        (("x.torrent", "--timeout", "0"), 2, "above 0"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, reason: str
) -> None:
    assert main(["torrent", "scrape", *words]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert reason in printed.err.splitlines()[-1]
