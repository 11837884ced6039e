"""All trackers of a torrent are asked at once how many peers it has, and none of them holds up the others."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from struct import pack
from typing import Any, cast

import pytest
from tests.unit.services.test_torrent_announcing import Named
from tests.unit.services.test_torrent_tracker_answers import answer, tracker

from librats._core import bencode
from librats.bittorrent.tracker_scrape import SwarmCounts
from librats.errors import UsageError
from librats.services.torrenting import scraping
from librats.services.torrenting.scraping import TrackerCounts, scrape_trackers
from librats.torrents import TorrentClient
from librats.types import Address

HERE = "127.0.0.1"
FIRST, SECOND = b"1" * 20, b"2" * 20
SECONDS = 30.0

Counts = Callable[[bytes], tuple[int, int, int]]


class UdpScraper(asyncio.DatagramProtocol):
    """A tracker over UDP that counts as the test says."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.asked: list[bytes] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[8:12] == bytes(4):
            self.transport.sendto(bytes(4) + data[12:16] + b"ourscrap", addr)
        elif data[:12] == b"ourscrap" + (2).to_bytes(4):
            hashes = [data[at : at + 20] for at in range(16, len(data), 20)]
            self.asked += hashes
            body = b"".join(pack(">iii", *self.counts(info_hash)) for info_hash in hashes)
            self.transport.sendto(data[8:16] + body, addr)


@asynccontextmanager
async def udp_tracker(counts: Counts, host: str = HERE, port: int = 0) -> AsyncIterator[tuple[str, UdpScraper]]:
    transport, one = await asyncio.get_running_loop().create_datagram_endpoint(
        partial(UdpScraper, counts), (host, port)
    )
    try:
        yield f"udp://tracker.example:{transport.get_extra_info('sockname')[1]}/announce", one
    finally:
        transport.close()


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Take datagrams, and answer none."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, (HERE, 0))
    try:
        yield f"udp://tracker.example:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


async def scraped(*urls: str, hashes: tuple[bytes, ...] = (FIRST,), timeout: float = SECONDS) -> list[TrackerCounts]:
    return await scrape_trackers(Named([HERE]), urls, hashes, timeout)


def told(seeds: int, leechers: int, **more: Any) -> dict[bytes, Any]:
    fields = {b"complete": seeds, b"incomplete": leechers, b"downloaded": 7}
    return fields | {key.encode(): value for key, value in more.items()}


async def test_a_tracker_over_udp_tells_how_many_peers_there_are() -> None:
    async with udp_tracker(lambda _: (5, 50, 10)) as (url, one):
        (counts,) = await scraped(url)
    assert one.asked == [FIRST]
    assert (counts.tracker, counts.error) == (url, "")
    assert (counts.seeds, counts.downloaded, counts.leechers, counts.downloaders) == (5, 50, 10, None)


async def test_a_tracker_over_http_is_asked_where_it_can_be_scraped() -> None:
    pytest.importorskip("aiohttp")
    asked: list[tuple[str, str]] = []

    def answers(path: str, fields: dict[str, str]) -> bytes:
        asked.append((path, fields["info_hash"]))
        files = {FIRST: told(3, 4, downloaders=1)}
        return answer(200, bencode.encode({b"files": files, b"flags": {b"min_request_interval": 60}}))

    async with tracker(answers) as port:
        (counts,) = await scraped(f"http://tracker.example:{port}/x/announce?key=1")
    assert asked == [("/x/scrape", FIRST.decode())]
    assert (counts.seeds, counts.leechers, counts.downloaded, counts.downloaders) == (3, 4, 7, 1)
    assert (counts.min_interval, counts.error) == (60, "")


async def test_both_hashes_of_a_hybrid_are_asked_about_at_once_and_the_greatest_numbers_told() -> None:
    def counts_of(info_hash: bytes) -> tuple[int, int, int]:
        return (5, 1, 10) if info_hash == FIRST else (6, 2, 9)

    async with udp_tracker(counts_of) as (url, one):
        (counts,) = await scraped(url, hashes=(FIRST, SECOND))
    assert one.asked == [FIRST, SECOND]
    assert counts.counts[FIRST] == SwarmCounts(seeds=5, downloaded=1, leechers=10)
    assert counts.counts[SECOND] == SwarmCounts(seeds=6, downloaded=2, leechers=9)
    assert (counts.seeds, counts.downloaded, counts.leechers) == (6, 2, 10)


async def test_a_tracker_of_both_families_is_asked_over_both() -> None:
    async with udp_tracker(lambda _: (5, 1, 10)) as (url, four):
        port = int(url.split(":")[2].partition("/")[0])
        async with udp_tracker(lambda _: (6, 2, 9), "::1", port) as (_, six):
            (counts,) = await scrape_trackers(Named([HERE, "::1"]), [url], [FIRST], SECONDS)
    assert (four.asked, six.asked) == ([FIRST], [FIRST])
    assert (counts.seeds, counts.downloaded, counts.leechers) == (6, 2, 10)


async def test_trackers_are_told_in_their_order_with_what_each_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")

    def refuses(path: str, fields: dict[str, str]) -> bytes:
        return answer(200, bencode.encode({b"failure reason": b"not here"}))

    def knows_nothing(path: str, fields: dict[str, str]) -> bytes:
        return answer(200, b"d5:filesdee")

    async with (
        tracker(refuses) as first,
        tracker(knows_nothing) as second,
        udp_tracker(lambda _: (1, 2, 3)) as (url, _),
    ):
        urls = [
            f"http://tracker.example:{first}/announce",
            f"http://tracker.example:{second}/announce",
            "http://tracker.example/a",
            "wss://tracker.example/announce",
            "http://[::1/announce",
            url,
        ]
        found = await scraped(*urls)
    assert [one.tracker for one in found] == urls
    reasons = ["refuses: not here", "does not know", "cannot be scraped", "over wss are not asked", "Invalid IPv6 URL"]
    for one, reason in zip(found, reasons, strict=False):
        assert reason in one.error
        assert (one.seeds, one.leechers, one.downloaded, one.downloaders) == (None, None, None, None)
    assert (found[-1].seeds, found[-1].error) == (1, "")


async def test_a_tracker_over_udp_that_never_answers_is_told_of_in_time() -> None:
    async with silent() as url:
        (counts,) = await scraped(url, timeout=0.1)
    assert counts.error == "it does not answer within 0.1 s"


async def test_a_tracker_over_http_that_never_answers_is_told_of_in_time() -> None:
    pytest.importorskip("aiohttp")
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until whoever asks gives up
        writer.close()
        gone.set()

    async with await asyncio.start_server(serve, HERE, 0) as server:
        url = f"http://tracker.example:{server.sockets[0].getsockname()[1]}/announce"
        (counts,) = await scraped(url, timeout=0.1)
        await asyncio.wait_for(gone.wait(), SECONDS)
    assert counts.error == "it does not answer within 0.1 s"


async def test_a_name_that_is_looked_up_without_an_end_is_told_of_in_time() -> None:
    class Slow(Named):
        async def resolve(self, address: Address) -> list[Address]:
            await asyncio.Event().wait()
            return await super().resolve(address)

    (counts,) = await scrape_trackers(Slow([HERE]), ["udp://tracker.example:1"], [FIRST], 0.1)
    assert counts.error == "it does not answer within 0.1 s"


async def test_an_address_that_is_silent_does_not_keep_what_the_other_one_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scraping, "GRACE", 0.05)
    async with udp_tracker(lambda _: (5, 1, 10)) as (url, _):
        port = int(url.split(":")[2].partition("/")[0])
        async with udp_tracker(lambda _: (6, 2, 9), "::1", port) as (_, six):
            monkeypatch.setattr(six, "datagram_received", lambda *_: None)
            (counts,) = await scrape_trackers(Named([HERE, "::1"]), [url], [FIRST], SECONDS)
    assert (counts.seeds, counts.error) == (5, "")


async def test_a_tracker_over_udp_that_refuses_is_told_of_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async with udp_tracker(lambda _: (1, 2, 3)) as (url, one):

        def refuse(data: bytes, addr: Any) -> None:
            one.transport.sendto((3).to_bytes(4) + data[12:16] + b"no scrapes", addr)

        monkeypatch.setattr(one, "datagram_received", refuse)
        (counts,) = await scraped(url)
    assert counts.error == "the tracker refuses: no scrapes"


async def test_without_aiohttp_only_trackers_over_http_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    async with udp_tracker(lambda _: (1, 2, 3)) as (url, _):
        web, quick = await scraped("http://tracker.example/announce", url)
    assert "pip install 'librats[torrent]'" in web.error
    assert quick.seeds == 1


async def test_a_request_that_is_lost_is_sent_again_within_the_time_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = 0
    async with udp_tracker(lambda _: (1, 2, 3)) as (url, one):
        take = one.datagram_received

        def lose_two(data: bytes, addr: Any) -> None:
            nonlocal lost
            lost += 1
            if lost > 2:
                take(data, addr)

        monkeypatch.setattr(one, "datagram_received", lose_two)
        monkeypatch.setattr(scraping, "FIRST_UDP_WAIT", 0.02)
        (counts,) = await scraped(url)
    assert counts.seeds == 1


async def test_a_tracker_over_http_that_sends_without_an_end_is_refused_or_late() -> None:
    pytest.importorskip("aiohttp")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nd5:files")
        try:
            while True:
                writer.write(b"l" * 65_536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with await asyncio.start_server(serve, HERE, 0) as server:
        (counts,) = await scraped(f"http://tracker.example:{server.sockets[0].getsockname()[1]}/announce")
    assert "more than" in counts.error


@pytest.mark.parametrize(("moves", "reaches"), [(3, True), (4, False)])
async def test_moves_are_followed_as_those_of_an_announcement_are(moves: int, reaches: bool) -> None:
    pytest.importorskip("aiohttp")

    def answers(path: str, fields: dict[str, str]) -> bytes:
        number = int(path.removeprefix("/scrape") or 0)
        if number == moves:
            return answer(200, bencode.encode({b"files": {FIRST: told(1, 2)}}))
        return answer(302, b"", f"Location: /scrape{number + 1}")

    async with tracker(answers) as port:
        (counts,) = await scraped(f"http://tracker.example:{port}/announce")
    assert (counts.seeds == 1, "in circles" in counts.error) == (reaches, not reaches)


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/secret", "http://localhost:{port}/announce"])
async def test_no_service_of_this_machine_is_asked_that_is_no_tracker(target: str) -> None:
    pytest.importorskip("aiohttp")
    asked: list[str] = []

    def answers(path: str, fields: dict[str, str]) -> bytes:
        asked.append(path)
        return answer(302, b"", f"Location: {target.format(port=port)}")

    async with tracker(answers) as port:
        (counts,) = await scraped(f"http://tracker.example:{port}/announce")
        assert "on this machine" in counts.error
        (counts,) = await scraped(f"http://127.0.0.1:{port}/secret/announce")
        assert "on this machine" in counts.error
    assert asked == ["/scrape"]


async def test_more_trackers_than_are_asked_at_once_are_all_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "AT_ONCE", 2)
    async with udp_tracker(lambda _: (1, 2, 3)) as (url, one):
        found = await scraped(*[url] * 7)
    assert [counts.seeds for counts in found] == [1] * 7
    assert len(one.asked) == 7


async def test_a_client_that_does_not_run_asks_the_trackers_of_a_link() -> None:
    async with udp_tracker(lambda _: (5, 50, 10)) as (url, one):
        link = f"magnet:?xt=urn:btih:{FIRST.hex()}&tr={url.replace('tracker.example', HERE)}"
        (counts,) = await TorrentClient().scrape(link, timeout=SECONDS)
    assert (counts.seeds, one.asked) == (5, [FIRST])


async def test_a_torrent_without_trackers_and_a_time_that_is_none_are_refused() -> None:
    link = f"magnet:?xt=urn:btih:{FIRST.hex()}"
    with pytest.raises(UsageError, match="no tracker"):
        await TorrentClient().scrape(link)
    for timeout in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="timeout"):
            await TorrentClient().scrape(link + "&tr=udp://tracker.example:1", timeout=timeout)
