"""What there is of one torrent on the disk, and all that works with it: checks, writes, reads and hashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from librats.errors import StoreError
from librats.services.torrenting.checking import check_pieces
from librats.services.torrenting.disk import DiskWorkers, PieceCache
from librats.services.torrenting.giving import Giving
from librats.services.torrenting.hashing import BlockHashing
from librats.services.torrenting.storage import TorrentFiles
from librats.services.torrenting.storing import PieceStoring, Stored

if TYPE_CHECKING:
    from librats.bittorrent.events import HashesAsked
    from librats.bittorrent.metainfo import Torrent
    from librats.bittorrent.selection import Selection
    from librats.services.torrenting.resume import Resume
    from librats.services.torrenting.throttling import Limits

__all__ = ["Stock"]


class Stock:
    """The files of a torrent, and who works with them.

    Args:
        torrent: The torrent.
        folder: Where it is, or is to be.
        selection: The files that are wanted.
        workers: Threads.
        on_failure: Called with the error where something cannot be read for a peer.
        on_hashes: Called with what a peer has asked for, and the hashes; None where they cannot be read.
        on_stored: Called with what came of pieces that were to be stored.
        limits: Of how much goes.
    """

    def __init__(
        self,
        torrent: Torrent,
        folder: Path,
        selection: Selection,
        workers: DiskWorkers,
        *,
        on_failure: Callable[[Exception], object],
        on_hashes: Callable[[HashesAsked, bytes | None], object],
        on_stored: Callable[[Sequence[Stored]], object],
        limits: Limits,
    ) -> None:
        self._torrent = torrent
        self._workers = workers
        self.files = TorrentFiles(torrent, folder, selection)
        """The files."""
        cache = PieceCache(self.files, workers, torrent.layout.piece_length)
        self.giving = Giving(torrent.layout, cache, on_failure, limits)
        """Who gives what peers ask for."""
        self.hashing = BlockHashing(torrent.layout, self.files, workers, on_hashes)
        """Who hashes for peers."""
        self.storing = PieceStoring(self.files, workers, on_stored)
        """Who checks and writes what has come."""

    async def look(
        self, resume: Resume | None, on_checked: Callable[[int, bool], None], *, is_trusted: bool
    ) -> bytearray:
        """Return a byte for each piece: 1 where it is there and right.

        Args:
            resume: What was kept of the last run.
            on_checked: Called with the number of each piece, and whether it is right.
            is_trusted: Whether everything counts as there.

        Raises:
            StoreError: The folder cannot be made, for one.
        """
        if is_trusted:
            return bytearray(b"\1" * self._torrent.layout.piece_count)
        try:
            await self._workers.run(self.files.prepare)
        except StoreError:
            self.files.close()
            raise
        return await check_pieces(self._torrent, self.files, self._workers, resume, on_checked)
