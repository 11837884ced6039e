"""Random values from a seed: the same ones in every run, and no secret to anybody."""

from __future__ import annotations

import hashlib
import struct

__all__ = ["SeededEntropy"]

BLOCK = 64
STEP = 2.0**-53
WORDS = struct.Struct("<64Q")


class SeededEntropy:
    """Random values for simulations, as a :class:`~librats.types.Entropy`; never for real keys.

    Args:
        seed: A number.
        labels: Tell several sources of one seed apart, whatever the order in which they are used.

    Example:
        >>> SeededEntropy(7, "a").randbelow(1000) == SeededEntropy(7, "a").randbelow(1000)
        True
    """

    def __init__(self, seed: int, *labels: str) -> None:
        self._key = hashlib.blake2b(repr((seed, labels)).encode()).digest()
        self._counter = 0
        self._left = b""
        self._words: list[int] = []

    def token_bytes(self, size: int) -> bytes:
        """Return that many bytes."""
        while len(self._left) < size:
            counter = self._counter.to_bytes(8, "little")
            self._left += hashlib.blake2b(counter, key=self._key, digest_size=BLOCK).digest()
            self._counter += 1
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def randbelow(self, limit: int) -> int:
        """Return an integer from 0 up to, not including, the limit."""
        if limit <= 0:
            raise ValueError(f"the limit must be positive, not {limit}")
        # 64 bits more than the limit has make the bias too small to be seen.
        size = limit.bit_length() // 8 + 9
        return int.from_bytes(self.token_bytes(size), "little") % limit

    def uniform(self, low: float, high: float) -> float:
        """Return a float between the two."""
        return low + (high - low) * (int.from_bytes(self.token_bytes(8), "little") >> 11) * STEP

    def fraction(self) -> float:
        """Return a float from 0 up to, not including, 1."""
        words = self._words or self._more_words()
        return (words.pop() >> 11) * STEP

    def chance(self, part: float) -> bool:
        """Return True in that part of the cases, 0 to 1."""
        words = self._words or self._more_words()
        return (words.pop() >> 11) * STEP < part

    def _more_words(self) -> list[int]:
        """Draw many numbers at once: what a link asks for with every packet has to cost little."""
        self._words = list(WORDS.unpack(self.token_bytes(WORDS.size)))
        return self._words
