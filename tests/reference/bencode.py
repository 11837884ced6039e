"""Bencode read by a slow reader that follows BEP 3 step by step: the oracle of the compiled one.

It tells the offset of the first byte that is wrong, which must be the same in both.
"""

from __future__ import annotations

import re
from typing import Any

MAX_DIGITS = 640


class Malformed(Exception):
    """It does not parse; ``offset`` is where."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class Reader:
    """One value after the other.

    Args:
        data: What is read.
        strict: Whether only the canonical form is taken.
        depth: How many containers may be in each other.
        tokens: How many values and keys there may be.
    """

    def __init__(self, data: bytes, *, strict: bool, depth: int, tokens: int) -> None:
        self.data = data
        self.strict = strict
        self.depth = depth
        self.tokens = tokens
        self.at = 0

    def peek(self) -> bytes:
        """Return the next byte; there must be one."""
        if self.at == len(self.data):
            raise Malformed(self.at)
        return self.data[self.at : self.at + 1]

    def count(self) -> None:
        """Count a value or a key."""
        if self.tokens == 0:
            raise Malformed(self.at)
        self.tokens -= 1

    def value(self) -> Any:
        """Read a value of any kind."""
        first = self.peek()
        self.count()
        if first.isdigit():
            return self.string()
        if first == b"i":
            return self.integer()
        if first not in {b"l", b"d"}:
            raise Malformed(self.at)
        if self.depth == 0:
            raise Malformed(self.at)
        self.depth -= 1
        self.at += 1
        found = self.items() if first == b"l" else self.pairs()
        self.at += 1
        self.depth += 1
        return found

    def items(self) -> list[Any]:
        """Read what is in a list."""
        found = []
        while self.peek_or_end() != b"e":
            found.append(self.value())
        return found

    def peek_or_end(self) -> bytes:
        """Return the next byte, or nothing."""
        return self.data[self.at : self.at + 1]

    def pairs(self) -> dict[bytes, Any]:
        """Read what is in a dictionary."""
        found: dict[bytes, Any] = {}
        last = None
        while self.peek_or_end() != b"e":
            start = self.at
            self.count()
            if not self.peek().isdigit():
                raise Malformed(self.at)
            key = self.string()
            if self.strict and last is not None and key <= last:
                raise Malformed(start)
            last = key
            value = self.value()
            found.setdefault(key, value)
        return found

    def string(self) -> bytes:
        """Read a string."""
        start = self.at
        digits = re.compile(rb"[0-9]+").match(self.data, start)
        assert digits
        text = digits.group()
        if self.strict and len(text) > 1 and text.startswith(b"0"):
            raise Malformed(start)
        self.at = digits.end()
        if self.peek() != b":":
            raise Malformed(self.at)
        self.at += 1
        significant = text.lstrip(b"0") or b"0"
        if len(significant) > 20 or int(significant) > len(self.data) - self.at:
            raise Malformed(start)
        end = self.at + int(significant)
        found = self.data[self.at : end]
        self.at = end
        return found

    def integer(self) -> int:
        """Read an integer."""
        self.at += 1
        sign = self.data[self.at : self.at + 1] == b"-"
        first = self.at + sign
        digits = re.compile(rb"[0-9]*").match(self.data, first)
        assert digits
        text = digits.group()
        if len(text) > MAX_DIGITS:
            raise Malformed(first + MAX_DIGITS)
        self.at = digits.end()
        if self.peek() != b"e" or not text:
            raise Malformed(self.at)
        if self.strict and text.startswith(b"0") and (len(text) > 1 or sign):
            raise Malformed(first)
        self.at += 1
        return -int(text) if sign else int(text)


def decode(data: bytes, *, strict: bool = True, depth: int = 64, tokens: int = 100_000) -> Any:
    """Read one value, which is all of the data."""
    reader = Reader(data, strict=strict, depth=depth, tokens=tokens)
    found = reader.value()
    if reader.at != len(data):
        raise Malformed(reader.at)
    return found


def encode(value: Any) -> bytes:
    """Write numbers, bytes, lists and dictionaries."""
    if isinstance(value, bytes):
        return str(len(value)).encode() + b":" + value
    if isinstance(value, int):
        return b"i" + str(value).encode() + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    pairs = sorted(value.items())
    return b"d" + b"".join(encode(key) + encode(item) for key, item in pairs) + b"e"
