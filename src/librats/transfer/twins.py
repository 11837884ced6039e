"""Leaves of an offer that have the content of another one: it comes once, and is written for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from librats.transfer.layout import Range

__all__ = ["MAX_TWINS", "Twins"]

MAX_TWINS: Final = 63
"""Twins that one leaf has at most, so that what is written for one chunk stays within bounds."""


class Twins:
    """Which leaves are written along with which. Leaves are numbered through all files.

    Example:
        >>> from librats.transfer.twins import Twins
        >>> twins = Twins()
        >>> twins.add([3, 5, 8])
        >>> list(twins.without([(0, 10)])), list(twins.of_range((2, 4)))
        ([(0, 5), (6, 2), (9, 1)], [5, 8])
    """

    def __init__(self) -> None:
        self._of: dict[int, list[int]] = {}
        self._all: set[int] = set()

    def __len__(self) -> int:
        """Return how many need not come."""
        return len(self._all)

    def add(self, leaves: Sequence[int]) -> None:
        """Take note of leaves with one content; the first of them is to come, and where there are many, some more."""
        for at in range(0, len(leaves), MAX_TWINS + 1):
            original, *others = leaves[at : at + MAX_TWINS + 1]
            if others:
                self._of[original] = others
                self._all.update(others)

    def of(self, leaf: int) -> Sequence[int]:
        """Return what is to be written along with a leaf."""
        return self._of.get(leaf, ())

    def of_range(self, wanted: Range) -> Iterator[int]:
        """Yield what is to be written along with a range of leaves."""
        first, count = wanted
        for leaf in range(first, first + count):
            yield from self._of.get(leaf, ())

    def without(self, runs: Iterable[Range]) -> Iterator[Range]:
        """Yield what is left of runs of leaves without those that need not come."""
        for first, count in runs:
            start = first
            for leaf in range(first, first + count):
                if leaf in self._all:
                    if leaf > start:
                        yield start, leaf - start
                    start = leaf + 1
            if first + count > start:
                yield start, first + count - start
