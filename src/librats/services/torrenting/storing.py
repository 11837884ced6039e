"""Pieces that have come, checked and written in threads: as many in one go as wait, so that small ones cost little."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from librats.services.torrenting.disk import THREADS, DiskWorkers

if TYPE_CHECKING:
    import asyncio

    from librats.bittorrent.picker import StartedPiece
    from librats.services.torrenting.storage import TorrentFiles

__all__ = ["PieceStoring", "Stored"]

MAX_AT_ONCE = 4 << 20

Stored = tuple["StartedPiece", bool | Exception]
"""A piece, and whether it was right; an error where it could not be written."""


class PieceStoring:
    """Checks and writes the pieces of one torrent.

    Args:
        files: Where they belong.
        workers: Who does it.
        then: Called with what came of some of them.
    """

    def __init__(self, files: TorrentFiles, workers: DiskWorkers, then: Callable[[Sequence[Stored]], object]) -> None:
        self._files = files
        self._workers = workers
        self._then = then
        self._waiting: deque[StartedPiece] = deque()
        self._at_work = 0

    def add(self, started: StartedPiece) -> None:
        """Have a piece checked, and written where it is right."""
        self._waiting.append(started)
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._at_work < THREADS:
            some = [self._waiting.popleft()]
            size = some[0].size
            while self._waiting and size + self._waiting[0].size <= MAX_AT_ONCE:
                size += self._waiting[0].size
                some.append(self._waiting.popleft())
            self._at_work += 1
            self._workers.run(self._store, some).add_done_callback(self._end)

    def _store(self, some: Sequence[StartedPiece]) -> list[Stored]:
        """Do it, in a thread. What cannot be written is no reason not to try the others."""
        done: list[Stored] = []
        for started in some:
            try:
                done.append((started, self._files.check_and_write(started.piece, started.buffer)))
            except Exception as error:
                done.append((started, error))
        return done

    def _end(self, done: asyncio.Future[list[Stored]]) -> None:
        self._at_work -= 1
        if done.cancelled():
            return
        self._go_on()
        self._then(done.result())
