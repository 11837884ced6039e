"""What long runs have found so far: they append it to a file as they go, may be ended at any time, and go on later."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["Kept", "seeds_named", "tree"]

ROOT = Path(__file__).parents[2]


def tree() -> str:
    """Return which sources the library was made of, with a "+" where they differ from those; "unknown" without git."""
    try:
        name, changes = _git("rev-parse", "--short=10", "HEAD:src"), _git("status", "--porcelain", "--", "src")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + "+" * bool(changes)


def _git(*words: str) -> str:
    git = shutil.which("git") or "git"
    done = subprocess.run([git, "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def seeds_named(words: str) -> range:
    """Read ``N``, the first N seeds, or ``A..B``, those from A on that are below B.

    Raises:
        ValueError: It is neither.
    """
    first, dots, last = words.partition("..")
    return range(int(first), int(last)) if dots else range(int(first))


class Kept:
    """A file with one piece in each line, written as soon as it is there.

    Args:
        path: The file, which is made where there is none; None keeps nothing.
        settings: What all pieces share.

    Raises:
        ValueError: The file is of a run with other settings.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self.pieces: list[dict[str, Any]] = []
        """What is there."""
        self.trees: Counter[str] = Counter()
        """How many of them each tree has given."""
        self._path = path
        self._tree = tree()
        if path is None:
            return
        lines = self._whole_lines(path)
        if not lines:
            self._append({"settings": settings})
            return
        head, *further = (json.loads(line) for line in lines)
        if head["settings"] != settings:
            raise ValueError(f"{path} is of a run with {head['settings']}, not {settings}")
        for each in further:
            self._take(each)

    @staticmethod
    def _whole_lines(path: Path) -> list[str]:
        """Return what is in a file, and take off it what was not written to the end."""
        if not path.exists():
            return []
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        return whole.splitlines()

    def _take(self, each: dict[str, Any]) -> None:
        self.pieces.append(each["piece"])
        self.trees[each["tree"]] += 1

    def add(self, piece: dict[str, Any]) -> None:
        """Keep one more."""
        line = {"tree": self._tree, "piece": piece}
        self._take(line)
        self._append(line)

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")
