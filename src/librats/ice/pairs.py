"""Pairs of a base of ours and a candidate of the peer's, and what is known of each (RFC 8445, 6.1.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from librats.ice.bases import Base
from librats.ice.candidates import IceCandidate, TcpType, comparable, pair_priority
from librats.ice.events import IceRole, Path
from librats.types import Address

__all__ = ["CandidatePair", "PairState", "PairStatistics", "destination_of", "may_pair"]

COMPONENT = 1


class PairState(StrEnum):
    """What is known of a pair (RFC 8445, 6.1.2.6)."""

    FROZEN = "frozen"
    """It waits for one that is like it."""

    WAITING = "waiting"
    """It is going to be checked."""

    IN_PROGRESS = "in-progress"
    """A check is on its way."""

    SUCCEEDED = "succeeded"
    """It works."""

    FAILED = "failed"
    """It does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairStatistics:
    """What was seen of a pair."""

    local: IceCandidate
    """This side's candidate: where the peer sees us, once that is known."""

    remote: IceCandidate
    """The peer's candidate."""

    state: PairState
    """What is known of it."""

    priority: int
    """Higher is better."""

    nominated: bool
    """Whether it was nominated."""

    selected: bool
    """Whether data goes this way now."""

    requests_sent: int
    """Checks that were sent, each as often as it was sent, those that renew consent included."""

    requests_received: int
    """The peer's checks."""

    responses_received: int
    """Its answers to ours."""

    rtt: float | None
    """Seconds from the last check that was answered at once to its answer; None where there was none."""

    problem: str
    """Why it has failed; empty where it has not."""


@dataclass(slots=True, eq=False)
class CandidatePair:
    """A base of ours and a candidate of the peer's."""

    base: Base
    remote: IceCandidate
    destination: Address
    priority: int = 0
    is_unlikely: bool = False
    """Whether it is checked after all others: the peer seems to be in another network."""
    state: PairState = PairState.FROZEN
    mapped: IceCandidate | None = None
    """Where the peer sees us, once it works."""
    nominated: bool = False
    was_nominated: bool = False
    """Whether the peer, which controls, has nominated it, whatever came of that."""
    checked_at: float = 0.0
    """When the peer's last check has come."""
    nominate_on_success: int | None = None
    """The peer's nomination that came before the pair worked."""
    nominating: bool = False
    """Whether the check on its way nominates it."""
    valid_since: float | None = None
    answered_at: float = 0.0
    """When the peer's last authenticated answer has come."""
    transaction: bytes | None = None
    """Id of the check on its way."""
    requests_sent: int = 0
    requests_received: int = 0
    responses_received: int = 0
    rtt: float | None = None
    problem: str = ""
    _key: tuple[int, Address] = field(init=False)

    def __post_init__(self) -> None:
        """Note what it is known by."""
        self._key = (self.base.number, comparable(self.destination))

    @property
    def key(self) -> tuple[int, Address]:
        """What it is known by: number of the base, and the peer's address."""
        return self._key

    @property
    def foundation(self) -> str:
        """Equal for pairs that work, or fail, together."""
        return f"{self.base.candidate.foundation}:{self.remote.foundation}"

    @property
    def path(self) -> Path:
        """Where data goes."""
        return Path(self.base.number, self.destination)

    @property
    def is_relayed(self) -> bool:
        """Whether a relay lies on it, as far as is known."""
        return self.base.is_relayed or self.remote.is_relayed

    @property
    def is_open(self) -> bool:
        """Whether it may yet be found to work."""
        return self.state in (PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS)

    @property
    def is_valid(self) -> bool:
        """Whether it works."""
        return self.state is PairState.SUCCEEDED

    def prioritise(self, role: IceRole) -> None:
        """Compute the priority (RFC 8445, 6.1.2.3)."""
        ours, theirs = self.base.candidate.priority, self.remote.priority
        controls = role is IceRole.CONTROLLING
        self.priority = pair_priority(ours, theirs) if controls else pair_priority(theirs, ours)

    def statistics(self, selected: CandidatePair | None) -> PairStatistics:
        """Return what was seen of it."""
        return PairStatistics(
            local=self.mapped or self.base.candidate,
            remote=self.remote,
            state=self.state,
            priority=self.priority,
            nominated=self.nominated,
            selected=self is selected,
            requests_sent=self.requests_sent,
            requests_received=self.requests_received,
            responses_received=self.responses_received,
            rtt=self.rtt,
            problem=self.problem,
        )


def may_pair(base: Base, remote: IceCandidate) -> bool:
    """Tell whether a base and a candidate make a pair (RFC 8445, 6.1.2.2; RFC 6544, 6.2)."""
    local = base.candidate
    if remote.component != COMPONENT or remote.transport != local.transport or remote.family != local.family:
        return False
    if _is_link_local(local) != _is_link_local(remote) and local.family == 6:  # noqa: PLR2004 - IPv6
        return False
    if local.tcp_type is None:
        return True
    # What is passive waits to be connected to, and then has learnt of the peer's address.
    return local.tcp_type is not TcpType.PASSIVE and remote.tcp_type is local.tcp_type.counterpart


def destination_of(base: Base, remote: IceCandidate) -> Address:
    """Return where to send: a link-local address needs the zone of our own."""
    zone = base.candidate.address.host.partition("%")[2]
    if zone and _is_link_local(remote):
        return Address(f"{remote.address.host}%{zone}", remote.address.port)
    return remote.address


def _is_link_local(candidate: IceCandidate) -> bool:
    return candidate.family == 6 and candidate.address.host.lower().startswith(("fe8", "fe9", "fea", "feb"))  # noqa: PLR2004
