"""What of an offer need not come: leaves that an older version of a file has, or another file of the offer.

The taker asks for the hashes of leaves, some gigabytes of files at a time, and looks for them in what is on the disk.
The roots of the manifest prove the hashes, so that a giver cannot say that something is there which is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from librats.errors import TransferError
from librats.transfer.file_verifiers import FileVerifiers
from librats.transfer.frames import MAX_HASHES
from librats.transfer.layout import Layout, Range
from librats.transfer.tree import HASH_SIZE
from librats.transfer.twins import MAX_TWINS, Twins

__all__ = ["MAX_KNOWN", "LeafIndex", "Reusing"]

MAX_KNOWN: Final = 32_768
"""Leaves that are looked for at once, 2 GiB of files."""

AHEAD: Final = 32
"""Ranges whose hashes are asked for and not there."""

LEAST: Final = 16
"""Leaves of a file from which on it may have some in common with another one that comes as well."""

MAX_VAIN: Final = 16_384
"""Leaves that are read in vain, 1 GiB, beyond those that were found, before no more is looked for."""


class LeafIndex:
    """Leaves that are missing, by their hashes.

    Example:
        >>> from librats.transfer.reusing import LeafIndex
        >>> index = LeafIndex()
        >>> for leaf, hash in enumerate([b"a" * 32, b"b" * 32, b"a" * 32]):
        ...     index.add(hash, leaf)
        >>> index.take(b"a" * 32), index.take(b"a" * 32), list(index.alike())
        ([0, 2], [], [])
    """

    def __init__(self) -> None:
        self._leaves: dict[bytes, int | list[int]] = {}  # few have more than one leaf, and a list for each takes room

    def add(self, leaf_hash: bytes, leaf: int) -> None:
        """Take note of a leaf that is missing."""
        known = self._leaves.setdefault(leaf_hash, leaf)
        if isinstance(known, list):
            known.append(leaf)
        elif known != leaf:
            self._leaves[leaf_hash] = [known, leaf]

    def take(self, leaf_hash: bytes) -> list[int]:
        """Return the leaves with a hash, which count as found from here on; where there are many, some of them."""
        found = self._leaves.pop(leaf_hash, None)
        if found is None:
            return []
        if isinstance(found, int):
            return [found]
        if len(found) > MAX_TWINS + 1:
            self._leaves[leaf_hash] = found[MAX_TWINS + 1 :]
        return found[: MAX_TWINS + 1]

    def alike(self) -> Iterator[list[int]]:
        """Yield what is left, where several leaves have one hash."""
        return (leaves for leaves in self._leaves.values() if isinstance(leaves, list))


class Reusing:
    """What to ask for, and where to look for it: one window of leaves after the other.

    Args:
        layout: Of the manifest.
        verifiers: What is there of each file; they are kept up to date.
        old: Numbers of the files of which something older is on the disk.

    Example:
        >>> from librats.transfer.file_table import FileTable
        >>> from librats.transfer.file_verifiers import FileVerifiers
        >>> from librats.transfer.layout import Layout
        >>> from librats.transfer.manifest import Manifest, OfferedFile
        >>> from librats.transfer.reusing import Reusing
        >>> from librats.transfer.tree import hash_file
        >>> tree = hash_file([bytes(300_000)])
        >>> file = OfferedFile(path=("zeros",), size=tree.length, root=tree.root)
        >>> layout = Layout(Manifest(name="zeros", is_folder=False, files=(file,)))
        >>> verifiers = FileVerifiers(FileTable([file]), copies={}, whole=bytearray(1))
        >>> reusing = Reusing(layout, verifiers, old=[0])
        >>> reusing.next_window(), reusing.wants()
        (True, [(0, 5)])
        >>> reusing.take((0, 5), tree.leaves(0, 5))
        >>> reusing.is_window_whole, list(reusing.to_read())
        (True, [(0, 5)])
        >>> reusing.end_window()
        >>> len(reusing.twins)  # four of them are alike, and the last one is shorter
        3
    """

    def __init__(self, layout: Layout, verifiers: FileVerifiers, old: Iterable[int]) -> None:
        self._layout = layout
        self._verifiers = verifiers
        self._old = frozenset(number for number in old if self._is_wanted(number, 2))
        self._ranges = self._cut(sorted(self._old | self._alike()))
        self._next: Range | None = next(self._ranges, None)
        self._window: list[Range] = []
        self._to_ask: deque[Range] = deque()
        self._asked: deque[Range] = deque()
        self._vain = 0
        self.index = LeafIndex()
        """What is looked for in this window."""
        self.twins = Twins()
        """What need not come, for it is written along with what comes."""

    def _is_wanted(self, number: int, least: int) -> bool:
        leaves = self._layout.start(number + 1) - self._layout.start(number)
        return leaves >= least and number not in self._layout.copies and self._verifiers.leaves(number) < leaves

    def _alike(self) -> frozenset[int]:
        """Return which files may have something in common: a few big ones, for asking takes time, mostly in vain."""
        found, leaves = [], 0
        for number in range(len(self._verifiers)):
            if self._is_wanted(number, LEAST):
                found.append(number)
                leaves += self._layout.start(number + 1) - self._layout.start(number)
                if leaves > MAX_KNOWN:
                    return frozenset()
        return frozenset(found if len(found) > 1 else ())

    def _cut(self, numbers: list[int]) -> Iterator[Range]:
        for number in numbers:
            start, end = self._layout.start(number), self._layout.start(number + 1)
            for first in range(start, end, MAX_HASHES):
                yield first, min(MAX_HASHES, end - first)

    # Asking

    def next_window(self) -> bool:
        """Begin with the next leaves; False where there are none, or it is of no use."""
        if self._window:
            return True
        leaves = 0
        while self._next is not None and leaves + self._next[1] <= MAX_KNOWN and self._vain < MAX_VAIN:
            self._window.append(self._next)
            leaves += self._next[1]
            self._next = next(self._ranges, None)
        self._to_ask.extend(self._window)
        return bool(self._window)

    def wants(self) -> list[Range]:
        """Return whose hashes to ask for now, which count as asked from here on."""
        wants = []
        while self._to_ask and len(self._asked) < AHEAD:
            self._asked.append(self._to_ask.popleft())
            wants.append(self._asked[-1])
        return wants

    def ask_again(self) -> None:
        """Take note that whoever was asked is gone."""
        self._to_ask.extendleft(reversed(self._asked))
        self._asked.clear()

    def take(self, wanted: Range, body: bytes) -> None:
        """Take hashes. They come in the order in which they were asked for.

        Args:
            wanted: Of which leaves.
            body: Their proof, and they.

        Raises:
            TransferError: They are not those that are due (``"protocol"``), or not of the file (``"bad_chunk"``).
        """
        if not self._asked or wanted != self._asked[0]:
            raise TransferError("protocol", "hashes that were not asked for")
        hashes = self._layout.check_hashes(wanted, body)
        self._asked.popleft()
        file, at = self._layout.place_of(wanted[0])
        verifier = self._verifiers[file]
        for number in range(wanted[1]):
            if not verifier.has(at + number):
                self.index.add(hashes[number * HASH_SIZE : (number + 1) * HASH_SIZE], wanted[0] + number)

    @property
    def is_window_whole(self) -> bool:
        """True where all hashes of this window have come."""
        return not self._to_ask and not self._asked

    # Looking

    def to_read(self) -> Iterator[Range]:
        """Yield the ranges of this window in whose place something older is to be read, as long as that is of use."""
        for wanted in self._window:
            if self._layout.place_of(wanted[0])[0] in self._old and self._vain < MAX_VAIN:
                yield wanted

    def found(self, ranges: Iterable[Range], read: int) -> None:
        """Take note of leaves that were found and written, each range of one file, and of how many were read."""
        self._vain += read
        for first, count in ranges:
            file, at = self._layout.place_of(first)
            self._verifiers.count_leaves(file, at, count)
            self._vain -= count

    def end_window(self) -> None:
        """Take note that all has been looked through: what is alike of the rest comes once."""
        for leaves in self.index.alike():
            self.twins.add(leaves)
        self.index = LeafIndex()
        self._window.clear()
