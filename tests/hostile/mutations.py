"""Valid bytes made hostile: what a fuzzer of any framing here starts from. The same seed gives the same bytes."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator, Sequence

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
FORMATS = {1: ">B", 2: ">H", 4: ">I", 8: ">Q"}
QUICK = 2_000
FULL = 100_000


class Mutator:
    """Makes hostile variants of valid bytes.

    Args:
        seed: Which ones.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - garbage, no secret

    def mutate(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        """Return a variant of some bytes, into which parts of others may be spliced."""
        kinds = [self.flip, self.cut, self.insert, self.overwrite, self.repeat, self.set_integer, self.swap]
        for _ in range(self.chance.choice((1, 1, 1, 2, 5))):
            if others and self.chance.random() < 0.15:
                data = self.splice(data, self.chance.choice(others))
            else:
                data = self.chance.choice(kinds)(data)
        return data

    def flip(self, data: bytes) -> bytes:
        """Turn one bit over."""
        if not data:
            return data
        at = self.chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self.chance.randrange(8)]) + data[at + 1 :]

    def cut(self, data: bytes) -> bytes:
        """Cut it off somewhere, or take a piece out."""
        first, last = sorted(self.chance.randrange(len(data) + 1) for _ in range(2))
        return data[:first] + (data[last:] if self.chance.random() < 0.5 else b"")

    def insert(self, data: bytes) -> bytes:
        """Put garbage in."""
        at = self.chance.randrange(len(data) + 1)
        return data[:at] + self.chance.randbytes(self.chance.choice((1, 2, 4, 17, 300))) + data[at:]

    def overwrite(self, data: bytes) -> bytes:
        """Put garbage over a part."""
        garbage = self.chance.randbytes(self.chance.choice((1, 2, 4, 32)))
        at = self.chance.randrange(len(data) + 1)
        return data[:at] + garbage + data[at + len(garbage) :]

    def repeat(self, data: bytes) -> bytes:
        """Have a part of it, or all, once more."""
        first, last = sorted(self.chance.randrange(len(data) + 1) for _ in range(2))
        if self.chance.random() < 0.3:
            first, last = 0, len(data)
        return data[:last] + data[first:last] * self.chance.choice((1, 1, 3)) + data[last:]

    def set_integer(self, data: bytes) -> bytes:
        """Write a value at the edge of something over an integer of any size."""
        size = self.chance.choice((1, 2, 4, 8))
        if len(data) < size:
            return data
        at = self.chance.randrange(len(data) - size + 1)
        old = int.from_bytes(data[at : at + size])
        value = self.chance.choice((*INTERESTING, old + 1, old - 1, len(data))) & ((1 << 8 * size) - 1)
        return data[:at] + struct.pack(FORMATS[size], value) + data[at + size :]

    def swap(self, data: bytes) -> bytes:
        """Exchange two parts."""
        a, b, c = sorted(self.chance.randrange(len(data) + 1) for _ in range(3))
        return data[:a] + data[b:c] + data[a:b] + data[c:]

    def splice(self, data: bytes, other: bytes) -> bytes:
        """Go on as another one does from somewhere."""
        return data[: self.chance.randrange(len(data) + 1)] + other[self.chance.randrange(len(other) + 1) :]

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut bytes as a network may."""
        at = 0
        while at < len(data):
            size = self.chance.choice((1, 3, 4, 5, 40, 1000, 70_000))
            yield data[at : at + size]
            at += size


def peak_memory() -> int:
    """Return the most bytes that this process has had so far; always 0 on Windows, which does not tell."""
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415 - not there on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
