"""What is there of one torrent, kept for the next time: now and then while it comes, and at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from librats.bittorrent.peer_telling import listens_at
from librats.errors import StoreError
from librats.services.torrenting.disk import DiskWorkers
from librats.services.torrenting.resume import MAX_PEERS, Resume, ResumeFile

if TYPE_CHECKING:
    from librats.bittorrent.swarm import Swarm
    from librats.services.torrenting.stock import Stock
    from librats.types import Address

__all__ = ["Keeping", "peers_to_keep"]

logger = logging.getLogger("librats.torrent")

INTERVAL = 30.0


class Keeping:
    """Keeps what is there of one torrent.

    Args:
        file: Where; None for nowhere.
        workers: Who reads and writes it.
        now: The time.
    """

    def __init__(self, file: ResumeFile | None, workers: DiskWorkers, now: float) -> None:
        self._file = file
        self._workers = workers
        self._saved = now
        self.before: Resume | None = None
        """What was kept the last time; None for nothing."""

    async def load(self, info_hash: bytes) -> Resume | None:
        """Read what was kept of a torrent the last time; None for nothing."""
        if self._file is not None:
            self.before = await self._workers.run(self._file.load, info_hash)
        return self.before

    def traffic(self, swarm: Swarm) -> tuple[int, int]:
        """Return how many bytes were had and given since it was read."""
        had, given = (self.before.downloaded, self.before.uploaded) if self.before is not None else (0, 0)
        return swarm.downloaded - had, swarm.uploaded - given

    def is_due(self, now: float) -> bool:
        """Whether it is time to keep what has come since the last time."""
        return now - self._saved > INTERVAL

    async def save(self, swarm: Swarm, stock: Stock | None, peers: Iterable[Address], now: float) -> None:
        """Keep what is there; where that fails, it is logged.

        Args:
            swarm: What is known.
            stock: Its files; None where they are not known yet.
            peers: Whom to dial the next time.
            now: The time.
        """
        self._saved = now
        torrent, picker = swarm.torrent, swarm.picker
        if self._file is None or torrent is None or picker is None or stock is None:
            return
        have = bytearray(picker.have)
        try:
            resume = Resume(
                torrent=torrent,
                have=have,
                sizes=await self._workers.run(stock.files.sizes),
                downloaded=swarm.downloaded,
                uploaded=swarm.uploaded,
                peers=tuple(peers),
            )
            await self._workers.run(self._file.save, resume)
        except StoreError as error:
            logger.warning("what is there of %s is not kept: %s", torrent.name, error)

    async def remove(self, stock: Stock | None) -> None:
        """Forget it, and keep nothing more; pieces that were kept as a whole go, too."""
        if stock is not None:
            await self._workers.run(stock.files.forget)
        if self._file is not None:
            file, self._file = self._file, None
            await self._workers.run(file.remove)


def peers_to_keep(swarm: Swarm) -> list[Address]:
    """Return where those listen that are connected; nobody of a private torrent, whose tracker alone tells of peers."""
    if swarm.is_private:
        return []
    found = (listens_at(link) for link in swarm.links.values())
    return list(islice((address for address in found if address is not None), MAX_PEERS))
