"""What one measurement gives: by itself, for the processes that are measured import it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave."""

    value: float
    """The figure, in the contest's unit."""

    cpu: float | None = None
    """CPU time of all processes for one message, byte or operation, in the contest's unit for it."""
