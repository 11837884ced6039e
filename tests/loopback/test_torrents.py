"""Torrents between clients on loopback: files and magnets, trackers, failures, and what is there after a restart."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest

from librats._core import bencode
from librats.bittorrent.extensions import compact_peer
from librats.bittorrent.messages import Handshake
from librats.errors import ClosedError, DecodeError, StoreError, UsageError
from librats.services.torrenting.resume import ResumeFile
from librats.services.torrenting.storage import TorrentFiles
from librats.torrents import Download, Torrent, TorrentClient, create_torrent, parse_magnet, read_torrent
from librats.types import Address

SECONDS = 60.0
HERE = "127.0.0.1"


def make_files(folder: Path, *, size: int = 700_000) -> Path:
    """Make a folder with some files."""
    dice = random.Random(size)  # noqa: S311 - the same in every run
    top = folder / "album"
    (top / "more").mkdir(parents=True)
    (top / "one.bin").write_bytes(dice.randbytes(size))
    (top / "more" / "two.bin").write_bytes(dice.randbytes(size // 3))
    (top / "more" / "empty").write_bytes(b"")
    return top


def contents(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


async def done(*downloads: Download) -> None:
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(download.wait() for download in downloads))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def client(**options: Any) -> TorrentClient:
    return TorrentClient(listen_host=HERE, **options)


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
@pytest.mark.parametrize("by_magnet", [False, True])
async def test_a_folder_goes_from_one_to_another(tmp_path: Path, version: str, by_magnet: bool) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top, version=version, piece_length=16_384))
    async with client() as one, client() as other:
        seed = await one.add(torrent, tmp_path / "a", trusted=True)
        peer = f"{HERE}:{one.listen_port}"
        source = str(torrent.magnet()) if by_magnet else torrent
        download = await other.add(source, tmp_path / "b", peers=[peer])
        await done(seed, download)
        assert download.torrent is not None
        assert download.torrent.info == torrent.info
        assert download.path == tmp_path / "b" / "album"
        assert contents(tmp_path / "b" / "album") == contents(top)
        progress = download.progress
        assert (progress.status, progress.bytes_done) == ("seeding", progress.bytes_total)


@pytest.mark.parametrize("transports", [["tcp"], ["utp"], ["tcp", "utp"]])
async def test_a_client_may_have_one_transport_or_both(tmp_path: Path, transports: list[str]) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top))
    async with client(transports=transports) as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        download = await other.add(torrent, tmp_path / "b", peers=[f"{HERE}:{one.listen_port}"])
        await done(download)
    assert contents(tmp_path / "b" / "album") == contents(top)
    with pytest.raises(UsageError):
        client(transports=["udp"])


@pytest.mark.parametrize("transport", ["tcp", "utp"])
async def test_two_that_dial_each_other_at_once_keep_the_same_connection(tmp_path: Path, transport: str) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top))
    half = tmp_path / "c" / "album" / "more"
    half.mkdir(parents=True)
    (half / "two.bin").write_bytes((top / "more" / "two.bin").read_bytes())
    async with client(transports=[transport]) as one, client(transports=[transport]) as other:
        first = await one.add(torrent, tmp_path / "b")
        second = await other.add(torrent, tmp_path / "c")
        await until(lambda: {first.progress.status, second.progress.status} == {"downloading"})
        had = torrent.layout.total_size
        first.add_peers([Address(HERE, other.listen_port)])
        second.add_peers([Address(HERE, one.listen_port)])
        await until(lambda: 0 < second.progress.bytes_done == first.progress.bytes_done)
        assert first.progress.bytes_done == second.progress.bytes_done < had
        assert (first.progress.peers, second.progress.peers) == (1, 1)


async def test_updates_end_when_all_is_there(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top))
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        download = await other.add(torrent, tmp_path / "b", peers=[Address(HERE, one.listen_port)])
        async with asyncio.timeout(SECONDS):
            seen = [progress async for progress in download.updates()]
        assert seen[0].bytes_done <= seen[-1].bytes_done == seen[-1].bytes_total
        assert seen[-1].status == "seeding"


async def test_what_is_there_is_not_had_again_after_a_restart(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top, piece_length=16_384))
    async with client() as one:
        await one.add(torrent, tmp_path / "a", trusted=True)
        peer = Address(HERE, one.listen_port)
        async with client() as other:
            download = await other.add(torrent, tmp_path / "b", peers=[peer])
            await done(download)
            had = download.progress.downloaded
        # Where nothing has changed it is not even read: a piece that was spoilt without a trace counts as there.
        target = tmp_path / "b" / "album" / "one.bin"
        status = target.stat()
        with target.open("r+b") as file:
            file.write(bytes(100))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        async with client() as other:
            again = await other.add(str(torrent.magnet()), tmp_path / "b")
            await done(again)
            assert again.progress.downloaded == had
        # Where a file has changed it is read, and what is wrong is had again.
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        async with client() as other:
            again = await other.add(torrent, tmp_path / "b", peers=[peer])
            await done(again)
            assert again.progress.downloaded == had + 16_384
    assert contents(tmp_path / "b" / "album") == contents(top)


@pytest.mark.parametrize("private", [False, True])
async def test_whom_it_was_connected_with_is_dialled_after_a_restart_but_not_for_a_private_torrent(
    tmp_path: Path, private: bool
) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top, private=private))
    async with client() as one:
        seed = await one.add(torrent, tmp_path / "a", trusted=True)
        seed.pause()
        async with client() as other:
            download = await other.add(torrent, tmp_path / "b", peers=[Address(HERE, one.listen_port)])
            await until(lambda: download.progress.status == "downloading" and download.progress.peers == 1)
        await until(lambda: seed.progress.peers == 0)
        seed.go_on()
        async with client() as again:
            download = await again.add(torrent, tmp_path / "b")
            if private:
                await until(lambda: download.progress.status == "downloading")
                assert len(download.candidates) == 0
            else:
                await done(download)


async def test_files_that_are_there_are_read_and_only_the_rest_had(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top, piece_length=16_384))
    half = tmp_path / "b" / "album"
    half.mkdir(parents=True)
    (half / "one.bin").write_bytes((top / "one.bin").read_bytes()[:327_680] + bytes(372_320))
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        download = await other.add(torrent, tmp_path / "b", peers=[Address(HERE, one.listen_port)])
        await done(download)
        total = download.progress.bytes_total
        assert total - 350_000 < download.progress.downloaded < total - 300_000
    assert contents(half) == contents(top)


async def test_a_torrent_that_is_not_there_is_not_served_and_others_go_on(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top))
    async with client(encryption="off") as one, client() as other:  # else it may be a key, and is waited for
        other_one = await other.add(torrent, tmp_path / "b", peers=[Address(HERE, one.listen_port)])
        await asyncio.sleep(0)
        assert other_one.progress.peers == 0
        reader, writer = await asyncio.open_connection(HERE, one.listen_port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n" + bytes(100))
        assert await reader.read() == b""
        writer.close()
        await one.add(torrent, tmp_path / "a", trusted=True)
        other_one.candidates.add([Address("127.0.0.1", one.listen_port)], other_one.now())
        other_one.add_peers([Address("localhost", one.listen_port)])
        await done(other_one)


async def test_a_disk_that_does_not_take_it_is_told_and_it_goes_on_once_it_does(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top))
    blocked = tmp_path / "b"
    blocked.mkdir()
    (blocked / "album").write_bytes(b"a file where a folder is to be")
    async with client() as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        download = await other.add(torrent, blocked, peers=[Address(HERE, one.listen_port)])
        with pytest.raises(StoreError):
            await done(download)
        assert download.progress.status == "failed"
        assert (blocked / "album").read_bytes() == b"a file where a folder is to be"


async def test_a_disk_that_does_not_take_the_last_of_it_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top))
    finish = TorrentFiles.finish

    def fail(self: TorrentFiles) -> None:
        raise StoreError(tmp_path, "no space left on device")

    async with client() as one, client() as other:
        await done(await one.add(torrent, tmp_path / "a", trusted=True))
        monkeypatch.setattr(TorrentFiles, "finish", fail)
        download = await other.add(torrent, tmp_path / "b", peers=[Address(HERE, one.listen_port)])
        with pytest.raises(StoreError):
            await done(download)
        download.go_on()
        with pytest.raises(StoreError):
            await done(download)
        monkeypatch.setattr(TorrentFiles, "finish", finish)
        download.go_on()
        await done(download)
        assert download.progress.status == "seeding"


async def test_files_that_are_removed_while_they_come_are_not_said_to_be_there(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top, piece_length=16_384))
    async with client(upload_limit=400_000.0) as one, client() as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        download = await other.add(torrent, tmp_path / "b", peers=[Address(HERE, one.listen_port)])
        await until(lambda: download.progress.bytes_done > 0 and (tmp_path / "b" / "album" / "one.bin").exists())
        shutil.rmtree(tmp_path / "b")
        one.upload_limit = None
        with pytest.raises(StoreError):
            await done(download)


async def test_what_is_removed_ends_and_leaves_its_files(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top))
    async with client() as one:
        download = await one.add(torrent, tmp_path / "b")
        waiting = asyncio.ensure_future(download.wait())
        await asyncio.sleep(0)
        with pytest.raises(UsageError):
            await one.add(torrent, tmp_path / "b")
        await one.remove(download)
        with pytest.raises(ClosedError):
            await waiting
        assert not one.downloads
        assert not (tmp_path / "b" / ".librats").exists()


async def test_what_is_no_torrent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.torrent").write_bytes(b"nothing")
    async with client() as one:
        for source in (b"nothing", "magnet:?dn=x", tmp_path / "x.torrent"):
            with pytest.raises(DecodeError):
                await one.add(source, tmp_path)
        with pytest.raises(StoreError):
            await one.add(tmp_path / "no.torrent", tmp_path)
    with pytest.raises(UsageError):
        await TorrentClient().add(b"", tmp_path)


class HttpTracker:
    """A tracker over HTTP that tells everybody of everybody."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.peers: dict[bytes, None] = {}
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:  # whoever was to ask was closed meanwhile
            writer.close()
            return
        fields = dict(parse_qsl(urlsplit(head.split()[1]).query, encoding="latin-1"))
        async with self.changed:
            self.requests.append(fields)
            self.changed.notify_all()
        body = bencode.encode({b"interval": 60, b"peers": b"".join(self.peers)})
        self.peers[compact_peer(Address(HERE, int(fields["port"])))] = None
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        writer.close()

    async def told(self, event: str) -> dict[str, str]:
        async with asyncio.timeout(SECONDS), self.changed:
            await self.changed.wait_for(lambda: any(fields.get("event") == event for fields in self.requests))
        return next(fields for fields in self.requests if fields.get("event") == event)


async def test_peers_meet_at_a_tracker_over_http_that_hears_of_the_begin_and_the_end(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    tracker = HttpTracker()
    server = await asyncio.start_server(tracker.serve, HERE, 0)
    url = f"http://{HERE}:{server.sockets[0].getsockname()[1]}/announce"
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top, trackers=[["http://127.0.0.1:1/announce", url]]))
    async with server, client() as one:
        await one.add(torrent, tmp_path / "a", trusted=True)
        first = await tracker.told("started")
        assert first["info_hash"].encode("latin-1") in {torrent.info_hash_v1, (torrent.info_hash_v2 or b"")[:20]}
        assert (first["left"], first["port"]) == ("0", str(one.listen_port))
        async with client() as other:
            download = await other.add(torrent, tmp_path / "b")
            await done(download)
            completed = await tracker.told("completed")
            assert completed["downloaded"] == str(download.progress.downloaded)
        await tracker.told("stopped")
    assert contents(tmp_path / "b" / "album") == contents(top)


async def test_after_a_restart_a_tracker_is_told_of_what_was_had_since_alone(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    tracker = HttpTracker()
    server = await asyncio.start_server(tracker.serve, HERE, 0)
    url = f"http://{HERE}:{server.sockets[0].getsockname()[1]}/announce"
    torrent = read_torrent(create_torrent(make_files(tmp_path / "a"), trackers=[[url]]))
    size = sum(len(data) for data in contents(tmp_path / "a").values())
    async with server, client() as one:
        await one.add(torrent, tmp_path / "a", trusted=True)
        await tracker.told("started")
        async with client() as other:
            await done(await other.add(torrent, tmp_path / "b"))
            completed = await tracker.told("completed")
        assert int(completed["downloaded"]) >= size
        await tracker.told("stopped")
        tracker.requests.clear()
        async with client() as again:
            download = await again.add(torrent, tmp_path / "b")
            await done(download)
            assert download.progress.downloaded >= size
            started = await tracker.told("started")
        stopped = await tracker.told("stopped")
    assert (started["downloaded"], stopped["downloaded"]) == ("0", "0")
    assert not any(fields.get("event") == "completed" for fields in tracker.requests)


async def test_one_who_knows_the_hash_of_version_2_alone_meets_one_who_has_a_hybrid(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    dht = Dht()
    torrent = read_torrent(create_torrent(top))
    async with client(dht=dht) as one, client(dht=dht) as other:
        await one.add(torrent, tmp_path / "a", trusted=True)
        link = f"magnet:?xt=urn:btmh:1220{cast('bytes', torrent.info_hash_v2).hex()}"
        download = await other.add(link, tmp_path / "b")
        await done(download)
        assert download.torrent is not None
        assert download.torrent.info_hash_v1 == torrent.info_hash_v1
    assert contents(tmp_path / "b" / "album") == contents(top)


class UdpTracker(asyncio.DatagramProtocol):
    """A tracker over UDP that tells everybody of everybody."""

    def __init__(self) -> None:
        self.peers: dict[bytes, None] = {}
        self.transport: asyncio.DatagramTransport
        self.announced = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        action = int.from_bytes(data[8:12])
        if action == 0:
            self.transport.sendto(bytes(4) + data[12:16] + b"connects", addr)
        elif data[:8] == b"connects":
            answer = (1).to_bytes(4) + data[12:16] + (60).to_bytes(4) + bytes(8) + b"".join(self.peers)
            self.peers[compact_peer(Address(HERE, int.from_bytes(data[96:98])))] = None
            self.announced.set()
            self.transport.sendto(answer, addr)


async def test_peers_meet_at_a_tracker_over_udp(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    transport, tracker = await loop.create_datagram_endpoint(UdpTracker, (HERE, 0))
    url = f"udp://{HERE}:{transport.get_extra_info('sockname')[1]}/announce"
    top = make_files(tmp_path / "a")
    torrent = read_torrent(create_torrent(top, trackers=[[url]]))
    try:
        async with client() as one, client() as other:
            seed = await one.add(torrent, tmp_path / "a", trusted=True)
            await done(seed)
            magnet = parse_magnet(str(torrent.magnet()))
            assert magnet.trackers == (url,)
            async with asyncio.timeout(SECONDS):
                await tracker.announced.wait()
            download = await other.add(magnet, tmp_path / "b")
            await done(download)
    finally:
        transport.close()
    assert contents(tmp_path / "b" / "album") == contents(top)


class Dht:
    """A DHT of one process."""

    listen_port = 0

    def __init__(self) -> None:
        self.peers: dict[bytes, list[Address]] = {}
        self.announced = asyncio.Event()

    async def ping(self, _address: Address, *, timeout: float | None = None) -> None:
        del timeout

    async def find_peers(self, info_hash: bytes, *, timeout: float | None = None) -> list[Address]:
        return list(self.peers.get(info_hash, []))

    async def announce(self, info_hash: bytes, port: int | None = None, *, timeout: float | None = None) -> int:
        self.peers.setdefault(info_hash, []).append(Address(HERE, port or 0))
        self.announced.set()
        return 1


async def test_peers_meet_in_the_dht_but_not_those_of_a_private_torrent(tmp_path: Path) -> None:
    top = make_files(tmp_path / "a")
    dht = Dht()
    public = read_torrent(create_torrent(top))
    private = read_torrent(create_torrent(top, private=True))
    async with client(dht=dht) as one, client(dht=dht) as other:
        for torrent in (public, private):
            await one.add(torrent, tmp_path / "a", trusted=True)
        async with asyncio.timeout(SECONDS):
            await dht.announced.wait()
        download = await other.add(str(public.magnet()), tmp_path / "b")
        await done(download)
        assert set(dht.peers) == {public.info_hash_v1, (public.info_hash_v2 or b"")[:20]}


def test_a_torrent_is_made_of_what_is_there_and_what_is_not_is_told(tmp_path: Path) -> None:
    top = make_files(tmp_path)
    seen: list[tuple[int, int]] = []
    torrent: Torrent = read_torrent(create_torrent(top, on_progress=lambda done, total: seen.append((done, total))))
    assert seen[-1][0] == seen[-1][1] == torrent.size
    assert {"/".join(file.path) for file in torrent.layout.files if not file.is_pad} == {
        *("album/one.bin", "album/more/two.bin", "album/more/empty")
    }
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError):
        create_torrent(tmp_path / "nothing")
    with pytest.raises(StoreError):
        create_torrent(tmp_path / "not there")


async def test_a_peer_that_comes_while_a_torrent_is_being_added_is_turned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torrent = read_torrent(create_torrent(make_files(tmp_path / "a")))
    may_load = threading.Event()
    load = ResumeFile.load

    def load_late(file: ResumeFile, info_hash: bytes) -> Any:
        assert may_load.wait(SECONDS)
        return load(file, info_hash)

    monkeypatch.setattr(ResumeFile, "load", load_late)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with client() as one:
        adding = asyncio.create_task(one.add(torrent, tmp_path / "a"))
        reader, writer = await asyncio.open_connection(HERE, one.listen_port)
        writer.write(Handshake.of(torrent.info_hash, b"p" * 20).encode())
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(UsageError, match="here already"):
            await one.add(torrent, tmp_path / "b")
        may_load.set()
        await done(await adding)
    assert not complaints
