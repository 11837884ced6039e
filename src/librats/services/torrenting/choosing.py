"""Which files of a torrent are wanted, from before it is known which there are, and how much of them is there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from librats.bittorrent.selection import Choice, Selection, find_files
from librats.errors import UsageError

if TYPE_CHECKING:
    from librats.bittorrent.layout import Layout
    from librats.bittorrent.picker import PiecePicker

__all__ = ["Choosing", "select"]

UNKNOWN_SIZE = 1 << 40


def select(layout: Layout, choices: Iterable[Choice] | None, told: Iterable[int] | None = None) -> Selection:
    """Return the files that are wanted.

    Args:
        layout: The torrent's.
        choices: Those that the user names; None where none are named.
        told: Numbers of those that a magnet link names, which are heeded where the user names none; numbers that the
            torrent does not have are left out.

    Raises:
        UsageError: There is no such file, or none is named.
    """
    if choices is not None:
        return Selection(layout, find_files(layout, choices))
    if told is not None:
        return Selection(layout, (number for number in told if number < len(layout.files)))
    return Selection(layout)


class Choosing:
    """What is wanted of one torrent, and counted.

    Args:
        choices: The files that the user names; None where none are named.
        told: Numbers of those that the magnet link names; None where it names none.
    """

    def __init__(self, choices: Iterable[Choice] | None, told: Iterable[int] | None) -> None:
        self._choices = _listed(choices)
        self._told = None if told is None else list(told)
        self._selection: Selection | None = None
        self.bytes_done = 0
        """Bytes that are there and right, of files that are wanted."""
        self.bytes_checked = 0
        """Bytes of them that have been looked at."""

    def begin(self, layout: Layout) -> Selection:
        """Return what is wanted, now that it is known what there is.

        Raises:
            UsageError: There is no such file.
        """
        self._selection = select(layout, self._choices, self._told)
        return self._selection

    def change(self, choices: Iterable[Choice] | None, layout: Layout | None) -> Selection | None:
        """Want other files from now on; return what that is, where it is known which there are.

        Raises:
            UsageError: There is no such file.
        """
        choices = _listed(choices)
        selection = None if layout is None else select(layout, choices)
        self._choices, self._told = choices, None
        if self._selection is not None:
            self._selection = selection
        return selection

    @property
    def selection(self) -> Selection:
        """What is wanted, once it is known what there is.

        Raises:
            UsageError: That is not known yet.
        """
        if self._selection is None:
            raise UsageError("the torrent is not there yet")
        return self._selection

    @property
    def bytes_total(self) -> int:
        """Bytes of the files that are wanted; 0 while that is not known."""
        return self._selection.size if self._selection is not None else 0

    def pieces(self, picker: PiecePicker | None) -> tuple[int, int]:
        """Return how many pieces that are wanted are there, and how many there are; 0 while that is not known."""
        if self._selection is None:
            return 0, 0
        wanted = self._selection.pieces
        total = wanted.count(1)
        if picker is None or self._selection.is_all:
            return (0 if picker is None else picker.have.count(1)), total
        return (int.from_bytes(wanted) & int.from_bytes(picker.have)).bit_count(), total

    def bytes_left(self, have: bytearray | None) -> int:
        """Return how many bytes of all files are missing, wanted or not.

        So a tracker, which takes who lacks nothing for a seed, does not take one for it that lacks what it does not
        want (BEP 21).

        Args:
            have: A byte for each piece: 1 where it is there; None while what is there is checked.
        """
        selection = self._selection
        if selection is None:
            return UNKNOWN_SIZE  # of a magnet link it is not known, and surely not nothing
        return selection.everything - self.bytes_done if have is None else selection.missing(have)

    def check(self, piece: int, is_right: bool) -> None:
        """Take note that a piece was looked at."""
        size = self.selection.size_of(piece)
        self.bytes_checked += size
        self.bytes_done += size if is_right else 0

    def add(self, piece: int) -> None:
        """Take note that a piece is there now."""
        self.bytes_done += self.selection.size_of(piece)

    def count(self, have: bytearray) -> None:
        """Count anew what is there: a byte for each piece, 1 where it is."""
        size_of = self.selection.size_of
        self.bytes_done = sum(size_of(piece) for piece, is_there in enumerate(have) if is_there)


def _listed(choices: Iterable[Choice] | None) -> list[Choice] | None:
    if choices is None:
        return None
    listed: list[Choice] = [choices] if isinstance(choices, str) else list(choices)
    if not listed:
        raise UsageError("no file of the torrent is chosen")
    return listed
