"""What is kept of a torrent for the next time, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from librats.bittorrent.creating import TorrentBuilder
from librats.bittorrent.metainfo import read_torrent
from librats.errors import StoreError
from librats.services.torrenting.keeping import Keeping, peers_to_keep
from librats.services.torrenting.resume import MAX_PEERS, Resume
from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.swarm import Swarm

PEERS = [Address("192.0.2.1", 1), Address("2001:db8::1", 2)]
SIZES = [(5, 1)]


def a_torrent() -> Any:
    builder = TorrentBuilder("a", [((), 5)], piece_length=16384, version="v1")
    builder.update(b"hello")
    return read_torrent(builder.finish())


TORRENT = a_torrent()


class File:
    """Keeps what it is given in memory."""

    def __init__(self, before: Resume | None = None) -> None:
        self.before = before
        self.saved: list[Resume] = []
        self.is_full = self.is_removed = False

    def load(self, info_hash: bytes) -> Resume | None:
        return self.before if info_hash == TORRENT.info_hash else None

    def save(self, resume: Resume) -> None:
        if self.is_full:
            raise StoreError("a", "there is no room")
        self.saved.append(resume)

    def remove(self) -> None:
        self.is_removed = True


class Workers:
    """Does everything a moment later, and something else before."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        self.meanwhile()
        return function(*args)


class Scene:
    """What is kept, of a torrent of which something is there."""

    def __init__(self, before: Resume | None = None) -> None:
        self.file, self.workers = File(before), Workers()
        self.keeping = Keeping(cast("Any", self.file), cast("Any", self.workers), 100.0)
        self.forgotten = 0
        self.stock: Any = SimpleNamespace(files=SimpleNamespace(sizes=lambda: SIZES, forget=self.forget))
        self.picker = SimpleNamespace(have=bytearray([0]))
        swarm = SimpleNamespace(torrent=TORRENT, picker=self.picker, downloaded=70, uploaded=30)
        self.swarm = cast("Swarm", swarm)

    def forget(self) -> None:
        self.forgotten += 1

    async def save(self, now: float = 100.0) -> None:
        await self.keeping.save(self.swarm, self.stock, iter(PEERS), now)


async def test_what_is_kept_is_what_was_there_before_the_files_were_looked_at() -> None:
    scene = Scene()
    scene.workers.meanwhile = lambda: scene.picker.have.__setitem__(0, 1)  # its file may be of that size only later
    await scene.save()
    [kept] = scene.file.saved
    assert kept == Resume(
        torrent=TORRENT, have=bytearray([0]), sizes=SIZES, downloaded=70, uploaded=30, peers=tuple(PEERS)
    )


async def test_it_is_kept_half_a_minute_after_the_last_time() -> None:
    scene = Scene()
    assert not scene.keeping.is_due(130.0)
    assert scene.keeping.is_due(130.1)
    await scene.save(200.0)
    assert not scene.keeping.is_due(230.0)
    assert scene.keeping.is_due(230.1)


async def test_traffic_is_that_since_it_was_read() -> None:
    before = Resume(torrent=TORRENT, have=bytearray([1]), sizes=SIZES, downloaded=50, uploaded=20)
    scene = Scene(before)
    assert scene.keeping.traffic(scene.swarm) == (70, 30)
    assert await scene.keeping.load(bytes(20)) is None
    assert scene.keeping.traffic(scene.swarm) == (70, 30)
    assert await scene.keeping.load(TORRENT.info_hash) is before
    assert scene.keeping.traffic(scene.swarm) == (20, 10)


async def test_what_cannot_be_kept_is_told_and_kept_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.file.is_full = True
    await scene.save()
    assert "what is there of a is not kept: a: there is no room" in caplog.text
    scene.file.is_full = False
    await scene.save()
    assert len(scene.file.saved) == 1


async def test_what_is_removed_is_kept_no_more() -> None:
    scene = Scene()
    await scene.keeping.remove(scene.stock)
    await scene.save()
    assert (scene.file.is_removed, scene.file.saved, scene.forgotten) == (True, [], 1)


async def test_nothing_is_kept_before_the_torrent_is_known() -> None:
    scene = Scene()
    scene.stock = None
    await scene.save()
    await scene.keeping.remove(None)
    assert (scene.file.saved, scene.file.is_removed, scene.forgotten) == ([], True, 0)


@pytest.mark.parametrize("is_private", [False, True])
def test_a_hundred_peers_are_kept_of_whom_it_is_known_where_they_listen(is_private: bool) -> None:
    def link(number: int, *, listens: bool) -> Any:
        remote = SimpleNamespace(port=6881 if listens else 0)
        address = Address(f"10.0.{number // 256}.{number % 256}", 50_000)
        return SimpleNamespace(address=address, is_outgoing=False, is_utp=False, remote=remote)

    links = {number: link(number, listens=number > 4) for number in range(2 * MAX_PEERS)}
    swarm = cast("Swarm", SimpleNamespace(is_private=is_private, links=links))
    kept = peers_to_keep(swarm)
    assert kept == ([] if is_private else [Address(f"10.0.0.{number}", 6881) for number in range(5, 105)])
