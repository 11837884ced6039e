"""A code as people say, write and type it: a number and two words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from librats.codes.words import WORDS
from librats.errors import UsageError

__all__ = ["MAX_PLACE", "Code"]

MAX_PLACE = 999_999
"""The largest number that a code has."""

_SHAPE = re.compile(r"([0-9]{1,6})[-\s]+([a-z]+)[-\s]+([a-z]+)", re.IGNORECASE)
_KNOWN = frozenset(WORDS)


@dataclass(frozen=True, slots=True)
class Code:
    """A number and two words. The number is told to whoever helps the two to meet; the words never leave the two.

    Raises:
        UsageError: The number is not from 1 to :data:`MAX_PLACE`, or a word is none of the list.

    Example:
        >>> from librats.codes.code import Code
        >>> str(Code.parse(" 7 Acorn Tiger"))
        '7-acorn-tiger'
    """

    place: int
    """Number of the place where the two meet."""

    words: tuple[str, str]
    """Both words."""

    def __post_init__(self) -> None:
        """Check number and words."""
        if not 1 <= self.place <= MAX_PLACE:
            raise UsageError(f"the number of a code is from 1 to {MAX_PLACE}")
        for word in self.words:
            if word not in _KNOWN:
                raise UsageError(f"not a code: {word[:20]!r} is none of its words{_guess(word)}")

    def __str__(self) -> str:
        """Return it as it is shown."""
        return f"{self.place}-{self.words[0]}-{self.words[1]}"

    @classmethod
    def new(cls, place: int, randbelow: Callable[[int], int]) -> Code:
        """Return a code with random words.

        Args:
            place: Its number.
            randbelow: Returns a random number below another one; a good source of randomness.
        """
        return cls(place, (WORDS[randbelow(len(WORDS))], WORDS[randbelow(len(WORDS))]))

    @staticmethod
    def is_one(text: str) -> bool:
        """Tell whether a text looks like a code, if with a word that is none."""
        return _SHAPE.fullmatch(text.strip()) is not None

    @classmethod
    def parse(cls, text: str) -> Code:
        """Read what a person has typed: capitals, blanks and dashes do not matter.

        Raises:
            UsageError: It is no code.
        """
        found = _SHAPE.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"not a code: {text[:40]!r}; a code is like 7-{WORDS[0]}-{WORDS[-1]}")
        return cls(int(found[1]), (found[2].lower(), found[3].lower()))


def _guess(word: str) -> str:
    """Return the word that was meant, where one letter is wrong, too many or missing: the words differ by more."""
    meant = next((known for known in WORDS if _is_near(word, known)), "")
    return f"; {meant!r}?" if meant else ""


def _is_near(typed: str, known: str) -> bool:
    shorter, longer = sorted((typed, known), key=len)
    if len(longer) - len(shorter) > 1:
        return False
    same = next(
        (at for at, (one, other) in enumerate(zip(shorter, longer, strict=False)) if one != other), len(shorter)
    )
    rest = same if len(shorter) < len(longer) else same + 1
    return shorter[rest:] == longer[same + 1 :]
