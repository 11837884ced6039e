"""Which files of a torrent are wanted, and which pieces that takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from librats.bittorrent.layout import Layout
from librats.errors import UsageError

__all__ = ["Choice", "Selection", "find_files"]

Choice = int | str | PurePath
"""A file by its number in the torrent (BEP 53), or by its path; the path of a folder stands for all that is in it."""


class Selection:
    """Files of a torrent that are wanted. Pieces that none of them has a byte in are not.

    Args:
        layout: The torrent's.
        numbers: Numbers of the files that are wanted; None for all of them.

    Raises:
        UsageError: No file is wanted.

    Example:
        >>> from librats.bittorrent.layout import Layout, TorrentFile
        >>> from librats.bittorrent.selection import Selection
        >>> files = [TorrentFile(path=(name,), size=20_000, offset=at) for name, at in (("a", 0), ("b", 20_000))]
        >>> selection = Selection(Layout(files, 16_384), [1])
        >>> list(selection.pieces), selection.size, selection.size_of(1)
        ([0, 1, 1], 20000, 12768)
        >>> selection.splits(1), selection.splits(2)
        (True, False)
    """

    def __init__(self, layout: Layout, numbers: Iterable[int] | None = None) -> None:
        self._layout = layout
        wanted = None if numbers is None else {number for number in numbers if not layout.files[number].is_pad}
        if wanted is not None and not wanted:
            raise UsageError("no file of the torrent is chosen")
        everything = wanted is None or len(wanted) == sum(not file.is_pad for file in layout.files)
        self._files = None if everything else wanted
        self.pieces = bytearray(b"\1" * layout.piece_count) if self._files is None else bytearray(layout.piece_count)
        """A byte for each piece: 1 where it is wanted."""
        self.size = layout.content_total
        """Bytes of the files that are wanted."""
        if self._files is not None:
            self.size = sum(layout.files[number].size for number in self._files)
            for number in self._files:
                pieces = layout.pieces_of(number)
                self.pieces[pieces.start : pieces.stop] = b"\1" * len(pieces)

    @property
    def is_all(self) -> bool:
        """Whether every file is wanted."""
        return self._files is None

    def has_file(self, number: int) -> bool:
        """Whether a file is wanted."""
        return self._files is None or number in self._files

    def size_of(self, piece: int) -> int:
        """Return how many bytes of a piece belong to files that are wanted."""
        layout, files = self._layout, self._files
        if files is None:
            return layout.content_size(piece)
        spans = layout.spans(piece * layout.piece_length, layout.piece_size(piece))
        return sum(span.size for span in spans if span.file in files)

    @property
    def everything(self) -> int:
        """Bytes of all files, wanted or not."""
        return self._layout.content_total

    def missing(self, have: bytearray) -> int:
        """Return how many bytes of all files, wanted or not, are in pieces that are missing.

        Args:
            have: A byte for each piece: 1 where it is there.
        """
        return self._layout.missing_size(have)

    def splits(self, piece: int) -> bool:
        """Whether a piece has bytes of a file that is not wanted."""
        layout, files = self._layout, self._files
        if files is None:
            return False
        spans = layout.spans(piece * layout.piece_length, layout.piece_size(piece))
        return any(span.file not in files and not layout.files[span.file].is_pad for span in spans)


def find_files(layout: Layout, choices: Iterable[Choice]) -> set[int]:
    """Return the numbers of the files that are named.

    Args:
        layout: The torrent's.
        choices: Numbers, and paths as the layout has them, ``/`` in between, with or without the torrent's own name.

    Raises:
        UsageError: There is no such file.

    Example:
        >>> from librats.bittorrent.layout import Layout, TorrentFile
        >>> from librats.bittorrent.selection import find_files
        >>> paths = [("top", "a"), ("top", "sub", "b"), ("top", "sub", "c")]
        >>> layout = Layout([TorrentFile(path=path, size=1, offset=at) for at, path in enumerate(paths)], 16_384)
        >>> find_files(layout, ["sub"]), find_files(layout, [0, "top/sub/c"])
        ({1, 2}, {0, 2})
    """
    found: set[int] = set()
    named: dict[tuple[str, ...], str] = {}
    for choice in choices:
        if isinstance(choice, int):
            if not 0 <= choice < len(layout.files):
                raise UsageError(f"the torrent has no file {choice}: it has {len(layout.files)}")
            found.add(choice)
        else:
            text = str(choice).replace("\\", "/")
            named[tuple(part for part in text.split("/") if part not in {"", "."})] = text
    if named:
        found |= _find_paths(layout, named)
    return found


def _find_paths(layout: Layout, named: dict[tuple[str, ...], str]) -> set[int]:
    whole: dict[tuple[str, ...], list[int]] = {}
    below: dict[tuple[str, ...], list[int]] = {}  # without the torrent's own name
    for number, file in enumerate(layout.files):
        if file.is_pad:
            continue
        path = file.path
        for end in range(1, len(path) + 1):
            for start, hits in ((0, whole), (1, below)):
                if path[start:end] in named:
                    hits.setdefault(path[start:end], []).append(number)
    found: set[int] = set()
    for parts, text in named.items():
        numbers = whole.get(parts) or below.get(parts)
        if not numbers or not parts:
            raise UsageError(f"the torrent has no file {text!r}")
        found.update(numbers)
    return found
