"""Pieces that lie partly in files which nobody has chosen, kept whole beside the files: one file for each."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from librats.services.torrenting.below import open_below, read_at, write_at

__all__ = ["PieceParts"]

MAX_DIGITS = 9


class PieceParts:
    """Whole pieces in a folder. What is in it is checked by whoever reads it. Its methods block.

    Args:
        folder: The folder of the torrent's files.
        name: Of the folder within that one.
    """

    def __init__(self, folder: Path, name: tuple[str, ...]) -> None:
        self._folder = folder
        self._name = name
        self._there: set[int] = set()

    def __contains__(self, piece: int) -> bool:
        """Whether a piece is there."""
        return piece in self._there

    @property
    def _path(self) -> Path:
        return self._folder.joinpath(*self._name)

    def pieces(self) -> list[int]:
        """Return the numbers of the pieces that are there."""
        return sorted(self._there)

    def look(self) -> None:
        """Look for what was kept by those before: nothing is there as long as this was not called."""
        try:
            with os.scandir(self._path) as entries:
                names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except OSError:
            names = []
        self._there = {int(name) for name in names if name.isascii() and name.isdigit() and len(name) <= MAX_DIGITS}

    def write(self, piece: int, data: memoryview) -> None:
        """Keep a piece.

        Raises:
            OSError: It cannot be written.
        """
        descriptor = open_below(self._folder, (*self._name, str(piece)), writing=True)
        try:
            write_at(descriptor, data, 0)
            os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)
        self._there.add(piece)

    def read(self, piece: int, offset: int, view: memoryview) -> None:
        """Read a part of a piece into a buffer.

        Raises:
            OSError: It cannot be read, or is too short.
        """
        descriptor = open_below(self._folder, (*self._name, str(piece)), writing=False)
        try:
            read_at(descriptor, view, offset)
        finally:
            os.close(descriptor)

    def remove(self, piece: int) -> None:
        """Let a piece go."""
        self._there.discard(piece)
        with contextlib.suppress(OSError):
            (self._path / str(piece)).unlink(missing_ok=True)
        if not self._there:
            self._remove_folder()

    def clear(self) -> None:
        """Let all pieces go."""
        self.look()
        for piece in self._there:
            with contextlib.suppress(OSError):
                (self._path / str(piece)).unlink(missing_ok=True)
        self._there.clear()
        self._remove_folder()

    def _remove_folder(self) -> None:
        with contextlib.suppress(OSError):  # where something else is in it, it stays
            self._path.rmdir()
            self._path.parent.rmdir()
