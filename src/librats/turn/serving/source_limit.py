"""How many answers a source gets before it has proven who it is."""

from __future__ import annotations

from array import array

__all__ = ["SourceLimit"]

_CELLS = 1 << 16
_PERIOD = 1.0


class SourceLimit:
    """Counts answers by source network in a table of fixed size, which is wiped every second.

    A flood from made-up sources therefore holds no memory. Two networks may share a cell; which ones do cannot be
    foreseen from outside, as the interpreter's hash of bytes is keyed.

    Args:
        answers: How many a source gets in a second; 0 for any number.
    """

    def __init__(self, answers: int) -> None:
        self.answers = min(answers, 0xFFFF)
        self._cells = array("H", bytes(2 * _CELLS))
        self._until = 0.0

    def admits(self, source: bytes, *, now: float) -> bool:
        """Count an answer to a source; False where it has had enough."""
        if not self.answers:
            return True
        if now >= self._until:
            self._cells = array("H", bytes(2 * _CELLS))
            self._until = now + _PERIOD
        cell = hash(source) & (_CELLS - 1)
        if self._cells[cell] >= self.answers:
            return False
        self._cells[cell] += 1
        return True
