from __future__ import annotations

import pytest

from librats.stun.verdicts import Allocation, allocation_of, mapping_of
from librats.types import Address, MappingBehavior, PortAllocation

A, A2, B = Address("192.0.2.1", 1), Address("192.0.2.1", 2), Address("192.0.2.2", 1)
ONE, TWO, THREE = (Address("203.0.113.9", port) for port in (1001, 1002, 1003))


@pytest.mark.parametrize(
    ("seen", "mapping"),
    [
        ({}, MappingBehavior.UNKNOWN),
        ({A: ONE}, MappingBehavior.UNKNOWN),
        ({A: ONE, A2: ONE}, MappingBehavior.UNKNOWN),
        ({A: ONE, B: ONE}, MappingBehavior.ENDPOINT_INDEPENDENT),
        ({A: ONE, B: TWO}, MappingBehavior.DEPENDENT),
        ({A: ONE, A2: ONE, B: TWO}, MappingBehavior.ADDRESS_DEPENDENT),
        ({A: ONE, A2: TWO, B: THREE}, MappingBehavior.ADDRESS_AND_PORT_DEPENDENT),
        ({A: ONE, A2: TWO}, MappingBehavior.ADDRESS_AND_PORT_DEPENDENT),
        ({A: ONE, B: Address("203.0.113.10", 1001)}, MappingBehavior.DEPENDENT),
    ],
)
def test_mapping_follows_from_what_servers_see(seen: dict[Address, Address], mapping: MappingBehavior) -> None:
    assert mapping_of(seen) is mapping


@pytest.mark.parametrize(
    ("ports", "kind", "step"),
    [
        ([], PortAllocation.UNKNOWN, None),
        ([1, 2], PortAllocation.UNKNOWN, None),
        ([100, 101, 102, 103, 104], PortAllocation.SEQUENTIAL, 1),
        ([100, 102, 104, 106, 108], PortAllocation.SEQUENTIAL, 2),
        ([108, 107, 106, 105, 104], PortAllocation.SEQUENTIAL, -1),
        ([100, 101, 105, 103, 104], PortAllocation.SEQUENTIAL, 1),
        ([100, 101, 104, 105, 106], PortAllocation.SEQUENTIAL, 1),
        ([100, 9000, 102, 103, 104], PortAllocation.RANDOM, None),
        ([7, 7, 7, 7, 7], PortAllocation.RANDOM, None),
    ],
)
def test_ports_make_a_pattern_or_none(ports: list[int], kind: PortAllocation, step: int | None) -> None:
    assert allocation_of([(50000 + n, port) for n, port in enumerate(ports)]) == Allocation(kind, step)


def test_one_port_that_is_taken_does_not_hide_that_ports_are_kept() -> None:
    ports = [(50000, 50000), (50001, 50001), (50002, 1024), (50003, 50003), (50004, 50004)]
    assert allocation_of(ports) == Allocation(PortAllocation.PRESERVING)
