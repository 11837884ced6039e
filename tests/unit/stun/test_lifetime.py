from __future__ import annotations

import pytest
from tests.unit.stun.scripted import A1, FOUR, Nat, SeededEntropy, World

from librats import UsageError
from librats.stun.lifetime import DEFAULT_WAITS, LifetimeDiscovery
from librats.types import Address


def measure(world: World, waits: tuple[float, ...] = DEFAULT_WAITS) -> LifetimeDiscovery:
    server = Address(*world.servers[0][0])
    machine = LifetimeDiscovery(server, entropy=SeededEntropy(), now=world.now, waits=waits)
    world.run(machine, until=lambda: machine.is_over)
    assert machine.is_over
    return machine


@pytest.mark.parametrize("mapping", ["ei", "ad", "apd"])
@pytest.mark.parametrize(
    ("lifetime", "outlived", "expired"),
    [(25, 20, 30), (120.5, 120, 180), (5, 0, 10), (400, 300, None)],
)
def test_the_lifetime_is_between_two_silences(
    mapping: str, lifetime: float, outlived: float, expired: float | None
) -> None:
    world = World(Nat(mapping, "apd", "random", lifetime=lifetime))
    machine = measure(world)
    assert (machine.lifetime, machine.expired_after) == (outlived, expired)


def test_it_does_not_wait_for_longer_silences_once_two_mappings_are_gone() -> None:
    world = World(Nat(lifetime=25))
    start = world.now
    measure(world)
    assert world.now - start < 60


@pytest.mark.parametrize("servers", [([(A1, 3478)],), (FOUR,)], ids=["a plain server", "nobody"])
def test_a_server_that_cannot_measure_is_told_at_once(servers: tuple[list[tuple[str, int]], ...]) -> None:
    world = World(servers=servers, dead=FOUR if servers[0] is FOUR else ())
    start = world.now
    machine = measure(world)
    assert (machine.lifetime, machine.expired_after) == (None, None)
    assert world.now - start < 10


@pytest.mark.parametrize("waits", [(), (0,), (5, 5), (5, 3), (-1, 4)])
def test_silences_have_to_grow(waits: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        LifetimeDiscovery(Address(A1, 3478), entropy=SeededEntropy(), now=0.0, waits=waits)
