"""Web seeds: servers on loopback that give files, lie or fail, and those that a torrent may not have us ask."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web

from librats.bittorrent.web_seeds import WebPart, WebSeed
from librats.errors import RemoteProtocolError, StoreError
from librats.runtime.network import current_network
from librats.services.torrenting.http import HttpFiles, HttpRefusal, _Resolver
from librats.torrents import Download, Torrent, TorrentClient, create_torrent, read_torrent
from librats.types import Address

HERE = "127.0.0.1"
SECONDS = 60.0
SIZE = 300_000


def make_files(folder: Path) -> Path:
    dice = random.Random(SIZE)  # noqa: S311 - the same in every run
    top = folder / "my album"
    (top / "more").mkdir(parents=True)
    (top / "one.bin").write_bytes(dice.randbytes(SIZE))
    (top / "more" / "two.bin").write_bytes(dice.randbytes(SIZE // 3))
    return top


def contents(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


class Server:
    """Serves a folder; ``change`` may answer in its stead."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.change: Callable[[web.Request], web.StreamResponse | None] = lambda request: None
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        changed = self.change(request)
        if changed is not None:
            return changed
        data = (self.folder / request.path.lstrip("/")).read_bytes()
        part = request.http_range
        headers = {"Content-Range": f"bytes {part.start}-{part.stop - 1}/{len(data)}"}
        return web.Response(status=206, body=data[part], headers=headers)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    server = Server(folder)
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HERE, 0)
    await site.start()
    server.url = f"http://{HERE}:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def client() -> TorrentClient:
    return TorrentClient(listen_host=HERE)


async def done(download: Download) -> None:
    async with asyncio.timeout(SECONDS):
        await download.wait()


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def torrent_of(top: Path, version: str = "hybrid", **options: Any) -> Torrent:
    return read_torrent(create_torrent(top, version=version, piece_length=16_384, **options))


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
async def test_a_folder_comes_from_a_web_seed_alone(tmp_path: Path, version: str) -> None:
    top = make_files(tmp_path / "a")
    torrent = torrent_of(top, version)
    async with serving(tmp_path / "a") as server, client() as one:
        download = await one.add(torrent, tmp_path / "b", web_seeds=[server.url])
        await done(download)
        assert download.progress.downloaded == torrent.size or version != "v2"
        assert download.progress.wasted == 0
        assert set(server.asked) == {"/my album/one.bin", "/my album/more/two.bin"}
    assert contents(tmp_path / "b" / "my album") == contents(top)


async def test_a_web_seed_is_asked_once_the_disk_takes_what_it_gives(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"a file where a folder is to be")
    async with serving(tmp_path / "a") as server, client() as one:
        download = await one.add(torrent_of(top, "v1"), tmp_path / "b", web_seeds=[server.url])
        with pytest.raises(StoreError):
            await done(download)
        (tmp_path / "b").unlink()
        download.go_on()
        await done(download)
    assert contents(tmp_path / "b" / "my album") == contents(top)


@pytest.mark.parametrize("limit", [math.inf, 10**400])
async def test_a_limit_that_is_none_keeps_no_web_seed_from_giving(tmp_path: Path, limit: float) -> None:
    top = make_files(tmp_path / "a")
    async with serving(tmp_path / "a") as server, client() as one:
        download = await one.add(
            torrent_of(top, "v1"), tmp_path / "b", web_seeds=[server.url], download_limit=limit, resume=False
        )
        await done(download)


async def test_what_comes_of_a_web_seed_is_limited_and_asked_for_a_little_at_a_time(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = torrent_of(top, "v1")
    limit, ranges = 400_000, list[slice]()

    def note(request: web.Request) -> None:
        ranges.append(request.http_range)

    async with serving(tmp_path / "a") as server, client() as one:
        server.change = note
        begun = asyncio.get_running_loop().time()
        download = await one.add(torrent, tmp_path / "b", web_seeds=[server.url], download_limit=limit)
        await done(download)
        assert asyncio.get_running_loop().time() - begun >= torrent.size / limit - 0.2
        assert max(part.stop - part.start for part in ranges) <= limit / 2
    assert contents(tmp_path / "b" / "my album") == contents(top)


async def test_a_single_file_comes_from_its_url_and_a_server_without_ranges_will_do(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = torrent_of(top / "one.bin")
    async with serving(tmp_path / "a") as server, client() as one:
        server.change = lambda request: web.Response(body=(top / "one.bin").read_bytes())
        download = await one.add(torrent, tmp_path / "b", web_seeds=[server.url + "/any/name?x=%20y"])
        await done(download)
    assert (tmp_path / "b" / "one.bin").read_bytes() == (top / "one.bin").read_bytes()


async def test_a_magnet_link_has_the_torrent_of_a_peer_and_the_rest_of_the_web_seed(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = torrent_of(top)
    async with serving(tmp_path / "a") as server, client() as one, client() as other:
        seed = await one.add(torrent, tmp_path / "a", trusted=True)
        seed.pause()  # it tells of the torrent, and gives nothing
        download = await other.add(
            str(torrent.magnet()), tmp_path / "b", peers=[Address(HERE, one.listen_port)], web_seeds=[server.url]
        )
        await done(download)
        assert server.asked
    assert contents(tmp_path / "b" / "my album") == contents(top)


@pytest.mark.parametrize(
    "host",
    [HERE, "localhost", "[::1]", "[::ffff:127.0.0.1]", "a.localhost", "10.0.0.1", "0.0.0.0"],  # noqa: S104
)
async def test_a_torrent_may_not_have_this_machine_or_its_network_asked(tmp_path: Path, host: str) -> None:
    top = make_files(tmp_path / "a")
    async with serving(tmp_path / "a") as server:
        port = server.url.rpartition(":")[2]
        http = HttpFiles(current_network(), ())
        try:
            with pytest.raises(RemoteProtocolError, match="no business"):
                await http.fetch(
                    WebPart(f"http://{host}:{port}/my%20album/one.bin", 0, 0, 10, 0), memoryview(bytearray(10))
                )
        finally:
            await http.close()
        assert server.asked == []
    assert top.exists()


async def test_a_torrents_own_url_of_this_machine_is_not_asked(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    async with serving(tmp_path / "a") as server, client() as one:
        torrent = torrent_of(top, web_seeds=[server.url])
        download = await one.add(torrent, tmp_path / "b")
        await until(lambda: any(seed.next_time > download.now() + 5 for seed in download.swarm.web_seeds.values()))
        assert server.asked == []
        assert download.progress.bytes_done == 0


async def test_a_name_of_this_machine_is_not_dialled_unless_the_user_has_said_it() -> None:
    with pytest.raises(OSError, match="no business"):
        await _Resolver(current_network(), ()).resolve("localhost", 80)
    assert await _Resolver(current_network(), {"localhost"}).resolve("localhost", 80)


@pytest.mark.parametrize(
    ("target", "reason"),
    [("http://localhost:{port}/x", "no business"), ("ftp://h/x", "elsewhere"), ("/again", "circles")],
)
async def test_a_server_may_not_send_us_where_the_torrent_may_not(tmp_path: Path, target: str, reason: str) -> None:
    async with serving(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        server.change = lambda request: web.Response(status=302, headers={"Location": target.format(port=port)})
        http = HttpFiles(current_network(), {HERE})
        try:
            with pytest.raises(RemoteProtocolError, match=reason):
                await http.fetch(WebPart(server.url + "/a", 0, 0, 10, 0), memoryview(bytearray(10)))
        finally:
            await http.close()
        assert len(server.asked) == (6 if reason == "circles" else 1)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"status": 206, "body": b"12345", "headers": {"Content-Range": "bytes 0-4/5"}}, "less"),
        ({"status": 206, "body": b"1234567890", "headers": {"Content-Range": "bytes 5-14/15"}}, "another part"),
        ({"status": 206, "body": b"1234567890"}, "another part"),
        ({"status": 200, "body": b"123"}, "less"),
        ({"status": 404}, "404"),
        ({"status": 416}, "416"),
        ({"status": 503, "headers": {"Retry-After": "77"}}, "503"),
    ],
)
async def test_answers_that_are_not_what_was_asked_for_are_refused(
    tmp_path: Path, response: dict[str, Any], reason: str
) -> None:
    async with serving(tmp_path) as server:
        server.change = lambda request: web.Response(**response)
        http = HttpFiles(current_network(), {HERE})
        try:
            with pytest.raises(RemoteProtocolError, match=reason) as caught:
                await http.fetch(WebPart(server.url + "/a", 0, 0, 10, 0), memoryview(bytearray(10)))
        finally:
            await http.close()
        if isinstance(caught.value, HttpRefusal):
            assert caught.value.is_lasting == (caught.value.status < 500)
            assert caught.value.retry_after == (77 if caught.value.status == 503 else 0)


async def test_more_than_was_asked_for_is_not_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        headers = {"Content-Range": "bytes 3-12/20"}
        server.change = lambda request: web.Response(status=206, body=b"3456789012" + bytes(5_000_000), headers=headers)
        http, into = HttpFiles(current_network(), {HERE}), bytearray(10)
        try:
            await http.fetch(WebPart(server.url + "/a", 0, 3, 10, 0), memoryview(into))
        finally:
            await http.close()
        assert into == b"3456789012"


async def test_a_server_that_lies_is_found_out_and_a_peer_gives_the_right_pieces(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "librats.torrent")
    top = make_files(tmp_path / "a")
    torrent = torrent_of(top)
    async with serving(tmp_path / "a") as server, client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        server.change = lambda request: web.Response(body=bytes(SIZE))
        download = await other.add(torrent, tmp_path / "b", web_seeds=[server.url])
        await until(lambda: "is not asked any more" in caplog.text)
        await until(lambda: not download.swarm.web_seeds)
        assert download.progress.bytes_done == 0
        download.add_peers([Address(HERE, one.listen_port)])
        await done(download)
    assert contents(tmp_path / "b" / "my album") == contents(top)


async def test_a_file_that_the_server_lacks_comes_from_a_peer(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = torrent_of(top)
    async with serving(tmp_path / "a") as server, client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        server.change = lambda request: web.Response(status=404) if "two" in request.path else None
        download = await other.add(torrent, tmp_path / "b", web_seeds=[server.url])
        await until(lambda: download.progress.bytes_done > SIZE * 0.9)
        download.add_peers([Address(HERE, one.listen_port)])
        await done(download)
        assert server.asked.count("/my album/more/two.bin") <= 2  # one for each of two at once
    assert contents(tmp_path / "b" / "my album") == contents(top)


async def test_a_server_that_fails_for_now_waits_and_what_it_was_asked_for_is_free_again(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = torrent_of(top)
    async with serving(tmp_path / "a") as server, client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        server.change = lambda request: web.Response(status=503, headers={"Retry-After": "3000"})
        download = await other.add(torrent, tmp_path / "b", web_seeds=[server.url])

        def waits(seed: WebSeed) -> bool:
            return seed.next_time > download.now() + 800

        await until(lambda: any(map(waits, download.swarm.web_seeds.values())))
        download.add_peers([Address(HERE, one.listen_port)])
        await done(download)
    assert contents(tmp_path / "b" / "my album") == contents(top)
