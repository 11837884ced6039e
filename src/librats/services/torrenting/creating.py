"""A torrent made of a file or a folder on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from librats.bittorrent.creating import TorrentBuilder
from librats.bittorrent.names import KEPT_FOLDER
from librats.errors import StoreError, UsageError
from librats.transfer.names import Parts

__all__ = ["create_torrent"]

READ_SIZE: Final = 1 << 20


def create_torrent(
    path: str | Path,
    *,
    version: str = "hybrid",
    piece_length: int | None = None,
    trackers: Sequence[Sequence[str]] = (),
    web_seeds: Sequence[str] = (),
    private: bool = False,
    comment: str = "",
    created: int | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> bytes:
    """Make a torrent of a file or a folder. It blocks while it reads all of it.

    Symbolic links, and what is neither a file nor a folder, are left out.

    Args:
        path: The file or folder.
        version: ``"v1"``, ``"v2"`` or ``"hybrid"``.
        piece_length: Bytes of a piece, a power of two from 16 KiB on; chosen by size where it is None.
        trackers: URLs of trackers, by tier: ``[["udp://a.example:80"], ["https://b.example/announce"]]``.
        web_seeds: URLs that serve the files.
        private: Whether peers may be had of the trackers alone.
        comment: What to say to people.
        created: Now: seconds since 1970; None to say nothing.
        on_progress: Called with bytes read so far, and all bytes.

    Returns:
        The torrent file.

    Raises:
        StoreError: Something cannot be read, or has changed meanwhile.
        TransferError: A name is one that not every system takes.
        UsageError: There is no byte, or an argument cannot be.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from librats.torrents import create_torrent, read_torrent
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "hello.txt")
        ...     _ = path.write_text("hello")
        ...     read_torrent(create_torrent(path)).name
        'hello.txt'
    """
    root = Path(path).absolute()
    files = _files_of(root)
    if not files:
        raise UsageError(f"{path} has no file in it")
    builder = TorrentBuilder(
        root.name,
        [(parts, size) for parts, size in files],
        version=version,
        piece_length=piece_length,
        trackers=trackers,
        web_seeds=web_seeds,
        private=private,
        comment=comment,
        created_by="librats",
        created=created,
    )
    total = sum(size for _, size in files)
    done = 0
    buffer = memoryview(bytearray(READ_SIZE))
    for parts, size in builder.files:
        left = size
        file_path = root.joinpath(*parts)
        try:
            with file_path.open("rb", buffering=0) as file:
                while left and (got := file.readinto(buffer[: min(READ_SIZE, left)])):
                    builder.update(buffer[:got])
                    left -= got
                    done += got
                    if on_progress is not None:
                        on_progress(done, total)
        except OSError as error:
            raise StoreError(file_path, error.strerror or str(error)) from error
        if left:
            raise StoreError(file_path, "it has become shorter meanwhile")
    return builder.finish()


def _files_of(root: Path) -> list[tuple[Parts, int]]:
    try:
        if root.is_file():
            return [((), root.stat().st_size)]
        return _walk(root)
    except OSError as error:
        raise StoreError(root, error.strerror or str(error)) from error


def _walk(root: Path) -> list[tuple[Parts, int]]:
    files: list[tuple[Parts, int]] = []
    folders: list[tuple[Path, Parts]] = [(root, ())]
    while folders:
        folder, parts = folders.pop()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name == KEPT_FOLDER and not parts:
                    continue  # what is kept to resume downloads
                below = (*parts, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append((Path(entry.path), below))
                elif entry.is_file(follow_symlinks=False):
                    files.append((below, entry.stat(follow_symlinks=False).st_size))
    return sorted(files)
