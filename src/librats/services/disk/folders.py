"""Folders that are held open, so that nothing below them can be swapped for a link while it is worked on.

Where the system opens files relative to a folder (``dir_fd``), that is done; where it does not, which is Windows, each
folder is pinned so that nobody can rename or remove it meanwhile.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Protocol

__all__ = ["Folder", "open_folder", "remove_tree"]


class Folder(Protocol):
    """A folder that is open. Every name is one part, and no symbolic link is ever followed. All of it blocks."""

    def enter(self, name: str) -> Folder:
        """Open a folder in it.

        Raises:
            OSError: There is none, or it is a link.
        """

    def make(self, name: str, mode: int = 0o777) -> None:
        """Make a folder in it.

        Raises:
            FileExistsError: There is something of that name.
            OSError: It cannot be made.
        """

    def open_file(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file in it, and return the descriptor; see :func:`os.open`. It never waits, as for a FIFO's writer.

        Raises:
            OSError: It cannot be opened, or is a link.
        """

    def status(self, name: str) -> os.stat_result | None:
        """Return what something in it is, without following it; None where there is nothing.

        Raises:
            OSError: It cannot be told.
        """

    def names(self) -> list[str]:
        """Return what is in it, in no order."""

    def move(self, name: str, to: Folder, new_name: str, *, replace: bool) -> None:
        """Give something in it another place, at once.

        Args:
            name: Its name here.
            to: The other folder, on the same file system.
            new_name: Its name there.
            replace: Whether a file that is there gives way.

        Raises:
            FileExistsError: There is something of that name, and nothing may be replaced.
            OSError: It cannot be moved.
        """

    def remove_file(self, name: str) -> None:
        """Remove a file."""

    def remove_folder(self, name: str) -> None:
        """Remove a folder that nothing is in."""

    def set_time(self, descriptor: int, name: str, modified: int) -> None:
        """Set when a file in it was changed last, in nanoseconds since 1970."""

    def lock(self) -> bool:
        """Keep others from locking it until it is closed; False where somebody else has."""

    def free(self) -> int:
        """Return how many bytes this user may still write there."""

    def sync(self) -> None:
        """Bring its names to the disk."""

    def sync_all(self) -> bool:
        """Bring all of its file system to the disk; False where that cannot be done at once."""

    def close(self) -> None:
        """Close it. Idempotent."""


if sys.platform == "win32":
    from librats.services.disk.folder_paths import PathFolder as _Opened
else:
    from librats.services.disk.folder_handles import HandleFolder as _Opened


def open_folder(path: Path) -> Folder:
    """Open a folder that the user named. Links in that path are the user's own, and are followed.

    Raises:
        OSError: It cannot be opened, or is none.
    """
    return _Opened.open(path)


def remove_tree(folder: Folder, name: str) -> None:
    """Remove what is of that name in a folder, with all that is below it; a link is removed, not followed.

    Raises:
        OSError: Something of it cannot be removed.
    """
    status = folder.status(name)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        folder.remove_file(name)
        return
    below = folder.enter(name)
    try:
        for inner in below.names():
            remove_tree(below, inner)
    finally:
        below.close()
    folder.remove_folder(name)
