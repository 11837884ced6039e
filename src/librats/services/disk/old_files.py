"""Older versions of the files of an offer: under their names where they give way, and in what other tries have left."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator

from librats.services.disk.existing import path_of
from librats.services.disk.folder_cache import FolderCache
from librats.services.disk.folders import Folder
from librats.services.disk.part import CONTENT, Chunk
from librats.services.disk.read_at import read_at
from librats.transfer.file_table import FileTable
from librats.transfer.layout import Layout
from librats.transfer.manifest import Manifest
from librats.transfer.names import is_unfinished
from librats.transfer.reusing import LeafIndex
from librats.transfer.tree import HASH_SIZE, LEAF_SIZE, leaf_hashes

__all__ = ["OldFiles", "found_chunks"]

MAX_TRIES = 4
"""Other tries that are looked into."""

BUFFER = 1 << 20


class OldFiles:
    """Reads older versions of files. Nothing outside the folder is, and no link is followed. All of it blocks.

    What cannot be read is not there: it was of use at best.

    Args:
        folder: Where the offer is put. It stays the caller's.
        manifest: The offer.
        own: Name of the hidden folder of this transfer.
        missing: Numbers of the files that are not there.
        overwrite: Whether files with other content are replaced.
    """

    def __init__(
        self, folder: Folder, manifest: Manifest, own: str, missing: Iterable[int], *, overwrite: bool
    ) -> None:
        self._manifest = manifest
        self._held: list[Folder] = []
        self._places: list[FolderCache] = []
        self._versions: dict[int, list[FolderCache]] = {}
        numbers = self._many_leaves(missing)
        if not numbers:
            return
        with contextlib.suppress(OSError):
            if overwrite and folder.status(manifest.name) is not None:
                self._places.append(FolderCache(folder))
            self._enter_tries(folder, own)
        for number in numbers if self._places else ():
            found = [place for place in self._places if self._has(place, number)]
            if found:
                self._versions[number] = found

    @property
    def numbers(self) -> list[int]:
        """Numbers of the files of which there is something older."""
        return list(self._versions)

    def _many_leaves(self, numbers: Iterable[int]) -> list[int]:
        """Return the files of several leaves: of one, its root alone tells whether it is the same."""
        size = FileTable.of(self._manifest.files).size
        return [number for number in numbers if size(number) > LEAF_SIZE]

    def _enter_tries(self, folder: Folder, own: str) -> None:
        names = {name for name in folder.names() if is_unfinished(name)}
        for name in sorted(names - {own})[:MAX_TRIES]:
            with contextlib.suppress(OSError):
                self._held.append(folder.enter(name))
                self._held.append(self._held[-1].enter(CONTENT))
                self._places.append(FolderCache(self._held[-1]))

    def _path(self, number: int) -> tuple[str, ...]:
        return path_of(self._manifest, self._manifest.files[number])

    def _has(self, place: FolderCache, number: int) -> bool:
        path = self._path(number)
        with contextlib.suppress(OSError):
            status = place.at(path[:-1]).status(path[-1])
            return status is not None and stat.S_ISREG(status.st_mode) and status.st_size >= LEAF_SIZE
        return False

    def read(self, number: int, offset: int, size: int) -> Iterator[bytes]:
        """Yield what each older version has in a place, in buffers that begin with a leaf.

        Args:
            number: Number of the file.
            offset: Where the place begins, in bytes; a leaf does there.
            size: Bytes of the place.
        """
        path = self._path(number)
        for place in self._versions.get(number, ()):
            with contextlib.suppress(OSError):
                descriptor = place.at(path[:-1]).open_file(path[-1], os.O_RDONLY)
                try:
                    if stat.S_ISREG(os.fstat(descriptor).st_mode):
                        yield from _buffers(descriptor, offset, size)
                finally:
                    os.close(descriptor)

    def close(self) -> None:
        """Close every folder that it has opened. Idempotent."""
        self._versions.clear()
        while self._places:
            self._places.pop().close()
        while self._held:
            self._held.pop().close()


def _buffers(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    end = offset + size
    while offset < end:
        data = read_at(descriptor, min(BUFFER, end - offset), offset)
        if not data:
            return
        yield data
        offset += len(data)


def found_chunks(layout: Layout, data: bytes, index: LeafIndex) -> list[Chunk]:
    """Return what of some data is looked for, as chunks to be written.

    Args:
        layout: Of the manifest.
        data: Whole leaves, but for the last one.
        index: What is looked for; what is returned counts as found.
    """
    view, hashes = memoryview(data), leaf_hashes([data])
    runs: list[tuple[int, int, int, int]] = []  # file, first leaf, first in the data, how many
    for at in range(len(hashes) // HASH_SIZE):
        for leaf in index.take(hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]):
            file, number = layout.place_of(leaf)
            if runs and runs[-1] == (file, number - runs[-1][3], at - runs[-1][3], runs[-1][3]):
                runs[-1] = (*runs[-1][:3], runs[-1][3] + 1)
            else:
                runs.append((file, number, at, 1))
    return [
        Chunk(
            file,
            number,
            [view[at * LEAF_SIZE : (at + count) * LEAF_SIZE]],
            hashes[at * HASH_SIZE : (at + count) * HASH_SIZE],
        )
        for file, number, at, count in runs
    ]
