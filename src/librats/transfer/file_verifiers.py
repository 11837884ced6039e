"""What is there of all files of an offer: a byte for each file, and more only for those that are begun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, overload

from librats.transfer.file_table import FileTable
from librats.transfer.tree import LEAF_SIZE, leaf_count
from librats.transfer.verifying import MAX_CHUNK, FileVerifier

__all__ = ["KEPT", "FileVerifiers"]

KEPT: Final = 256
"""Verifiers that are kept at least, though nothing or all of their files is there."""

AT_ONCE = MAX_CHUNK // LEAF_SIZE


class FileVerifiers(Sequence[FileVerifier]):
    """The verifiers of all files. They are made when they are asked for: an object for each of many small files would
    take the most of a transfer's memory.

    What it gives may be used until another one is asked for, unless a part of its file is there: then it is kept.

    Args:
        files: The files.
        copies: Files that share the verifier of another one: their numbers, and that of the other one.
        whole: A byte for each file: 1 where all of it is there.
        begun: Which leaves are there of other files, by number; see :attr:`~.FileVerifier.have`.

    Example:
        >>> from librats.transfer.file_table import FileTable, OfferedFile
        >>> from librats.transfer.file_verifiers import FileVerifiers
        >>> files = FileTable(OfferedFile(path=(name,), size=100_000, root=bytes(32)) for name in "abc")
        >>> verifiers = FileVerifiers(files, copies={2: 1}, whole=bytearray([1, 0, 0]))
        >>> verifiers[1].count(0, 1)
        1
        >>> [verifier.missing_leaves for verifier in verifiers], verifiers.is_complete
        ([0, 1, 1], False)
    """

    def __init__(
        self,
        files: FileTable,
        *,
        copies: Mapping[int, int],
        whole: bytearray,
        begun: Mapping[int, bytes | bytearray] | None = None,
    ) -> None:
        self._files = files
        self._copies = copies
        self._whole = whole
        self._begun: dict[int, FileVerifier] = {}
        self._room = KEPT
        for number, have in (begun or {}).items():
            self._begun[number] = FileVerifier(files.root(number), files.size(number), have=have)

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self._files)

    @overload
    def __getitem__(self, number: int) -> FileVerifier: ...

    @overload
    def __getitem__(self, number: slice) -> list[FileVerifier]: ...

    def __getitem__(self, number: int | slice) -> FileVerifier | list[FileVerifier]:
        """Return the verifier of a file, or of several."""
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = self._copies.get(number, number)
        verifier = self._begun.get(number)
        if verifier is None:
            if len(self._begun) >= self._room:
                self._settle()
            size = self._files.size(number)
            verifier = FileVerifier(self._files.root(number), size)
            if self._whole[number]:
                verifier.count(0, leaf_count(size))
            self._begun[number] = verifier
        return verifier

    def _settle(self) -> None:
        """Let go of verifiers of which nothing has to be known but whether their files are there."""
        for number, verifier in list(self._begun.items()):
            self._whole[number] = verifier.is_complete
            if verifier.is_complete or not verifier.leaves:
                del self._begun[number]
        self._room = max(KEPT, 2 * len(self._begun))

    @property
    def is_complete(self) -> bool:
        """Whether all files are there."""
        self._settle()
        return all(
            self._whole[self._copies.get(number, number)] or not self._files.size(number)
            for number in range(len(self._files))
        )

    def leaves(self, number: int) -> int:
        """Return how many leaves of a file are there, without a verifier for it."""
        number = self._copies.get(number, number)
        verifier = self._begun.get(number)
        if verifier is not None:
            return verifier.leaves
        return leaf_count(self._files.size(number)) if self._whole[number] else 0

    def count_leaves(self, number: int, first: int, count: int) -> int:
        """Count leaves of a file, as :meth:`.FileVerifier.count` does, without a verifier where these are all of it."""
        if first or count != leaf_count(self._files.size(number)) or number in self._begun or number in self._copies:
            return self[number].count(first, count)
        fresh = 0 if self._whole[number] else count
        self._whole[number] = 1
        return fresh

    def missing(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield what is to be asked for of a file, as :meth:`.FileVerifier.missing` does."""
        if number in self._begun or number in self._copies:
            yield from self[number].missing()
        elif not self._whole[number]:
            leaves = leaf_count(self._files.size(number))
            for first in range(0, leaves, AT_ONCE):
                yield first, min(AT_ONCE, leaves - first)
