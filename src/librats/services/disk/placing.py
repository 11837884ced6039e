"""The end of a transfer: what came gets its name, whole, once it is on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from librats.errors import TransferError
from librats.services.disk.errors import as_transfer_error
from librats.services.disk.existing import path_of
from librats.services.disk.folder_cache import FolderCache
from librats.services.disk.folders import Folder
from librats.services.disk.hashing import hash_descriptor
from librats.services.disk.part import PartFiles
from librats.transfer.file_table import FileTable, OfferedFile
from librats.transfer.manifest import Manifest

__all__ = ["place"]

PIECE = 1 << 20


def place(
    folder: Folder,
    content: Folder,
    files: PartFiles,
    manifest: Manifest,
    *,
    copies: Mapping[int, int],
    placed: set[int],
    overwrite: bool,
) -> None:
    """Make what is missing of an offer, bring it to the disk, and move it to its place. It blocks.

    Where nothing has the name of the offer, all of it appears at once. Where files of it are there already, the others
    are added one by one, each whole.

    Args:
        folder: The folder that it is put into.
        content: The folder that it is in up to now.
        files: The files in that.
        manifest: The offer.
        copies: Files whose content another one has: their numbers, and that of the other one.
        placed: Numbers of the files that are in their place already.
        overwrite: Whether files with other content give way.

    Raises:
        TransferError: Something has the name meanwhile (``"exists"``), what was in its place is not any more
            (``"gone"``), or the disk does not do it.
    """
    with as_transfer_error("the files cannot be brought into their place"):
        _complete(folder, files, manifest, copies, placed)
        _sync(content, files, manifest, [n for n in range(len(manifest.files)) if n not in placed])
        files.close()  # Windows moves nothing that is open
        is_there = folder.status(manifest.name) is not None
        if placed and not is_there:
            raise TransferError("gone", "what was in its place already has been removed")
        if manifest.is_folder and is_there:
            _merge(folder, content, manifest, placed, overwrite=overwrite)
        elif not placed:
            content.move(manifest.name, folder, manifest.name, replace=overwrite and not manifest.is_folder)
        folder.sync()


def _complete(
    folder: Folder, files: PartFiles, manifest: Manifest, copies: Mapping[int, int], placed: set[int]
) -> None:
    """Make the files that never came: the empty ones, and those whose content another one has."""
    there = FolderCache(folder)
    try:
        table = FileTable.of(manifest.files)
        for number in range(len(table)):
            if number in placed or (table.size(number) and number not in copies):
                continue
            file = table[number]
            path = path_of(manifest, file)
            above = files.folders.at(path[:-1])
            if above.status(path[-1]) is not None:
                above.remove_file(path[-1])  # of an earlier end that did not come
            target = files.create(file)
            try:
                if file.size:
                    _copy(_opened(there, files, manifest, copies[number], placed), target, file.size)
                    if copies[number] in placed:  # where others may have changed it since it was hashed
                        _check(target, file)
                files.end(file, target)
            finally:
                os.close(target)
    finally:
        there.close()
    if manifest.is_folder:
        files.folders.at((manifest.name,))
    for path in manifest.empty_folders:
        files.folders.at((manifest.name, *path))


def _opened(there: FolderCache, files: PartFiles, manifest: Manifest, number: int, placed: set[int]) -> int:
    if number not in placed:
        return files.open(number)
    path = path_of(manifest, manifest.files[number])
    return there.at(path[:-1]).open_file(path[-1], os.O_RDONLY)


def _copy(source: int, target: int, size: int) -> None:
    with os.fdopen(source, "rb", buffering=0) as file:
        left = size
        while left and (data := file.read(min(left, PIECE))):
            left -= len(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(target, rest) :]
    if left:
        raise FileNotFoundError("a file has become shorter")


def _check(copy: int, file: OfferedFile) -> None:
    os.lseek(copy, 0, os.SEEK_SET)
    if hash_descriptor(copy, file.size).root != file.root:
        raise TransferError("changed", "what was in its place already was changed meanwhile")


def _sync(content: Folder, files: PartFiles, manifest: Manifest, numbers: list[int]) -> None:
    if files.sync_files(numbers):
        return
    for path in sorted(_folders_of(manifest, numbers)):
        files.folders.at(path).sync()
    content.sync()


def _folders_of(manifest: Manifest, numbers: list[int]) -> set[tuple[str, ...]]:
    ends = [path_of(manifest, manifest.files[number])[:-1] for number in numbers]
    ends += [(manifest.name, *path) for path in manifest.empty_folders]
    return {path[:depth] for path in ends for depth in range(1, len(path) + 1)}


def _merge(folder: Folder, content: Folder, manifest: Manifest, placed: set[int], *, overwrite: bool) -> None:
    here, there = FolderCache(content), FolderCache(folder, make=True)
    try:
        for path in _missing(manifest, placed):
            source, target = here.at(path[:-1]), there.at(path[:-1])
            source.move(path[-1], target, path[-1], replace=overwrite)
        for empty in manifest.empty_folders:
            there.at((manifest.name, *empty))
    finally:
        here.close()
        there.close()


def _missing(manifest: Manifest, placed: set[int]) -> Iterator[tuple[str, ...]]:
    return (path_of(manifest, file) for number, file in enumerate(manifest.files) if number not in placed)
