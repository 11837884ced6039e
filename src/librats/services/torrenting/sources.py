"""Whatever a torrent is given by: itself, its bytes, its file, or a magnet link."""

from __future__ import annotations

from pathlib import Path

from librats.bittorrent.magnet import Magnet, parse_magnet
from librats.bittorrent.metainfo import MAX_TORRENT, Torrent, read_torrent
from librats.errors import StoreError
from librats.services.torrenting.disk import DiskWorkers

__all__ = ["Source", "read_source"]

Source = Torrent | Magnet | bytes | str | Path
"""A torrent, its bytes, the path of its file, or a magnet link."""


async def read_source(source: Source, workers: DiskWorkers) -> tuple[Torrent | None, Magnet]:
    """Return the torrent, where it is there, and its magnet link.

    Args:
        source: What it is given by.
        workers: Who reads files.

    Raises:
        DecodeError: It is no torrent and no magnet link.
        StoreError: The file cannot be read.
    """
    if isinstance(source, Magnet):
        return None, source
    if isinstance(source, str) and source[:7].lower() == "magnet:":
        return None, parse_magnet(source)
    if isinstance(source, str | Path):
        source = await workers.run(_read_file, Path(source))
    torrent = source if isinstance(source, Torrent) else read_torrent(source)
    return torrent, torrent.magnet()


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TORRENT + 1)
    except OSError as error:
        raise StoreError(path, error.strerror or str(error)) from error
