"""Hashes of blocks that peers ask for: pieces read and hashed in a thread, one after the other."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from librats.bittorrent.events import HashesAsked
from librats.bittorrent.layout import Layout
from librats.bittorrent.merkle import block_hashes
from librats.errors import StoreError
from librats.services.torrenting.disk import DiskWorkers
from librats.services.torrenting.storage import TorrentFiles

if TYPE_CHECKING:
    from librats.runtime.tasks import TaskSet

__all__ = ["BlockHashing"]

logger = logging.getLogger("librats.torrent")

KEPT = 64  # pieces


class BlockHashing:
    """Hashes pieces for those who ask, one at a time, so that no more than one thread is ever busy with it.

    Args:
        layout: The torrent's.
        files: Its files.
        workers: Who reads.
        give: Called with what was asked, and the hashes of all blocks of its pieces; None where they cannot be read.
    """

    def __init__(
        self,
        layout: Layout,
        files: TorrentFiles,
        workers: DiskWorkers,
        give: Callable[[HashesAsked, bytes | None], object],
    ) -> None:
        self._layout = layout
        self._files = files
        self._workers = workers
        self._give = give
        self._asked: deque[HashesAsked] = deque()
        self._known: OrderedDict[int, bytes] = OrderedDict()

    def ask(self, event: HashesAsked, tasks: TaskSet) -> None:
        """Hash what a peer asks for, after what others have asked for."""
        self._asked.append(event)
        if len(self._asked) == 1:
            tasks.create(self._work(), name="torrent block hashes")

    async def _work(self) -> None:
        while self._asked:
            event = self._asked[0]
            found: list[bytes] | None
            try:
                found = [await self._leaves_of(piece) for piece in event.pieces]
            except StoreError as error:
                logger.info("hashes of blocks are not given: %s", error)
                found = None
            self._asked.popleft()
            self._give(event, None if found is None else b"".join(found))

    async def _leaves_of(self, piece: int) -> bytes:
        leaves = self._known.get(piece)
        if leaves is None:
            leaves = self._known[piece] = await self._workers.run(self._hash, piece)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(piece)
        return leaves

    def _hash(self, piece: int) -> bytes:
        layout = self._layout
        begin = piece * layout.piece_length
        file = layout.files[layout.file_at(begin)]
        size = min(layout.piece_length, file.offset + file.size - begin)
        return block_hashes(self._files.read(piece, 0, size))
