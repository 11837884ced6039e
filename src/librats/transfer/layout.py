"""Where the leaves of an offer's files are: one row of numbers over all of them, and what a chunk of it consists of.

Leaves are numbered through all files in the order of the manifest, so that a range of numbers is a part of one file,
or many small files at once. Whoever has the manifest knows how long each part of a chunk is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from librats.errors import TransferError
from librats.transfer.file_table import FileTable
from librats.transfer.manifest import Manifest
from librats.transfer.tree import HASH_SIZE, LEAF_SIZE, Buffer, leaf_count, leaf_hashes, proof_hashes, root_above
from librats.transfer.verifying import MAX_CHUNK

__all__ = ["MAX_LEAVES", "CheckedPart", "Layout", "Part", "Range"]

MAX_LEAVES: Final = 4096
"""Leaves that a chunk has at most."""

Range = tuple[int, int]
"""Number of the first leaf, counted through all files, and how many leaves."""


class Part(NamedTuple):
    """The part of a chunk that belongs to one file."""

    file: int
    """Number of the file in the manifest."""

    leaf: int
    """Its first leaf, counted within the file."""

    leaves: int
    """How many leaves."""

    offset: int
    """Where it begins in the file, in bytes."""

    size: int
    """Bytes."""

    proof_size: int
    """Bytes of the proof that goes with it; none for a whole file."""


class CheckedPart(NamedTuple):
    """A part of a chunk that belongs to its file for certain."""

    part: Part
    """Which part."""

    data: Sequence[memoryview]
    """Its bytes: buffers, one behind the other."""

    leaves: bytes
    """Hashes of its leaves, 32 bytes each."""


class Layout:
    """The leaves of all files of an offer.

    Args:
        manifest: What is offered.

    Example:
        >>> from librats.transfer.layout import Layout
        >>> from librats.transfer.manifest import Manifest, OfferedFile
        >>> from librats.transfer.tree import hash_file
        >>> trees = [hash_file([b"a" * 100]), hash_file([b"b" * 70_000])]
        >>> files = [OfferedFile(path=(name,), size=t.length, root=t.root) for name, t in zip("ab", trees)]
        >>> layout = Layout(Manifest(name="x", is_folder=True, files=tuple(files)))
        >>> layout.leaves, [(part.file, part.leaf, part.size) for part in layout.parts((0, 2))]
        (3, [(0, 0, 100), (1, 0, 65536)])
    """

    def __init__(self, manifest: Manifest) -> None:
        files = self._files = FileTable.of(manifest.files)
        self._starts = array("Q", [0])
        self._offsets = array("Q", [0])
        for size in map(files.size, range(len(files))):
            self._starts.append(self._starts[-1] + leaf_count(size))
            self._offsets.append(self._offsets[-1] + size)
        self.leaves = self._starts[-1]
        """Leaves of all files together."""
        self.total = manifest.size
        """Bytes of all files together."""
        self.copies = files.copies()
        """Files that have the content of an earlier one, by their numbers: number to that of the first."""

    def place_of(self, leaf: int) -> tuple[int, int]:
        """Return where a leaf is: the number of its file, and its own within that."""
        file = self._file_of(leaf)
        return file, leaf - self._starts[file]

    def start(self, file: int) -> int:
        """Return the number of a file's first leaf."""
        return self._starts[file]

    def has(self, wanted: Range) -> bool:
        """Tell whether there are such leaves, and a chunk can have as many."""
        first, count = wanted
        return 0 < count <= MAX_LEAVES and first >= 0 and first + count <= self.leaves

    def parts(self, wanted: Range) -> list[Part]:
        """Return what a range consists of, file by file. It must be one that :meth:`has` knows."""
        first, count = wanted
        end = first + count
        parts = []
        file = self._file_of(first)
        while first < end:
            start, stop = self._starts[file], self._starts[file + 1]
            if start == first and stop <= end:
                if stop > start:  # a whole file, as small ones are; an empty one has no leaf
                    parts.append(Part(file, 0, stop - start, 0, self._files.size(file), 0))
            else:
                parts.append(self._part(file, first - start, min(stop, end) - first, stop - start))
            first, file = min(stop, end), file + 1
        return parts

    def _file_of(self, leaf: int) -> int:
        return bisect_right(self._starts, leaf) - 1  # the last one that begins there: those before it are empty

    def _part(self, file: int, leaf: int, leaves: int, width: int) -> Part:
        length = self._files.size(file)
        offset = leaf * LEAF_SIZE
        size = min(length, (leaf + leaves) * LEAF_SIZE) - offset
        proof = 0 if leaves == width else HASH_SIZE * proof_hashes(leaf, leaf + leaves, width)
        return Part(file, leaf, leaves, offset, size, proof)

    def size(self, wanted: Range) -> int:
        """Return the bytes of a range, proofs not counted."""
        first, count = wanted
        return self._bytes_before(first + count) - self._bytes_before(first)

    def _bytes_before(self, leaf: int) -> int:
        file = self._file_of(leaf)
        if file == len(self._files):
            return self.total
        return min(self._offsets[file] + (leaf - self._starts[file]) * LEAF_SIZE, self._offsets[file + 1])

    def _proof_size(self, wanted: Range) -> int:
        """Return the bytes of all proofs of a range: of its first and its last file, for those between are whole."""
        first, count = wanted
        end = first + count
        size = 0
        for file in {self._file_of(first), self._file_of(end - 1)}:
            start, stop = self._starts[file], self._starts[file + 1]
            low, high = max(first, start), min(end, stop)
            size += self._part(file, low - start, high - low, stop - start).proof_size
        return size

    def cut(self, runs: Iterable[Range], max_size: int) -> Iterator[Range]:
        """Cut runs of leaves into ranges that make one chunk each; runs that touch are put together first.

        Args:
            runs: In order.
            max_size: Bytes that a range has at most, but for a single leaf.
        """
        first = count = size = 0
        for at, stop in self._by_files(runs):
            while at < stop:
                if count and at != first + count:
                    yield first, count
                    count = 0
                room = max_size - size if count else max(max_size, LEAF_SIZE)
                upto, taken = self._reach(at, min(stop, at + MAX_LEAVES - count), room)
                if upto == at:
                    yield first, count
                    count = 0
                    continue
                if not count:
                    first, size = at, 0
                count += upto - at
                size += taken
                at = upto  # noqa: PLW2901 - a run is used up part by part
        if count:
            yield first, count

    def _by_files(self, runs: Iterable[Range]) -> Iterator[tuple[int, int]]:
        """Cut runs where files end: from which leaf on, and before which."""
        for first, count in runs:
            end = first + count
            at, file = first, bisect_right(self._starts, first)
            while at < end:
                upto = min(self._starts[file], end)
                if upto > at:
                    yield at, upto
                    at = upto
                file += 1

    def _reach(self, at: int, stop: int, room: int) -> tuple[int, int]:
        """Return how far one gets from a leaf in its file with so many bytes, and the bytes that this takes."""
        file = self._file_of(at)
        start = self._starts[file]
        length = self._files.size(file)
        size = min(length, (stop - start) * LEAF_SIZE) - (at - start) * LEAF_SIZE
        if size <= room:
            return stop, size
        leaves = max(room, 0) // LEAF_SIZE
        return at + leaves, leaves * LEAF_SIZE

    def body_size(self, wanted: Range) -> int:
        """Return the bytes of a chunk that holds a range: its proofs and its data.

        Raises:
            TransferError: There is no such range, or it is more than a chunk may hold (``"protocol"``).
        """
        if not self.has(wanted):
            raise TransferError("protocol", "a chunk of leaves that the offer does not have")
        size = self.size(wanted)
        if size > MAX_CHUNK:
            raise TransferError("protocol", f"a chunk of more than {MAX_CHUNK} bytes")
        return size + self._proof_size(wanted)

    def check(self, wanted: Range, pieces: Sequence[Buffer]) -> list[CheckedPart]:
        """Check the body of a chunk: each part by its proof.

        It may be called in any thread, and takes as long as the hashing.

        Args:
            wanted: What the chunk is to hold.
            pieces: Buffers that hold the body, one behind the other: the proofs of all parts, then the data of all.

        Returns:
            The parts and their data, which are parts of these buffers: nothing is copied.

        Raises:
            TransferError: A part is not of its file (``"bad_chunk"``), or the body has another size than it must have
                (``"protocol"``).
        """
        parts = self.parts(wanted)
        data_at = sum(part.proof_size for part in parts)
        size = sum(memoryview(piece).nbytes for piece in pieces)
        if size != data_at + sum(part.size for part in parts):
            raise TransferError("protocol", "a chunk of another size than its leaves have")
        body = _Body(pieces)
        proofs = [b"".join(body.take(part.proof_size)) for part in parts]
        return [self._checked(part, proof, body.take(part.size)) for part, proof in zip(parts, proofs, strict=True)]

    def hashes_part(self, wanted: Range) -> Part:
        """Return which part of a file a range is whose hashes are asked for.

        Raises:
            TransferError: There is no such range, or it is of several files (``"protocol"``).
        """
        if not self.has(wanted) or len(parts := self.parts(wanted)) != 1:
            raise TransferError("protocol", "hashes of leaves that no file has")
        return parts[0]

    def check_hashes(self, wanted: Range, body: bytes) -> bytes:
        """Check the hashes of a range of leaves by their proof.

        Args:
            wanted: The range, which is of one file.
            body: The proof, and the hashes.

        Returns:
            The hashes, 32 bytes for each leaf.

        Raises:
            TransferError: They are not of that file (``"bad_chunk"``), or of another size than they must have
                (``"protocol"``).
        """
        part = self.hashes_part(wanted)
        if len(body) != part.proof_size + part.leaves * HASH_SIZE:
            raise TransferError("protocol", "hashes of another size than their leaves have")
        proof, leaves = body[: part.proof_size], body[part.proof_size :]
        length, root = self._files.size(part.file), self._files.root(part.file)
        if root_above(length, part.leaf, part.size, leaves, proof) != root:
            raise TransferError("bad_chunk", "hashes are not of the file that was offered")
        return leaves

    def _checked(self, part: Part, proof: bytes, data: Sequence[memoryview]) -> CheckedPart:
        leaves = leaf_hashes(data)
        length, root = self._files.size(part.file), self._files.root(part.file)
        if root_above(length, part.leaf, part.size, leaves, proof) != root:
            raise TransferError("bad_chunk", "a chunk is not of the file that was offered")
        return CheckedPart(part, data, leaves)


class _Body:
    """Buffers, one behind the other, that are given out in parts of other sizes, without a copy."""

    def __init__(self, pieces: Sequence[Buffer]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def take(self, size: int) -> list[memoryview]:
        """Return buffers that hold the next bytes; there must be as many."""
        found = []
        while size:
            if not self._rest:
                self._rest = memoryview(next(self._pieces)).cast("B")
                continue
            part, self._rest = self._rest[:size], self._rest[size:]
            found.append(part)
            size -= len(part)
        return found
