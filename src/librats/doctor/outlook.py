"""With whom this host can go direct, by the NAT of the other side."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from librats.doctor.seen import NetworkSeen
from librats.punch.plans import NatFacts, PunchTechnique, choose_plans, why_not
from librats.types import FilteringBehavior, MappingBehavior, NatType, PortAllocation

__all__ = ["PeerOutlook", "PeerWay"]

_EI, _AD = FilteringBehavior.ENDPOINT_INDEPENDENT, FilteringBehavior.ADDRESS_DEPENDENT
_APD = FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT
_CONE, _SYMMETRIC = MappingBehavior.ENDPOINT_INDEPENDENT, MappingBehavior.ADDRESS_AND_PORT_DEPENDENT

PEERS: tuple[tuple[str, NatFacts], ...] = (
    ("open internet, full cone", NatFacts(mapping=_CONE, filtering=_EI, ports=PortAllocation.PRESERVING)),
    ("restricted cone", NatFacts(mapping=_CONE, filtering=_AD, ports=PortAllocation.PRESERVING)),
    ("port restricted cone, firewall", NatFacts(mapping=_CONE, filtering=_APD, ports=PortAllocation.PRESERVING)),
    (
        "symmetric, ports in sequence",
        NatFacts(mapping=_SYMMETRIC, filtering=_APD, ports=PortAllocation.SEQUENTIAL, step=1),
    ),
    ("symmetric, ports at random", NatFacts(mapping=_SYMMETRIC, filtering=_APD, ports=PortAllocation.RANDOM)),
    ("UDP blocked", NatFacts(mapping=_CONE, filtering=_APD, udp=False)),
)


class PeerWay(StrEnum):
    """How a peer is reached."""

    DIRECT = "direct"
    """Both send to where servers saw the other."""

    PREDICTED = "predicted"
    """A public port has to be foretold, which may take several tries."""

    CHANCE = "chance"
    """Many ports have to be tried: some seconds, and it does not always work."""

    TCP = "tcp"
    """Over TCP, opened from both sides at once."""

    RELAY = "relay"
    """Through a relay alone."""


WAYS = {
    PunchTechnique.SIMULTANEOUS: PeerWay.DIRECT,
    PunchTechnique.PREDICTION: PeerWay.PREDICTED,
    PunchTechnique.BIRTHDAY: PeerWay.CHANCE,
    PunchTechnique.TCP: PeerWay.TCP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOutlook:
    """How peers behind one kind of NAT are reached."""

    peer: str
    """What stands in front of the peer."""

    way: PeerWay
    """How it is reached."""

    why: str = ""
    """Why there is no direct way: the reason code of hole punching; empty where there is one."""


def outlooks(seen: NetworkSeen) -> tuple[PeerOutlook, ...]:
    """Return how peers behind each kind of NAT are reached over IPv4."""
    own = NatFacts.of(seen.ipv4)
    if seen.mapping is not None and seen.mapping.is_public and own.udp:
        own = NatFacts(mapping=_CONE, filtering=_EI, ports=PortAllocation.PRESERVING)
    tcp_works = seen.ipv4.type is not NatType.BLOCKED or any(one.gets_through for one in seen.tcp)
    if not tcp_works:
        return ()
    return tuple(_outlook(name, own, peer) for name, peer in PEERS)


def _outlook(name: str, own: NatFacts, peer: NatFacts) -> PeerOutlook:
    plans = choose_plans(own, peer, leads=True)
    if not plans:
        return PeerOutlook(peer=name, way=PeerWay.RELAY, why=why_not(own, peer).value)
    return PeerOutlook(peer=name, way=WAYS[plans[0].technique])
