"""Where the bytes of a torrent lie: its files one behind the other, cut into pieces."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from librats.bittorrent.merkle import BLOCK_SIZE, next_power
from librats.transfer.names import Parts

__all__ = ["FileSpan", "Layout", "TorrentFile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TorrentFile:
    """A file of a torrent."""

    path: Parts
    """Where it goes, below the folder of the torrent: safe on every system (:mod:`librats.bittorrent.names`)."""

    size: int
    """Bytes."""

    offset: int
    """Where it begins among all bytes of the torrent."""

    root: bytes = b""
    """Root of its tree of hashes, in version 2; empty where there is none."""

    is_pad: bool = False
    """Whether it is only zeros that fill a piece (BEP 47), and no file."""

    is_executable: bool = False
    """Whether it may be run (BEP 47)."""

    is_symlink: bool = False
    """Whether it is a symbolic link (BEP 47). None is ever made."""


class FileSpan(NamedTuple):
    """Bytes of a file that a range of the torrent covers."""

    file: int
    """Number of the file."""

    offset: int
    """Where they begin in the file."""

    size: int
    """How many."""


class Layout:
    """Files one behind the other, and the pieces that they are cut into.

    Args:
        files: In the torrent's order, each beginning where the one before it ends.
        piece_length: Bytes of a piece; the last one may be shorter.

    Example:
        >>> from librats.bittorrent.layout import Layout, TorrentFile
        >>> files = (
        ...     TorrentFile(path=("a",), size=20_000, offset=0),
        ...     TorrentFile(path=("b",), size=20_000, offset=20_000),
        ... )
        >>> layout = Layout(files, 16_384)
        >>> layout.piece_count, layout.piece_size(2)
        (3, 7232)
        >>> list(layout.spans(16_384, 16_384))
        [FileSpan(file=0, offset=16384, size=3616), FileSpan(file=1, offset=0, size=12768)]
    """

    def __init__(self, files: Sequence[TorrentFile], piece_length: int) -> None:
        self.files = tuple(files)
        """The files."""
        self.piece_length = piece_length
        """Bytes of a piece."""
        self.total_size = self.files[-1].offset + self.files[-1].size if self.files else 0
        """Bytes of all files together, those that only fill pieces among them."""
        self.content_total = sum(file.size for file in self.files if not file.is_pad)
        """Bytes of all files together, without those that only fill pieces."""
        self.piece_count = -(-self.total_size // piece_length)
        """How many pieces."""
        # Those that are empty hold no byte; they would only be in the way.
        self._numbers = [number for number, file in enumerate(self.files) if file.size]
        self._begins = [self.files[number].offset for number in self._numbers]

    def piece_size(self, piece: int) -> int:
        """Return how many bytes a piece has."""
        return min(self.piece_length, self.total_size - piece * self.piece_length)

    def spans(self, offset: int, size: int) -> Iterator[FileSpan]:
        """Yield the parts of files that a range covers, in their order; files that only fill pieces among them.

        Args:
            offset: Where the range begins among all bytes of the torrent.
            size: Its bytes; it ends within the torrent.
        """
        at = bisect_right(self._begins, offset) - 1
        while size > 0:
            number = self._numbers[at]
            file = self.files[number]
            inside = offset - file.offset
            taken = min(size, file.size - inside)
            yield FileSpan(number, inside, taken)
            offset += taken
            size -= taken
            at += 1

    def file_at(self, offset: int) -> int:
        """Return the number of the file that has the byte at an offset."""
        return self._numbers[bisect_right(self._begins, offset) - 1]

    def content_size(self, piece: int) -> int:
        """Return how many bytes of a piece belong to files: those that only fill it are not counted."""
        size = self.piece_size(piece)
        if self.content_total == self.total_size:
            return size
        spans = self.spans(piece * self.piece_length, size)
        return sum(span.size for span in spans if not self.files[span.file].is_pad)

    def missing_size(self, have: bytearray) -> int:
        """Return how many bytes of pieces that are missing belong to files: as :meth:`content_size` counts them.

        Args:
            have: A byte for each piece: 1 where it is there.
        """
        absent = have.count(0)
        size = absent * self.piece_length
        if have and not have[-1]:
            size += self.piece_size(self.piece_count - 1) - self.piece_length
        if not absent or self.content_total == self.total_size:
            return size
        for number in self._numbers:
            file = self.files[number]
            if file.is_pad:
                for piece in self.pieces_of(number):
                    if not have[piece]:
                        begin = piece * self.piece_length
                        size -= min(begin + self.piece_length, file.offset + file.size) - max(begin, file.offset)
        return size

    def data_size(self, piece: int) -> int:
        """Return how many bytes of a piece there are before nothing but zeros that fill it follow."""
        begin = piece * self.piece_length
        size = self.piece_size(piece)
        filled = 0
        for span in self.spans(begin, size):
            if not self.files[span.file].is_pad:
                filled = self.files[span.file].offset + span.offset + span.size - begin
        return filled

    def pieces_of(self, number: int) -> range:
        """Return the pieces that a file has bytes in; none for an empty one."""
        file = self.files[number]
        if not file.size:
            return range(0)
        return range(file.offset // self.piece_length, -(-(file.offset + file.size) // self.piece_length))

    def leaves_of(self, number: int) -> int:
        """Return how many leaves the tree of a file has (version 2), those that no block fills among them."""
        return next_power(-(-self.files[number].size // BLOCK_SIZE))
