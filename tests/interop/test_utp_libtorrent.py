"""uTP with libtorrent at the other end, without TCP: a file each way, whoever dials, and where packets get lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.interop.tiny_torrent import Streams, Theirs, Torrent, leech, lossy, seed

from librats.services.utp import UtpSocket
from librats.types import Address

pytestmark = pytest.mark.interop

SECONDS = 100.0
SIZE = 12_345_678
LOSSY_SIZE = 3_000_000


@pytest.fixture(scope="module")
def torrents(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Torrent]:
    made: dict[int, Torrent] = {}

    def of_size(size: int) -> Torrent:
        if size not in made:
            made[size] = Torrent(tmp_path_factory.mktemp("torrent"), size)
        return made[size]

    return of_size


@asynccontextmanager
async def ours(
    host: str = "127.0.0.1", control: str = "ledbat"
) -> AsyncIterator[tuple[UtpSocket, asyncio.Queue[Streams]]]:
    """A socket, and the connections that come in on it."""
    came: asyncio.Queue[Streams] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def accept() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(1 << 16, loop)
        return asyncio.StreamReaderProtocol(reader, lambda *streams: came.put_nowait(streams), loop)

    opened = await UtpSocket.open(host, accept=accept, control=control)
    try:
        yield opened, came
    finally:
        opened.close()


async def connected(here: UtpSocket, came: asyncio.Queue[Streams], theirs: Theirs, *, we_dial: bool) -> Streams:
    if we_dial:
        return await here.open_connection(await theirs.address())
    await theirs.address()
    theirs.dial(here.local_address)
    return await came.get()


@pytest.mark.parametrize("we_dial", [True, False], ids=["we dial", "it dials"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_libtorrent_seeds_arrives_here(
    torrents: Callable[[int], Torrent], tmp_path: Path, we_dial: bool, host: str
) -> None:
    torrent = torrents(SIZE)
    async with asyncio.timeout(SECONDS), ours(host) as (here, came):
        theirs = Theirs(torrent, tmp_path, seeds=True, host=host)
        streams = await connected(here, came, theirs, we_dial=we_dial)
        assert await leech(torrent, streams) == torrent.data


@pytest.mark.parametrize("we_dial", [True, False], ids=["we dial", "it dials"])
@pytest.mark.parametrize("control", ["ledbat", "model"])
async def test_what_we_seed_arrives_at_libtorrent(
    torrents: Callable[[int], Torrent], tmp_path: Path, we_dial: bool, control: str
) -> None:
    torrent = torrents(SIZE)
    async with asyncio.timeout(SECONDS), ours(control=control) as (here, came):
        theirs = Theirs(torrent, tmp_path, seeds=False, host="127.0.0.1")
        streams = await connected(here, came, theirs, we_dial=we_dial)
        seeding = asyncio.create_task(seed(torrent, streams))
        assert await theirs.whole()
        await seeding


@pytest.mark.parametrize("we_seed", [True, False], ids=["to libtorrent", "from libtorrent"])
async def test_with_two_percent_of_the_packets_lost_the_file_is_whole(
    torrents: Callable[[int], Torrent], tmp_path: Path, we_seed: bool
) -> None:
    torrent = torrents(LOSSY_SIZE)
    async with asyncio.timeout(SECONDS), ours(control="model") as (here, _):
        # A packet of its own that is lost three times makes libtorrent forget the connection, and it tells nobody.
        theirs = Theirs(torrent, tmp_path, seeds=not we_seed, host="127.0.0.1", utp_num_resends=12)
        async with lossy(await theirs.address(), 0.02) as (address, relay):
            streams = await dialled(here, address)
            work: Coroutine[Any, Any, Any] = seed(torrent, streams) if we_seed else leech(torrent, streams)
            task = asyncio.create_task(work)
            if we_seed:
                assert await theirs.whole()
            else:
                assert await task == torrent.data
            assert relay.lost > 30
            if we_seed:
                task.cancel()  # the end of the connection may be lost, too, and is not told again
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def dialled(here: UtpSocket, address: Address) -> Streams:
    """Dial again where that has failed: libtorrent takes a Syn that comes again for another connection."""
    while True:
        try:
            return await here.open_connection(address)
        except OSError:
            continue
