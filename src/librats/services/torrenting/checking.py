"""Which pieces of a torrent are there already: by what was kept of the last run, or by reading them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice

from librats.bittorrent.metainfo import Torrent
from librats.services.torrenting.disk import DiskWorkers
from librats.services.torrenting.resume import Resume
from librats.services.torrenting.storage import TorrentFiles

__all__ = ["check_pieces"]

MAX_AT_ONCE = 16 << 20
MIN_AT_ONCE = 4


async def check_pieces(
    torrent: Torrent,
    files: TorrentFiles,
    workers: DiskWorkers,
    resume: Resume | None,
    on_checked: Callable[[int, bool], None],
) -> bytearray:
    """Return a byte for each piece: 1 where it is there and right.

    What was kept counts for the files that have not changed since; all others are read, and so is every piece that has
    bytes of a file that is not wanted, for those lie elsewhere.

    Args:
        torrent: The torrent.
        files: Its files.
        workers: Who reads.
        resume: What was kept of the last run.
        on_checked: Called with the number of each piece, and whether it is right.
    """
    layout = torrent.layout
    have = bytearray(layout.piece_count)
    sizes = await workers.run(files.sizes)
    changed = _changed_files(sizes, resume)
    to_read = []
    for piece in range(layout.piece_count):
        spans = layout.spans(piece * layout.piece_length, layout.piece_size(piece))
        numbers = [span.file for span in spans if not layout.files[span.file].is_pad]
        is_split = files.is_split(piece)
        is_there = all(sizes[number][0] > 0 or (is_split and files.is_kept(piece, number)) for number in numbers)
        if is_there and resume is not None and not is_split and not any(number in changed for number in numbers):
            have[piece] = resume.have[piece]
            on_checked(piece, bool(have[piece]))
        elif is_there:
            to_read.append(piece)
        else:
            on_checked(piece, False)

    async def read(pieces: Sequence[int]) -> None:
        for piece in pieces:
            have[piece] = is_right = await workers.run(_is_right, files, piece)
            on_checked(piece, is_right)

    # In their order, by as many as there is memory for.
    lanes = max(MIN_AT_ONCE, min(16, MAX_AT_ONCE // layout.piece_length))
    await asyncio.gather(*(read(list(islice(to_read, lane, None, lanes))) for lane in range(lanes)))
    return have


def _is_right(files: TorrentFiles, piece: int) -> bool:
    return files.may_be_there(piece) and files.check(piece)


def _changed_files(sizes: Sequence[tuple[int, int]], resume: Resume | None) -> set[int]:
    """Return the numbers of the files that are not as they were when the last run ended."""
    if resume is None or len(resume.sizes) != len(sizes) or len(resume.have) == 0:
        return set(range(len(sizes)))
    return {number for number, pair in enumerate(sizes) if pair != resume.sizes[number]}
