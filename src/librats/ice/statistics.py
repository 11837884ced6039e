"""What an ICE agent has seen, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from librats.ice.candidates import IceCandidate
from librats.ice.events import IceRole, IceState
from librats.ice.pairs import PairStatistics

__all__ = ["IceStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IceStatistics:
    """What an agent has seen."""

    state: IceState
    """How far it is."""

    role: IceRole
    """Its role, which may be another one than it was made with."""

    problem: str
    """Why it has failed; empty where it has not."""

    pairs: tuple[PairStatistics, ...]
    """Every pair of this round, the best first."""

    local_candidates: tuple[IceCandidate, ...]
    """This side's candidates."""

    remote_candidates: tuple[IceCandidate, ...]
    """The peer's, those included that were learnt from its checks."""

    refused: dict[str, str]
    """Addresses of the peer's that are not checked, and why."""

    pairs_left_out: int
    """Pairs that there was no room for."""

    ignored: int
    """Datagrams that claimed to belong to this agent and did not."""

    @property
    def selected(self) -> PairStatistics | None:
        """The pair that data goes over; None where there is none."""
        return next((pair for pair in self.pairs if pair.selected), None)
