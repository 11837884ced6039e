"""Folders below one that are kept open for a while, as files of a tree come in the order of their paths."""

from __future__ import annotations

from librats.services.disk.folders import Folder

__all__ = ["FolderCache"]

MAX_OPEN = 64
Parts = tuple[str, ...]


class FolderCache:
    """Opens folders below one, and keeps some open. All of it blocks.

    Args:
        root: The folder above; it stays the caller's.
        make: Whether to make folders that are not there.
    """

    def __init__(self, root: Folder, *, make: bool = False) -> None:
        self._root = root
        self._make = make
        self._open: dict[Parts, Folder] = {}

    def at(self, parts: Parts) -> Folder:
        """Return a folder by its path below the root; it stays open until the next call at least.

        Raises:
            OSError: It, or one above it, cannot be opened, or is a link.
        """
        known = self._open.get(parts)
        if known is not None:
            return known
        if len(self._open) + len(parts) > MAX_OPEN:
            self.close()
        folder = self._root
        for depth in range(1, len(parts) + 1):
            folder = self._open.get(parts[:depth]) or self._enter(folder, parts[:depth])
        return folder

    def _enter(self, above: Folder, parts: Parts) -> Folder:
        try:
            folder = above.enter(parts[-1])
        except FileNotFoundError:
            if not self._make:
                raise
            above.make(parts[-1])
            folder = above.enter(parts[-1])
        self._open[parts] = folder
        return folder

    def close(self) -> None:
        """Close those that are open; more may be opened after that."""
        while self._open:
            self._open.popitem()[1].close()
