"""What was measured: each try, and what it comes to for a cell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Results", "Summary", "Try"]


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt to connect."""

    ok: bool
    """Whether there was a session, and an answer over it."""

    seconds: float
    """From the start of the attempt, by a client that has just started itself, to the session, or to giving up."""

    introduced: float = 0.0
    """The part of it after the client's introducer was there; 0 where that is not known."""

    reply: float = 0.0
    """From the session to the answer over it."""

    way: str = ""
    """The method, or technique, and whether a relay is on the way."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the tries of a cell come to; times are medians of those that connected."""

    tries: int
    connected: int
    seconds: float
    introduced: float
    slowest: float
    ways: str
    errors: str

    @classmethod
    def of(cls, tries: Sequence[Try]) -> Summary:
        good = [each for each in tries if each.ok]
        return cls(
            tries=len(tries),
            connected=len(good),
            seconds=median([each.seconds for each in good]) if good else 0.0,
            introduced=median([each.introduced for each in good]) if good else 0.0,
            slowest=max([each.seconds for each in good], default=0.0),
            ways=_most(each.way for each in good),
            errors=_most(each.error for each in tries if not each.ok),
        )


def _most(words: Any) -> str:
    counted = Counter(words).most_common()
    return ", ".join(word if len(counted) == 1 else f"{word} {count}" for word, count in counted)


@dataclass
class Results:
    """A run, as it is kept in a file: by mode, by cell, the tries.

    Args:
        settings: What every try of it shares.
    """

    settings: dict[str, Any]
    tries: dict[str, dict[str, list[Try]]] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)
    """How many processes wanted a CPU, at the start of each cell."""

    def of(self, mode: str, cell: str) -> list[Try]:
        """Return the tries of a cell; further ones may be added to them."""
        return self.tries.setdefault(mode, {}).setdefault(cell, [])

    @classmethod
    def read(cls, path: Path, settings: dict[str, Any] | None = None) -> Results:
        """Return what an interrupted run has left, or nothing yet.

        Args:
            path: The file.
            settings: Those of the run that goes on; None where none does.

        Raises:
            ValueError: It was another kind of run, or there is none and none goes on.
        """
        if not path.exists():
            if settings is None:
                raise ValueError(f"there is no {path}")
            return cls(settings)
        kept = json.loads(path.read_text(encoding="utf-8"))
        if settings is None:
            settings = kept["settings"]
        elif kept["settings"] != settings:
            raise ValueError(f"{path} is of a run with {kept['settings']}, not {settings}")
        tries = {
            mode: {cell: [Try(**each) for each in listed] for cell, listed in cells.items()}
            for mode, cells in kept["tries"].items()
        }
        return cls(settings, tries, kept["loads"])

    def write(self, path: Path) -> None:
        """Keep it, whole whenever the program is killed."""
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        beside.replace(path)
