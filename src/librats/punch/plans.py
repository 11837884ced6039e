"""Which technique joins two NATs, and which side does which part of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from msgspec import Struct, structs

from librats.errors import DecodeError
from librats.types import FilteringBehavior, MappingBehavior, NatType, NatTypeInfo, PortAllocation

__all__ = [
    "NatFacts",
    "Plan",
    "PunchPart",
    "PunchReason",
    "PunchTechnique",
    "choose_plans",
    "may_meet",
    "why_not",
]

MAX_STEP = 256

E = TypeVar("E", bound=StrEnum)


class PunchTechnique(StrEnum):
    """How a way is made."""

    SIMULTANEOUS = "simultaneous"
    """Both send to the address at which the other was seen, at the same time."""

    PREDICTION = "prediction"
    """One side's NAT gives every destination a public port of its own, one after the other: the next ones are
    foretold."""

    BIRTHDAY = "birthday"
    """One side's NAT does so at random: that side opens many, and the other one tries many, until two meet."""

    TCP = "tcp"
    """Both connect to each other at the same time, and listen as well (RFC 6544; RFC 9293, 3.5)."""


class PunchPart(StrEnum):
    """What a side does."""

    MEET = "meet"
    """The same as the other one."""

    OPEN = "open"
    """Have the ports that the other one looks for."""

    PROBE = "probe"
    """Look for the other one's ports."""


class PunchReason(StrEnum):
    """Why there is no way."""

    UDP_BLOCKED = "udp-blocked"
    """No datagrams get through to one of the sides, and TCP does not help: the other side's ports cannot be known."""

    UNPREDICTABLE = "unpredictable-ports"
    """Both sides' public ports are unknown to the other, and at least one side's are random: some ten thousand
    datagrams would not do."""

    NO_ADDRESS = "no-address"
    """One of the sides does not know where it is seen: no STUN server has answered."""

    REFUSED = "refused-address"
    """The peer named only addresses that must not be sent to."""

    PEER_SILENT = "peer-silent"
    """The peer has said nothing in time."""

    PEER_GAVE_UP = "peer-gave-up"
    """The peer has ended it."""

    NO_ANSWER = "no-answer"
    """Everything was tried, and nothing came."""

    OUT_OF_BUDGET = "out-of-budget"
    """The datagrams or seconds that it may cost were used up."""

    NOT_NEEDED = "not-needed"
    """Another way was there first, or nobody waits any more."""

    LIMITED = "limited"
    """The peer was asked to punch too often."""


_UNRELATED = frozenset({PortAllocation.RANDOM, PortAllocation.SEQUENTIAL})
_HARD = frozenset(
    {MappingBehavior.ADDRESS_DEPENDENT, MappingBehavior.ADDRESS_AND_PORT_DEPENDENT, MappingBehavior.DEPENDENT}
)


class NatFacts(Struct, frozen=True, kw_only=True):
    """What one side's NAT does, as far as it matters here.

    Example:
        >>> NatFacts.from_json({"mapping": "dependent", "ports": "sequential", "step": 2}).is_predictable
        True
    """

    mapping: MappingBehavior = MappingBehavior.UNKNOWN
    """Whether a socket has one public address or many."""

    filtering: FilteringBehavior = FilteringBehavior.UNKNOWN
    """Who can send to it."""

    ports: PortAllocation = PortAllocation.UNKNOWN
    """How public ports are chosen."""

    step: int | None = None
    """From each to the next, where they are chosen one after the other."""

    udp: bool = True
    """Whether datagrams get through at all."""

    @classmethod
    def of(cls, info: NatTypeInfo) -> NatFacts:
        """Take what was measured."""
        step = info.port_step
        return cls(
            mapping=info.mapping,
            filtering=info.filtering,
            ports=info.port_allocation,
            step=step if step is not None and 0 < abs(step) <= MAX_STEP else None,
            udp=info.type is not NatType.BLOCKED,
        )

    @property
    def is_hard(self) -> bool:
        """Whether the peer cannot know the public port of what is sent to it."""
        return self.mapping in _HARD

    @property
    def is_predictable(self) -> bool:
        """Whether it can foretell it."""
        return self.is_hard and self.ports is PortAllocation.SEQUENTIAL

    @property
    def at_worst(self) -> NatFacts:
        """What is likely where one server alone was asked: it cannot tell whether the peer's is another address.

        NATs that give each socket a port which has nothing to do with its own mostly give each destination one, too.
        """
        is_likely = self.mapping is MappingBehavior.UNKNOWN and self.ports in _UNRELATED
        return structs.replace(self, mapping=MappingBehavior.DEPENDENT) if is_likely else self

    @property
    def lets_anyone_in(self) -> bool:
        """Whether the address that a STUN server has seen is good for everybody."""
        return self.filtering is FilteringBehavior.ENDPOINT_INDEPENDENT

    @property
    def lets_hosts_in(self) -> bool:
        """Whether a host that was sent to may send from any port."""
        return self.lets_anyone_in or self.filtering is FilteringBehavior.ADDRESS_DEPENDENT

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary that JSON can hold."""
        return {
            "mapping": str(self.mapping),
            "filtering": str(self.filtering),
            "ports": str(self.ports),
            "step": self.step,
            "udp": self.udp,
        }

    @classmethod
    def from_json(cls, value: object) -> NatFacts:
        """Read what a peer has sent; words that are not known count as unknown.

        Raises:
            DecodeError: It is no dictionary, or a value is of another type.
        """
        if not isinstance(value, Mapping):
            raise DecodeError("punching: nat is no dictionary")
        step, udp = value.get("step"), value.get("udp", True)
        if not (step is None or (type(step) is int and 0 < abs(step) <= MAX_STEP)) or not isinstance(udp, bool):
            raise DecodeError("punching: nat has a step or udp that cannot be")
        return cls(
            mapping=_known(MappingBehavior, value.get("mapping")),
            filtering=_known(FilteringBehavior, value.get("filtering")),
            ports=_known(PortAllocation, value.get("ports")),
            step=step,
            udp=udp,
        )


def _known(kind: type[E], value: object) -> E:
    try:
        return kind(str(value))
    except ValueError:
        return kind("unknown")


class Plan(Struct, frozen=True):
    """One technique, and this side's part in it."""

    technique: PunchTechnique
    part: PunchPart
    rounds: int | None = None
    """For how many rounds at the most; None for as many as both sides want."""


def choose_plans(local: NatFacts, remote: NatFacts, *, leads: bool, near: bool = False, tcp: bool = True) -> list[Plan]:
    """Return what may join two sides, the likeliest first; nothing where nothing may, and :func:`why_not` tells why.

    Both sides come to the same techniques, each with its own part.

    Args:
        local: This side's NAT.
        remote: The peer's.
        leads: Whether this side leads, which decides where either could do either part.
        near: Whether the two may be in one network, or have addresses that no NAT translates.
        tcp: Whether both sides can use TCP.

    Example:
        >>> cone = NatFacts(mapping="endpoint-independent", filtering="address-and-port-dependent")
        >>> symmetric = NatFacts(mapping="address-and-port-dependent", ports="random")
        >>> [(plan.technique.value, plan.part.value) for plan in choose_plans(cone, symmetric, leads=True)]
        [('birthday', 'probe')]
    """
    likely = local.at_worst, remote.at_worst
    once = 1 if likely != (local, remote) else None  # before what is likelier
    plans = []
    if local.udp and remote.udp:
        sure = _over_udp(local, remote, leads=leads, near=near)
        plans = [structs.replace(plan, rounds=once) for plan in sure]
        tried = {plan.technique for plan in sure}
        plans += [plan for plan in _over_udp(*likely, leads=leads, near=near) if plan.technique not in tried]
    sure_part, part = _over_tcp(local, remote), _over_tcp(*likely)
    if tcp and (part or sure_part):
        plans.append(Plan(PunchTechnique.TCP, part or sure_part or PunchPart.MEET, None if part else 1))
    return plans


def why_not(local: NatFacts, remote: NatFacts) -> PunchReason:
    """Return why :func:`choose_plans` finds nothing."""
    return PunchReason.UNPREDICTABLE if local.udp and remote.udp else PunchReason.UDP_BLOCKED


def may_meet(one: NatFacts, other: NatFacts) -> bool:
    """Return whether the checks of ICE may do, as far as is known: each goes to where servers have seen the other side.

    Example:
        >>> symmetric = NatFacts(mapping=MappingBehavior.ADDRESS_AND_PORT_DEPENDENT)
        >>> may_meet(symmetric, NatFacts(filtering=FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT))
        False
        >>> may_meet(symmetric, NatFacts(filtering=FilteringBehavior.ADDRESS_DEPENDENT))
        True
    """
    return one.udp and other.udp and _addresses_do(one, other)


def _addresses_do(one: NatFacts, other: NatFacts) -> bool:
    """Whether it is enough to send to where servers saw the other."""
    if not one.is_hard and not other.is_hard:
        return True
    if one.lets_anyone_in or other.lets_anyone_in:
        return True
    easy = other if one.is_hard else one
    return not easy.is_hard and easy.lets_hosts_in


def _over_udp(local: NatFacts, remote: NatFacts, *, leads: bool, near: bool) -> list[Plan]:
    plans = []
    if near or _addresses_do(local, remote):
        plans.append(Plan(PunchTechnique.SIMULTANEOUS, PunchPart.MEET))
    if local.is_predictable and remote.is_predictable:
        plans.append(Plan(PunchTechnique.PREDICTION, PunchPart.MEET))
    elif local.is_predictable and not remote.is_hard:
        plans.append(Plan(PunchTechnique.PREDICTION, PunchPart.OPEN))
    elif remote.is_predictable and not local.is_hard:
        plans.append(Plan(PunchTechnique.PREDICTION, PunchPart.PROBE))
    return plans + _chances(local, remote, leads=leads)


def _over_tcp(local: NatFacts, remote: NatFacts) -> PunchPart | None:
    """Return what this side does where connections may meet: NATs mostly choose ports for TCP as they do for UDP."""
    if _addresses_do(local, remote):
        return PunchPart.MEET
    if local.is_predictable and not remote.is_hard:
        return PunchPart.OPEN
    return PunchPart.PROBE if remote.is_predictable and not local.is_hard else None


def _chances(local: NatFacts, remote: NatFacts, *, leads: bool) -> list[Plan]:
    """Return birthday punching, where one side can have ports that the other one may find."""
    can_probe = remote.is_hard and _can_find(local, remote)
    can_open = local.is_hard and _can_find(remote, local)
    if not (can_probe or can_open):
        return []
    part = PunchPart.PROBE if can_probe and (leads or not can_open) else PunchPart.OPEN
    return [Plan(PunchTechnique.BIRTHDAY, part)]


def _can_find(prober: NatFacts, opener: NatFacts) -> bool:
    """Whether what a side sends to a port of the other's is let in there, where the port is right."""
    return not prober.is_hard or opener.lets_hosts_in
