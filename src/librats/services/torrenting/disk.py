"""Work with files in threads: two for all torrents of a client, and what was read lately."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

from librats.bittorrent.picker import Block
from librats.runtime.offload import run_in_thread

if TYPE_CHECKING:
    from librats.services.torrenting.storage import TorrentFiles

__all__ = ["DiskWorkers", "PieceCache"]

THREADS = 2
WINDOW: Final = 512 * 1024
CACHE_SIZE = 32 << 20

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Window = tuple[int, int]


class DiskWorkers:
    """Threads that read, check and write. They are made when there is something to do."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def run(self, function: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Have a function called in a thread, after what was asked for before.

        A loop that carries an attribute ``librats_inline_calls``, a simulated one, has it called at once.
        """
        loop = asyncio.get_running_loop()
        if getattr(loop, "librats_inline_calls", False):
            done: asyncio.Future[T] = loop.create_future()
            try:
                done.set_result(function(*args))
            except Exception as error:
                done.set_exception(error)
            return done
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "librats torrent")
        return loop.run_in_executor(self._pool, function, *args)

    async def close(self) -> None:
        """Wait until what was asked for is done, and let the threads end."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await run_in_thread(pool.shutdown)


class PieceCache:
    """Parts of pieces that were read lately, so that blocks side by side are read at once.

    Args:
        files: What to read.
        workers: Who reads.
        piece_length: Bytes of a piece.
    """

    def __init__(self, files: TorrentFiles, workers: DiskWorkers, piece_length: int) -> None:
        self._files = files
        self._workers = workers
        self._window = min(WINDOW, piece_length)
        self._read: OrderedDict[Window, memoryview] = OrderedDict()
        self._size = 0
        self._reading: dict[Window, list[Callable[[Exception | None], None]]] = {}

    def get(self, block: Block) -> memoryview | None:
        """Return the bytes of a block; None where they are not read yet."""
        piece, begin, length = block
        first = begin // self._window
        data = self._read.get((piece, first))
        inside = begin - first * self._window
        if data is None:
            return None
        self._read.move_to_end((piece, first))
        if inside + length <= len(data):
            return data[inside : inside + length]
        # It ends in the next part, as no program asks for it.
        rest = self._read.get((piece, first + 1))
        if rest is None:
            return None
        return memoryview(bytes(data[inside:]) + bytes(rest[: inside + length - len(data)]))

    def fetch(self, block: Block, piece_size: int, then: Callable[[Exception | None], None] | None = None) -> None:
        """Have what a block lies in read, unless it is there or being read.

        Args:
            block: The block.
            piece_size: Bytes of its piece.
            then: Called when it was read; with an error where it could not be.
        """
        piece, begin, length = block
        for number in range(begin // self._window, (begin + length - 1) // self._window + 1):
            key = (piece, number)
            if key in self._read:
                continue
            waiting = self._reading.get(key)
            if waiting is None:
                waiting = self._reading[key] = []
                offset = number * self._window
                size = min(self._window, piece_size - offset)
                future = self._workers.run(self._files.read, piece, offset, size)
                future.add_done_callback(lambda done, key=key: self._end(key, done))  # type: ignore[misc]
            if then is not None:
                waiting.append(then)
                then = None

    def _end(self, key: Window, done: asyncio.Future[bytes | bytearray]) -> None:
        waiting = self._reading.pop(key, [])
        error = done.exception() if not done.cancelled() else None
        if error is None and not done.cancelled():
            data = memoryview(done.result()).toreadonly()
            self._read[key] = data
            self._size += len(data)
            while self._size > CACHE_SIZE and len(self._read) > 1:
                _, old = self._read.popitem(last=False)
                self._size -= len(old)
        for then in waiting:
            then(error if isinstance(error, Exception) else None)
