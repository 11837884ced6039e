"""What of an offer is in its place already, from an earlier transfer or otherwise."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from librats.errors import TransferError
from librats.services.disk.errors import as_transfer_error
from librats.services.disk.folder_cache import FolderCache
from librats.services.disk.folders import Folder
from librats.services.disk.hashing import hash_descriptor
from librats.transfer.manifest import Manifest, OfferedFile

__all__ = ["find_in_place", "path_of"]


def path_of(manifest: Manifest, file: OfferedFile) -> tuple[str, ...]:
    """Return the path of a file below the folder that an offer is put into."""
    return (manifest.name, *file.path) if manifest.is_folder else file.path


def find_in_place(
    folder: Folder, manifest: Manifest, *, overwrite: bool, on_read: Callable[[int], object] | None = None
) -> set[int]:
    """Return the numbers of the files that are in their place, with the same content. It blocks.

    Args:
        folder: Where the offer is to be put.
        manifest: The offer.
        overwrite: Whether files with other content may be replaced.
        on_read: Called with how many bytes were read.

    Raises:
        TransferError: Something is in the way that may not be replaced (``"exists"``), or cannot be read.
    """
    with as_transfer_error("the folder cannot be read"):
        status = folder.status(manifest.name)
    if status is None:
        return set()
    if manifest.is_folder and not stat.S_ISDIR(status.st_mode):
        raise TransferError("exists", "something else has the name of the folder")
    cache = FolderCache(folder)
    try:
        with as_transfer_error("what is there already cannot be read"):
            found = {
                number
                for number, file in enumerate(manifest.files)
                if _is_in_place(cache, path_of(manifest, file), file, overwrite=overwrite, on_read=on_read)
            }
            for path in manifest.empty_folders:
                _check_folder(cache, (manifest.name, *path))
    finally:
        cache.close()
    return found


def _above(cache: FolderCache, path: tuple[str, ...]) -> Folder | None:
    try:
        return cache.at(path[:-1])
    except FileNotFoundError:
        return None


def _is_in_place(
    cache: FolderCache,
    path: tuple[str, ...],
    file: OfferedFile,
    *,
    overwrite: bool,
    on_read: Callable[[int], object] | None,
) -> bool:
    above = _above(cache, path)
    status = None if above is None else above.status(path[-1])
    if above is None or status is None:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise TransferError("exists", "what is no file has the name of one")
    if status.st_size == file.size and _root(above, path[-1], file.size, on_read) == file.root:
        return True
    if not overwrite:
        raise TransferError("exists", "a file of that name, with other content, is there already")
    return False


def _root(folder: Folder, name: str, size: int, on_read: Callable[[int], object] | None) -> bytes:
    descriptor = folder.open_file(name, os.O_RDONLY)
    try:
        return hash_descriptor(descriptor, size, on_read).root
    finally:
        os.close(descriptor)


def _check_folder(cache: FolderCache, path: tuple[str, ...]) -> None:
    above = _above(cache, path)
    status = None if above is None else above.status(path[-1])
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise TransferError("exists", "something else has the name of a folder")
