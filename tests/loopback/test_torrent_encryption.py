"""Clients that want, take, need or do not know message stream encryption, and strangers at their port."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from librats.bittorrent.messages import Handshake
from librats.errors import UsageError
from librats.services.torrenting import encryption as torrent_encryption
from librats.services.torrenting.wire import PeerWire
from librats.torrents import Download, Torrent, TorrentClient, create_torrent, read_torrent
from librats.types import Address

HERE = "127.0.0.1"
SECONDS = 60.0
SIZE = 300_000


def client(encryption: str, **options: Any) -> TorrentClient:
    return TorrentClient(listen_host=HERE, encryption=encryption, **options)


def make_torrent(folder: Path) -> Torrent:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "file.bin"
    path.write_bytes(random.Random(SIZE).randbytes(SIZE))  # noqa: S311 - the same in every run
    return read_torrent(create_torrent(path, piece_length=16_384))


async def done(download: Download) -> None:
    async with asyncio.timeout(SECONDS):
        await download.wait()


class Meeting:
    """A seed, and one who downloads from it and keeps looking at how they are connected."""

    def __init__(self, folder: Path, seed: TorrentClient, leech: TorrentClient) -> None:
        self.folder, self.seed, self.leech = folder, seed, leech
        self.seen: set[str] = set()

    async def run(self) -> None:
        torrent = make_torrent(self.folder / "a")
        await self.seed.add(torrent, self.folder / "a", trusted=True)
        download = await self.leech.add(torrent, self.folder / "b", peers=[f"{HERE}:{self.seed.listen_port}"])
        entered = download.enter

        def look(wire: PeerWire, *given: Any) -> Any:
            self.seen.add(wire.method.name.lower() if wire.method is not None else "")
            return entered(wire, *given)

        download.enter = look  # type: ignore[assignment, method-assign]
        await done(download)
        assert (self.folder / "a" / "file.bin").read_bytes() == (self.folder / "b" / "file.bin").read_bytes()


@pytest.mark.parametrize(
    ("dials", "listens", "method"),
    [
        ("allow", "allow", ""),
        ("allow", "off", ""),
        ("off", "allow", ""),
        ("off", "prefer", ""),
        ("allow", "require", "rc4"),
        ("prefer", "allow", "plaintext"),
        ("prefer", "prefer", "rc4"),
        ("prefer", "off", ""),
        ("require", "allow", "rc4"),
        ("require", "require", "rc4"),
    ],
)
async def test_both_find_a_way_that_each_of_them_takes(tmp_path: Path, dials: str, listens: str, method: str) -> None:
    async with client(listens) as seed, client(dials) as leech:
        meeting = Meeting(tmp_path, seed, leech)
        await meeting.run()
        assert meeting.seen == {method}


async def test_it_goes_over_utp_as_well(tmp_path: Path) -> None:
    async with client("require", transports=["utp"]) as seed, client("require", transports=["utp"]) as leech:
        meeting = Meeting(tmp_path, seed, leech)
        await meeting.run()
        assert meeting.seen == {"rc4"}


@pytest.mark.parametrize(("dials", "listens"), [("off", "require"), ("require", "off")])
async def test_who_needs_it_and_who_has_it_not_do_not_meet(tmp_path: Path, dials: str, listens: str) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client(listens) as seed, client(dials) as leech:
        await seed.add(torrent, tmp_path / "a", trusted=True)
        download = await leech.add(torrent, tmp_path / "b")
        address = Address(HERE, seed.listen_port)
        left = asyncio.Event()
        failed = download.candidates.fail

        def fail(*given: Any) -> None:
            failed(*given)
            left.set()

        download.candidates.fail = fail  # type: ignore[assignment, method-assign]
        download.add_peers([address])
        async with asyncio.timeout(SECONDS):
            await left.wait()
        assert download.progress.peers == 0
        assert download.progress.bytes_done == 0


async def test_an_application_is_told_how_it_is_connected(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client("require") as seed, client("prefer") as leech:
        await seed.add(torrent, tmp_path / "a", trusted=True)
        download = await leech.add(torrent, tmp_path / "b")
        address = Address(HERE, seed.listen_port)
        download.add_peers([address])
        download.pause()  # of what it is dialling already it keeps the connection
        async with asyncio.timeout(SECONDS):
            while not (peers := download.peers) or not peers[0].is_seed:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert download.progress.encrypted == download.progress.peers == 1
        (peer,) = peers
        assert (peer.address, peer.transport, peer.encryption, peer.program) == (address, "tcp", "rc4", "librats")
        assert peer.is_outgoing


async def exchange(port: int, parts: list[bytes]) -> bytes:
    """Send bytes part by part, and return what comes until the end, or until there is a handshake."""
    reader, writer = await asyncio.open_connection(HERE, port)
    got = b""
    try:
        async with asyncio.timeout(SECONDS):
            for part in parts:
                writer.write(part)
                await writer.drain()
            while len(got) < 68 and (more := await reader.read(4096)):
                got += more
    except ConnectionError:
        pass
    finally:
        writer.close()
    return got


async def test_an_old_peer_whose_handshake_comes_byte_by_byte_is_answered(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    hello = Handshake.of(torrent.info_hash, b"-XX0001-abcdefghijkl").encode()
    async with client("allow") as seed:
        await seed.add(torrent, tmp_path / "a", trusted=True)
        got = await exchange(seed.listen_port, [bytes([byte]) for byte in hello])
    assert got[:20] == b"\x13BitTorrent protocol"
    assert got[28:48] == torrent.info_hash


@pytest.mark.parametrize("mode", ["off", "allow", "prefer", "require"])
async def test_strangers_with_bytes_of_their_own_are_let_go(tmp_path: Path, mode: str) -> None:
    torrent = make_torrent(tmp_path / "a")
    dice = random.Random(1)  # noqa: S311 - the same in every run
    async with client(mode) as seed:
        await seed.add(torrent, tmp_path / "a", trusted=True)
        got = [
            await exchange(seed.listen_port, [dice.randbytes(1200)]),
            await exchange(seed.listen_port, [b"GET / HTTP/1.1\r\n\r\n" * 60]),
            await exchange(seed.listen_port, [bytes(95), bytes(1)]),
        ]
        # The answer to what may be a key is one, and random bytes; all zeros make no secret.
        assert got[2] == b""
        assert all(len(each) <= 96 + 512 for each in got)
        if mode == "off":
            assert got == [b"", b"", b""]
        assert seed.downloads[torrent.info_hash].progress.peers == 0


async def test_a_peer_that_wants_it_is_dialled_with_it_at_once(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    async with client("require") as seed, client("allow") as leech:
        await seed.add(torrent, tmp_path / "a", trusted=True)
        download = await leech.add(torrent, tmp_path / "b")
        address = Address(HERE, seed.listen_port)
        turned: list[Any] = []

        def turn(*given: Any, **_named: Any) -> bool:
            turned.append(given)
            return False

        download.candidates.turn = turn  # type: ignore[method-assign]
        download.candidates.add([address], download.now(), encrypted=[address])
        download.add_peers([])
        await done(download)
        assert turned == []


def test_modes_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="off, allow, prefer, require"):
        client("always")


@pytest.fixture
def without_rc4() -> Iterator[None]:
    """Have the package as it is where it, or its RC4, is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cryptography.hazmat.decrepit.ciphers.algorithms", None)
        torrent_encryption._library.cache_clear()
        yield
    torrent_encryption._library.cache_clear()


@pytest.mark.usefixtures("without_rc4")
@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_wanting_it_without_the_library_is_refused(mode: str) -> None:
    with pytest.raises(UsageError, match=r"librats\[torrent\]"):
        client(mode)


@pytest.mark.usefixtures("without_rc4")
async def test_a_client_without_the_library_talks_plainly_and_lets_others_go(tmp_path: Path) -> None:
    torrent = make_torrent(tmp_path / "a")
    hello = Handshake.of(torrent.info_hash, b"-XX0001-abcdefghijkl").encode()
    async with client("allow") as seed:
        await seed.add(torrent, tmp_path / "a", trusted=True)
        assert await exchange(seed.listen_port, [bytes(range(1, 101))]) == b""
        assert (await exchange(seed.listen_port, [hello]))[:20] == hello[:20]
        assert not seed.encryption.begins_encrypted(True)
