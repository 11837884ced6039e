"""Contenders measured in turn, and what their rounds say: medians, and ratios within the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from librats.cli.measuring.sample import Sample

__all__ = ["Contender", "Contest", "Row", "Sample", "Target", "at_least", "at_most"]


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those who are measured."""

    name: str
    measure: Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach."""

    limit: float
    is_floor: bool
    """True where the figure is to be at least as big, False where it is to be at most as big."""

    aim: float | None = None
    """What one would like to reach beyond that."""

    def reached_by(self, figure: float) -> bool:
        """Whether the figure is good enough."""
        return figure >= self.limit if self.is_floor else figure <= self.limit

    def __str__(self) -> str:
        """Show it as people write it."""
        text = f"{'>=' if self.is_floor else '<='} {self.limit:,g}"
        return text if self.aim is None else f"{text}, aim {self.aim:,g}"


def at_least(limit: float, aim: float | None = None) -> Target:
    """Return the target of a figure that is to be big."""
    return Target(limit, is_floor=True, aim=aim)


def at_most(limit: float, aim: float | None = None) -> Target:
    """Return the target of a figure that is to be small."""
    return Target(limit, is_floor=False, aim=aim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the result."""

    figure: str
    unit: str
    ours: float
    """Median over the rounds."""

    name: str = "librats"
    """What was measured; tells variants of librats apart."""

    rival: str | None = None
    """Beside whom, or None where the figure stands alone."""

    theirs: float | None = None
    ratio: float | None = None
    """Median over the rounds of ours divided by theirs."""

    low: float
    """Smallest ratio; of a figure that stands alone the smallest figure."""

    high: float
    rounds: int
    cpu_unit: str = ""
    cpu_ours: float | None = None
    cpu_theirs: float | None = None
    more_is_better: bool = True
    target: str = ""
    reached: bool | None = None
    """Whether the target was reached; None where there is none."""

    @property
    def verdict(self) -> str:
        """One word for it."""
        return {None: "", True: "pass", False: "SHORT"}[self.reached]


@dataclass(slots=True)
class Contest:
    """Contenders for one figure.

    Args:
        figure: Its name.
        unit: Its unit.
        contenders: Who is measured, in this order in even rounds and in the opposite order in odd ones.
        cpu_unit: Unit of their CPU times.
        more_is_better: False for times and memory.
    """

    figure: str
    unit: str
    contenders: Sequence[Contender]
    cpu_unit: str = ""
    more_is_better: bool = True
    rounds: list[dict[str, Sample]] = field(default_factory=list, kw_only=True)

    def run_round(self) -> None:
        """Measure every contender once."""
        turn = self.contenders if len(self.rounds) % 2 == 0 else self.contenders[::-1]
        self.rounds.append({contender.name: contender.measure() for contender in turn})

    def has(self, name: str) -> bool:
        """Whether somebody of that name takes part."""
        return any(contender.name == name for contender in self.contenders)

    def values(self, name: str) -> list[float]:
        """Return the contender's figure in each round."""
        return [samples[name].value for samples in self.rounds]

    def cpu(self, name: str) -> float | None:
        """Return the contender's median CPU time, or None where it was not measured."""
        times = [samples[name].cpu for samples in self.rounds]
        known = [time for time in times if time is not None]
        return statistics.median(known) if known else None

    def beside(self, rival: str, target: Target | None = None, *, name: str = "librats") -> Row:
        """Compare two contenders, round by round.

        Args:
            rival: Beside whom.
            target: What the median of the ratios is to reach.
            name: Who is compared.
        """
        ours, theirs = self.values(name), self.values(rival)
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        ratio = statistics.median(ratios)
        return Row(
            figure=self.figure,
            unit=self.unit,
            name=name,
            rival=rival,
            ours=statistics.median(ours),
            theirs=statistics.median(theirs),
            ratio=ratio,
            low=min(ratios),
            high=max(ratios),
            rounds=len(ratios),
            cpu_unit=self.cpu_unit,
            cpu_ours=self.cpu(name),
            cpu_theirs=self.cpu(rival),
            more_is_better=self.more_is_better,
            target="" if target is None else str(target),
            reached=None if target is None else target.reached_by(ratio),
        )

    def alone(self, target: Target | None = None, *, name: str = "librats") -> Row:
        """Tell a contender's figure by itself."""
        return self._alone(self.figure, self.unit, self.values(name), name, target, more_is_better=self.more_is_better)

    def cpu_alone(self, target: Target | None = None, *, name: str = "librats") -> Row:
        """Tell a contender's CPU time by itself."""
        times = [time for samples in self.rounds if (time := samples[name].cpu) is not None]
        return self._alone(f"{self.figure}: CPU", self.cpu_unit, times, name, target, more_is_better=False)

    @staticmethod
    def _alone(
        figure: str, unit: str, values: list[float], name: str, target: Target | None, *, more_is_better: bool
    ) -> Row:
        median = statistics.median(values)
        return Row(
            figure=figure,
            unit=unit,
            name=name,
            ours=median,
            low=min(values),
            high=max(values),
            rounds=len(values),
            more_is_better=more_is_better,
            target="" if target is None else str(target),
            reached=None if target is None else target.reached_by(median),
        )
