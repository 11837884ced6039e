"""The files of an offer, kept as columns: an object for each, with all that it holds, takes five times the memory."""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple, overload

from librats.errors import TransferError
from librats.transfer.names import Parts
from librats.transfer.tree import HASH_SIZE

__all__ = ["FileTable", "OfferedFile"]

MOST = (1 << 64) - 1
ANY_TEXT = "surrogatepass"  # what a disk calls a file may be no text; whether it may be offered is seen to elsewhere


class OfferedFile(NamedTuple):
    """A file of an offer."""

    path: Parts
    """Its path below the folder that is offered; its name, where it is offered alone."""

    size: int
    """Bytes."""

    root: bytes
    """Root of its tree of hashes, 32 bytes."""

    modified: int = 0
    """When it was changed last: nanoseconds since 1970, UTC; below 2**63."""

    executable: bool = False
    """Whether it may be run."""


class FileTable(Sequence[OfferedFile]):
    """Files of an offer, in some 60 bytes for each and its path. What is asked for is made anew each time.

    Example:
        >>> from librats.transfer.file_table import FileTable, OfferedFile
        >>> files = FileTable([OfferedFile(path=("a", "b"), size=5, root=bytes(32), modified=7)])
        >>> len(files), files[0].path, files.size(0), files == (files[0],)
        (1, ('a', 'b'), 5, True)
    """

    __slots__ = ("_ends", "_executable", "_modified", "_paths", "_roots", "_sizes")

    __hash__ = None  # type: ignore[assignment] # it grows

    def __init__(self, files: Iterable[OfferedFile] = ()) -> None:
        self._paths = bytearray()
        self._ends = array("Q", [0])
        self._sizes = array("Q")
        self._modified = array("Q")
        self._executable = bytearray()
        self._roots = bytearray()
        for file in files:
            self.append(file)

    @classmethod
    def of(cls, files: Sequence[OfferedFile]) -> FileTable:
        """Return files as a table; what is one already is not copied.

        Args:
            files: The files.

        Raises:
            TransferError: As for :meth:`append`.
        """
        return files if isinstance(files, FileTable) else cls(files)

    def append(self, file: OfferedFile) -> None:
        """Add a file.

        Args:
            file: The file.

        Raises:
            TransferError: Its size, time or root is one that cannot be (``"bad_offer"``).
        """
        if len(file.root) != HASH_SIZE or not (0 <= file.size <= MOST and 0 <= file.modified <= MOST):
            raise TransferError("bad_offer", "a size, root or time that cannot be")
        self._paths += "/".join(file.path).encode(errors=ANY_TEXT)
        self._ends.append(len(self._paths))
        self._sizes.append(file.size)
        self._modified.append(file.modified)
        self._executable.append(file.executable)
        self._roots += file.root

    def set_root(self, number: int, root: bytes) -> None:
        """Give a file the root of its tree, once that is known."""
        self._roots[number * HASH_SIZE : (number + 1) * HASH_SIZE] = root

    @property
    def total(self) -> int:
        """Bytes of all files together."""
        return sum(self._sizes)

    def size(self, number: int) -> int:
        """Return the bytes of a file."""
        return self._sizes[number]

    def raw_path(self, number: int) -> bytes:
        """Return the path of a file, with a slash between its parts, in UTF-8."""
        return bytes(self._paths[self._ends[number] : self._ends[number + 1]])

    def is_executable(self, number: int) -> bool:
        """Return whether a file may be run."""
        return self._executable[number] == 1

    def modified(self, number: int) -> int:
        """Return when a file was changed last, in nanoseconds."""
        return self._modified[number]

    def root(self, number: int) -> bytes:
        """Return the root of a file's tree."""
        return bytes(self._roots[number * HASH_SIZE : (number + 1) * HASH_SIZE])

    def copies(self, kept: Container[int] = ()) -> dict[int, int]:
        """Return which files have the content of another one: their numbers, and that of the first that has it.

        Args:
            kept: Numbers of files that are nobody's copies, and that others are copies of before all else.
        """
        found = {}
        for numbers in self._by_first_byte():  # a part at a time: roots as objects take three times their bytes
            first = {self.root(number): number for number in reversed(numbers) if number in kept}
            for number in numbers:
                if number not in kept and self._sizes[number]:
                    one = first.setdefault(self.root(number), number)
                    if one != number and self._sizes[one] == self._sizes[number]:  # one root may be told with two sizes
                        found[number] = one
        return found

    def _by_first_byte(self) -> Iterator[list[int]]:
        """Yield the numbers of the files whose roots begin with one byte, for each that some do."""
        firsts = bytes(self._roots[::HASH_SIZE])
        for byte in set(firsts):
            numbers, at = [], firsts.find(byte)
            while at >= 0:
                numbers.append(at)
                at = firsts.find(byte, at + 1)
            yield numbers

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self._sizes)

    @overload
    def __getitem__(self, number: int) -> OfferedFile: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[OfferedFile, ...]: ...

    def __getitem__(self, number: int | slice) -> OfferedFile | tuple[OfferedFile, ...]:
        """Return a file, or several."""
        if isinstance(number, slice):
            return tuple(self[each] for each in range(*number.indices(len(self))))
        size = self._sizes[number]
        if number < 0:
            number += len(self)
        path = self._paths[self._ends[number] : self._ends[number + 1]].decode(errors=ANY_TEXT)
        is_executable = self._executable[number] == 1
        return OfferedFile(tuple(path.split("/")), size, self.root(number), self._modified[number], is_executable)

    def __eq__(self, other: object) -> bool:
        """Tell whether the same files are in the same order, in a table or otherwise."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"<FileTable: {len(self)} files, {self.total} bytes>"
