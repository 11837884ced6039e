"""The techniques as schedules: what one side sends before the agreed start of a round, and from then on."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec import field as struct_field

from librats.punch.plans import Plan, PunchPart, PunchTechnique
from librats.punch.prediction import foretell
from librats.punch.settings import PunchSettings
from librats.punch.shots import Shot, at_each, at_random_ports, from_each, in_turn
from librats.types import Address, Entropy

__all__ = ["Round"]

FIRST_HOPS = 2
"""Routers that the first datagrams of the first round pass: this side's own, but not the peer's."""

AGAIN = 0.7
MOST_OTHERS = 3
OPENING_RATE = 2000.0
TCP_WINDOW = 12


class Round(Struct, frozen=True, kw_only=True):
    """One round of one side.

    Example:
        >>> meet = Round(plan=Plan(PunchTechnique.SIMULTANEOUS, PunchPart.MEET), number=1, leads=True,
        ...              targets=(Address("192.0.2.7", 9),))
        >>> meet.opening()
        [Shot(after=0.0, base=0, target=Address(host='192.0.2.7', port=9), hops=2)]
    """

    plan: Plan
    number: int
    """From 1 on."""

    leads: bool
    """Whether this side leads."""

    targets: tuple[Address, ...]
    """The peer's addresses that may be sent to, the public one first; where there is none, nothing is sent."""

    bases: Sequence[int] = (0,)
    """Numbers of this side's sockets."""

    step: int | None = None
    """How the peer's NAT was found to count."""

    settings: PunchSettings = struct_field(default_factory=PunchSettings)
    """The budget."""

    @property
    def hops(self) -> int:
        """How many routers pass on what opens this side's NAT.

        Only one side at a time goes further than in the first round: what comes too far meets the other side's NAT
        while that is not open yet.
        """
        further, whose_turn = divmod(self.number, 2)
        return FIRST_HOPS + (further if self.leads is (whose_turn == 0) else 0)

    @property
    def duration(self) -> float:
        """Seconds from the start until the round is over for the leader; the other side is told then."""
        settings, patience = self.settings, self.settings.patience
        match self.plan.technique:
            case PunchTechnique.BIRTHDAY:
                return settings.birthday_probes / settings.birthday_rate + patience
            case PunchTechnique.TCP:
                return settings.tcp_patience
        return patience

    def opening(self, ports: Sequence[int] = ()) -> list[Shot]:
        """Return what is sent before the start, to open this side's NAT without reaching the peer's.

        Args:
            ports: What the peer's NAT has given out last, as far as it is known.
        """
        if not self.targets:
            return []
        match self.plan.technique, self.plan.part:
            case PunchTechnique.BIRTHDAY, PunchPart.OPEN:
                opened = from_each(self.bases, self.targets[0], hops=self.hops, rate=OPENING_RATE)
                return [shot._replace(after=0.0) for shot in opened]
            case (PunchTechnique.BIRTHDAY, _) | (PunchTechnique.TCP, _):
                return []
            case PunchTechnique.PREDICTION, PunchPart.MEET:
                return [Shot(0.0, 0, target, self.hops) for target in self._foretold(ports)]
            case PunchTechnique.PREDICTION, PunchPart.PROBE:
                return []
            case _:
                return [Shot(0.0, 0, target, self.hops) for target in self.targets]

    def schedule(self, ports: Sequence[int], entropy: Entropy) -> Iterator[Shot]:
        """Return what is sent from the start on.

        Args:
            ports: What the peer's NAT has given out last.
            entropy: Decides about random ports.
        """
        settings, until = self.settings, self.duration
        if not self.targets or self.plan.technique is PunchTechnique.TCP:
            return iter(())
        match self.plan.technique, self.plan.part:
            case PunchTechnique.BIRTHDAY, PunchPart.OPEN:
                return self._openings(until)
            case PunchTechnique.BIRTHDAY, _:
                host, count, rate = self.targets[0].host, settings.birthday_probes, settings.birthday_rate
                return at_random_ports(host, count, rate=rate, entropy=entropy)
            case PunchTechnique.PREDICTION, PunchPart.PROBE | PunchPart.MEET:
                foretold = [target.port for target in self._foretold(ports)]
                return in_turn(self.targets[0].host, foretold, interval=settings.interval, until=until)
            case _:
                return at_each(self.targets, interval=settings.interval, until=until)

    def connections(self, ports: Sequence[int]) -> list[Address]:
        """Return where connections are dialled to.

        Args:
            ports: What the peer's NAT has given out last.
        """
        if self.plan.part is not PunchPart.PROBE or not self.targets:
            return list(self.targets)
        return [*self.targets[:1], *self._foretold(ports)[:TCP_WINDOW]]

    def _foretold(self, ports: Sequence[int]) -> list[Address]:
        """Return where the peer will be seen.

        Where both sides' ports are foretold, each datagram of a side makes a new one, too: the leader takes every
        second step, so that the two meet at one of them whatever others have taken meanwhile.
        """
        prediction = foretell(ports, step=self.step)
        if prediction is None:
            return []
        stride = 2 if self.plan.part is PunchPart.MEET and self.leads else 1
        host = self.targets[0].host
        size = round(self.settings.window * (1 + min(prediction.others, MOST_OTHERS)))
        return [Address(host, port) for port in prediction.window(size, stride=stride)]

    def _openings(self, until: float) -> Iterator[Shot]:
        """Keep every socket's port open; half-way through, through whatever routers of this side there are.

        The first socket sends as usual all the time: many NATs let in a host that was sent to, and do not tell.
        """
        settings, target = self.settings, self.targets[0]
        half = settings.birthday_probes / settings.birthday_rate / 2
        parts: Iterable[Iterator[Shot]] = (
            at_each([target], interval=4 * settings.interval, until=until),
            from_each(self.bases, target, hops=self.hops, rate=OPENING_RATE, after=AGAIN),
            from_each(self.bases, target, hops=0, rate=OPENING_RATE, after=half),
        )
        return heapq.merge(*parts, key=lambda shot: shot.after)
