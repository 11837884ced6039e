"""Pieces of a torrent in threads: those that wait go together, within bounds, and one that fails holds up none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from librats.bittorrent.picker import StartedPiece
from librats.errors import StoreError
from librats.services.torrenting.disk import THREADS, DiskWorkers
from librats.services.torrenting.storage import TorrentFiles
from librats.services.torrenting.storing import MAX_AT_ONCE, PieceStoring, Stored

SIZE = 1000


def piece(number: int, size: int = SIZE) -> StartedPiece:
    return StartedPiece(number, size, size, even=True, buffer=bytearray(size))


class Files:
    """Says that pieces of an even number are right, and that a disk is full at the thirteenth."""

    def __init__(self) -> None:
        self.written: list[int] = []

    def check_and_write(self, number: int, _data: bytearray) -> bool:
        if number == 13:
            raise StoreError("x", "the disk is full")
        self.written.append(number)
        return number % 2 == 0


class Workers:
    """Threads that do nothing until they are told to."""

    def __init__(self) -> None:
        self.asked: list[
            tuple[Callable[[Sequence[StartedPiece]], Any], Sequence[StartedPiece], asyncio.Future[Any]]
        ] = []

    def run(self, function: Callable[..., Any], some: Sequence[StartedPiece]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.asked.append((function, some, future))
        return future

    async def go_on(self) -> list[int]:
        """Do what was asked for first; return the pieces of it."""
        function, some, future = self.asked.pop(0)
        future.set_result(function(some))
        await asyncio.sleep(0)
        return [started.piece for started in some]


class Scene:
    def __init__(self) -> None:
        self.files, self.workers = Files(), Workers()
        self.told: list[Stored] = []
        self.storing = PieceStoring(
            cast("TorrentFiles", self.files), cast("DiskWorkers", self.workers), self.told.extend
        )

    def told_numbers(self) -> list[tuple[int, bool | str]]:
        return [(started.piece, str(what) if isinstance(what, Exception) else what) for started, what in self.told]


async def test_pieces_that_come_while_the_threads_are_busy_go_in_one_go() -> None:
    scene = Scene()
    for number in range(THREADS + 5):
        scene.storing.add(piece(number))
    assert len(scene.workers.asked) == THREADS
    assert await scene.workers.go_on() == [0]
    for number in range(1, THREADS):
        assert await scene.workers.go_on() == [number]
    assert await scene.workers.go_on() == [*range(THREADS, THREADS + 5)]
    assert not scene.workers.asked
    assert scene.told_numbers() == [(number, number % 2 == 0) for number in range(THREADS + 5)]


async def test_no_more_go_at_once_than_are_soon_done() -> None:
    scene = Scene()
    for number in range(THREADS + 3):
        scene.storing.add(piece(number, MAX_AT_ONCE // 2))
    for number in range(THREADS):
        assert await scene.workers.go_on() == [number]
    assert await scene.workers.go_on() == [THREADS, THREADS + 1]
    assert await scene.workers.go_on() == [THREADS + 2]


async def test_a_piece_longer_than_the_bound_goes_alone() -> None:
    scene = Scene()
    for number in range(THREADS + 2):
        scene.storing.add(piece(number, MAX_AT_ONCE + 1))
    for number in range(THREADS + 2):
        assert await scene.workers.go_on() == [number]


async def test_a_piece_that_cannot_be_written_holds_up_no_other() -> None:
    scene = Scene()
    for number in [*range(0, 2 * THREADS, 2), 12, 13, 14]:
        scene.storing.add(piece(number))
    while scene.workers.asked:
        await scene.workers.go_on()
    assert scene.files.written == [*range(0, 2 * THREADS, 2), 12, 14]
    assert [what for number, what in scene.told_numbers() if number in {12, 14}] == [True, True]
    (error,) = [what for number, what in scene.told_numbers() if number == 13]
    assert "the disk is full" in str(error)


@pytest.mark.parametrize("tells", [False, True])
async def test_what_was_given_up_is_not_told(tells: bool) -> None:
    scene = Scene()
    scene.storing.add(piece(2))
    _, _, future = scene.workers.asked[0]
    if tells:
        await scene.workers.go_on()
    else:
        future.cancel()
        await asyncio.sleep(0)
    assert len(scene.told) == tells
