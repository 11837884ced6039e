"""What a relay did, summed over its threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from librats.stun.constants import REASONS, Method

__all__ = ["FleetStatistics", "RelayStatistics", "sum_statistics"]


class FleetStatistics(NamedTuple):
    """The fleet as a relay sees it."""

    relays: int
    """Relays that are there, this one among them."""

    failures: int
    """Times that the server, through which they share quotas, did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatistics:
    """Counters since the start, and what there is now."""

    allocations: int
    """Allocations now."""

    users: dict[str, int]
    """Allocations now, by user."""

    connections: int
    """TCP and TLS connections now."""

    draining: bool
    """Whether nothing new is allocated any more."""

    answers: dict[tuple[str, int], int]
    """Answers by method and error code; code 0 is success."""

    malformed: int
    """Messages to the relay itself that were none."""

    unanswered: int
    """Requests without credentials that got no answer because their source had had enough."""

    failures: int
    """Requests that were dropped because of an error that nobody foresaw; the log has them."""

    plane: dict[str, int]
    """What the data planes counted: see :meth:`librats._core.relay.Plane.statistics`."""

    fleet: FleetStatistics | None = None
    """The fleet; None where it belongs to none."""

    carried: dict[str, int] = field(default_factory=dict)
    """Sessions of introduced nodes that are carried ``now``, how many were ``carried``, ``carried_bytes``, and how
    often each limit has ended one; empty where none are."""

    @property
    def packets(self) -> int:
        """Packets relayed, both directions."""
        return self.plane.get("to_peer", 0) + self.plane.get("to_client", 0)

    @property
    def bytes(self) -> int:
        """Bytes relayed, both directions."""
        return self.plane.get("to_peer_bytes", 0) + self.plane.get("to_client_bytes", 0)

    @property
    def dropped(self) -> dict[str, int]:
        """Packets that were not relayed, by reason."""
        return {name.removeprefix("dropped_"): n for name, n in self.plane.items() if name.startswith("dropped_")}

    def as_event(self) -> dict[str, object]:
        """Return the figures as JSON takes them."""
        return {
            "allocations": self.allocations,
            "users": len(self.users),
            "connections": self.connections,
            "draining": self.draining,
            "packets": self.packets,
            "bytes": self.bytes,
            "dropped": {name: n for name, n in self.dropped.items() if n},
            "answers": {
                f"{method} {code} {REASONS.get(code, '')}".strip() if code else method: n
                for (method, code), n in sorted(self.answers.items())
            },
            "malformed": self.malformed,
            "unanswered": self.unanswered,
            "failures": self.failures,
            **({} if self.fleet is None else {"fleet": self.fleet._asdict()}),
            **({"carried": self.carried} if self.carried else {}),
        }


class Answering(Protocol):
    """What answers requests, and counts that."""

    @property
    def answers(self) -> Mapping[tuple[int, int], int]:
        """How many answers were given, by method and error code."""

    @property
    def malformed(self) -> int:
        """Messages that were none."""

    @property
    def unanswered(self) -> int:
        """Requests of sources that had had enough."""


def sum_statistics(
    answering: Iterable[Answering],
    planes: Iterable[dict[str, int]],
    *,
    users: dict[str, int],
    connections: int,
    failures: int,
    draining: bool,
    fleet: FleetStatistics | None = None,
    carried: dict[str, int] | None = None,
) -> RelayStatistics:
    """Return the sum over several threads."""
    plane: Counter[str] = Counter()
    for counted in planes:
        plane.update(counted)
    answers: Counter[tuple[str, int]] = Counter()
    malformed = unanswered = 0
    for each in answering:
        malformed += each.malformed
        unanswered += each.unanswered
        for (method, code), count in list(each.answers.items()):
            answers[_name(method), int(code)] += count
    return RelayStatistics(
        allocations=sum(users.values()),
        users=users,
        connections=connections,
        failures=failures,
        draining=draining,
        answers=dict(answers),
        malformed=malformed,
        unanswered=unanswered,
        plane=dict(plane),
        fleet=fleet,
        carried=carried or {},
    )


def _name(method: int) -> str:
    try:
        return Method(method).name.lower()
    except ValueError:
        return "unknown"
