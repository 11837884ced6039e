"""The words of codes: 1,024 common English ones, of three to seven letters, that differ by more than one letter.

Nor are two letters next to each other swapped, and no two sound alike.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["WORDS"]

WORDS = tuple(files(__package__).joinpath("words.txt").read_text("ascii").split())
"""In alphabetical order."""
