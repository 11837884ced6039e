"""What answers of STUN servers say of the NAT in between (RFC 4787, RFC 5780): functions of what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from librats.types import Address, FilteringBehavior, MappingBehavior, NatType, PortAllocation

__all__ = ["Allocation", "allocation_of", "mapping_of", "nat_type_of"]

MIN_PORTS = 3
"""Fewer sockets than that make no pattern."""

MAX_STEP = 24
"""Ports of sockets opened one after the other that lie further apart than that are no sequence."""


def mapping_of(seen: Mapping[Address, Address]) -> MappingBehavior:
    """Tell how a NAT maps, from where each server address has seen one and the same socket.

    Example:
        >>> a, b, c = (Address("192.0.2.1", 1), Address("192.0.2.2", 1), Address("192.0.2.2", 2))
        >>> one, two = Address("203.0.113.9", 5000), Address("203.0.113.9", 5001)
        >>> str(mapping_of({a: one, b: two, c: two}))
        'address-dependent'
        >>> str(mapping_of({a: one, b: two}))
        'dependent'
    """
    if len(set(seen.values())) <= 1:
        hosts = {server.host for server in seen}
        return MappingBehavior.ENDPOINT_INDEPENDENT if len(hosts) > 1 else MappingBehavior.UNKNOWN
    ports_of_one_host = [
        seen[first] == seen[second] for first, second in combinations(seen, 2) if first.host == second.host
    ]
    if not ports_of_one_host:
        return MappingBehavior.DEPENDENT
    if all(ports_of_one_host):
        return MappingBehavior.ADDRESS_DEPENDENT
    return MappingBehavior.ADDRESS_AND_PORT_DEPENDENT


class Allocation(NamedTuple):
    """How public ports are chosen."""

    kind: PortAllocation
    step: int | None = None


def allocation_of(ports: Sequence[tuple[int, int]]) -> Allocation:
    """Tell how a NAT chooses ports, from own and public port of sockets in the order in which they first sent.

    Example:
        >>> allocation_of([(5000, 41000), (5007, 41002), (5003, 41004)])
        Allocation(kind=<PortAllocation.SEQUENTIAL: 'sequential'>, step=2)
    """
    if len(ports) < MIN_PORTS:
        return Allocation(PortAllocation.UNKNOWN)
    if sum(own == public for own, public in ports) * 2 > len(ports):
        return Allocation(PortAllocation.PRESERVING)
    public_ports = [public for _, public in ports]
    # Sorted, because a datagram that was lost or overtaken has been given its port later than the others.
    gaps = [after - before for before, after in pairwise(sorted(public_ports))]
    if not all(0 < gap <= MAX_STEP for gap in gaps):
        return Allocation(PortAllocation.RANDOM)
    rises = sum(after > before for before, after in pairwise(public_ports))
    direction = 1 if rises * 2 >= len(gaps) else -1
    # Of gaps seen equally often the smallest: somebody else's sockets make them wider, never narrower.
    counted = Counter(gaps)
    step = min(counted, key=lambda gap: (-counted[gap], gap))
    return Allocation(PortAllocation.SEQUENTIAL, direction * step)


def nat_type_of(has_nat: bool, mapping: MappingBehavior, filtering: FilteringBehavior) -> NatType:
    """Put what was found into one word."""
    if not has_nat:
        if filtering is FilteringBehavior.UNKNOWN:
            return NatType.UNKNOWN
        is_open = filtering is FilteringBehavior.ENDPOINT_INDEPENDENT
        return NatType.OPEN_INTERNET if is_open else NatType.FIREWALL
    if mapping is MappingBehavior.UNKNOWN:
        return NatType.UNKNOWN
    if mapping is not MappingBehavior.ENDPOINT_INDEPENDENT:
        return NatType.SYMMETRIC
    return {
        FilteringBehavior.ENDPOINT_INDEPENDENT: NatType.FULL_CONE,
        FilteringBehavior.ADDRESS_DEPENDENT: NatType.RESTRICTED_CONE,
        FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT: NatType.PORT_RESTRICTED_CONE,
    }.get(filtering, NatType.CONE)
