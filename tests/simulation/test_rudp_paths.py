"""What a stream makes of a path: how much of its rate, beside whom, at what loss; in virtual time, seeded."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.simulation.joined_tables import Link, Pump, World

RATE = 100e6 / 8
ROUND_TRIP = 0.05


def bottleneck(
    world: World, *, rate: float = RATE, round_trip: float = ROUND_TRIP, queue: float = 1.0, loss: float = 0.0
) -> tuple[Link, Link]:
    """A path whose queue holds so many times what is on its way, and the path back."""
    there = world.link(rate=rate, delay=round_trip / 2, queue=rate * round_trip * queue, loss=loss, mtu=1500)
    return there, world.link(rate=rate, delay=round_trip / 2, mtu=1500)


def pump(world: World, index: int, path: tuple[Link, Link], **settings: Any) -> Pump:
    a = world.end(f"10.0.0.{index}", **settings)
    b = world.end(f"10.0.1.{index}", **settings)
    world.join(a, b, there=path[0], back=path[1])
    return Pump(a, b)


def share_of_path(seconds: float, *, skip: float = 0.0, seed: int = 1, loss: float = 0.0, **settings: Any) -> float:
    world = World(seed)
    flow = pump(world, 1, bottleneck(world, loss=loss), **settings)
    world.run(seconds)
    return flow.rate(world.now - seconds + skip, world.now) / RATE


def test_the_model_fills_a_long_path() -> None:
    assert share_of_path(12) >= 0.9


@pytest.mark.long
def test_cubic_fills_a_path_too() -> None:
    assert share_of_path(15, control="cubic") >= 0.9


def test_in_librats_2s_packets_a_path_is_filled_too() -> None:
    assert share_of_path(8, skip=3, extended=False) >= 0.9


@pytest.mark.parametrize(("loss", "least"), [(0.01, 0.75), (0.05, 0.6)])
def test_the_model_does_not_take_random_losses_for_a_full_queue(loss: float, least: float) -> None:
    assert share_of_path(8, loss=loss) >= least


def test_cubic_does_what_the_formula_gives_at_random_losses() -> None:
    """RFC 9438, 4.3 and 5.1: at such losses and round trips that of Reno, the square root of 3 / 2p packets."""
    size, payload, loss = 1220, 1204, 0.01
    rates = [share_of_path(60, skip=5, seed=seed, loss=loss, control="cubic", max_datagram=size) for seed in range(4)]
    wanted = math.sqrt(1.5 / loss) * payload / (ROUND_TRIP + size / RATE)
    assert sum(rates) / len(rates) * RATE == pytest.approx(wanted, rel=0.15)


@pytest.mark.long
@pytest.mark.parametrize("control", ["model", "cubic"])
def test_two_flows_share(control: str) -> None:
    world = World(control)
    path = bottleneck(world)
    first, second = (pump(world, index, path, control=control) for index in (1, 2))
    world.run(30)
    rates = [flow.rate(world.now - 20, world.now) for flow in (first, second)]
    assert max(rates) / sum(rates) <= 0.6
    assert sum(rates) >= 0.9 * RATE


@pytest.mark.long
def test_who_comes_late_gets_a_fair_share() -> None:
    world = World("late")
    path = bottleneck(world)
    first = pump(world, 1, path)
    world.run(3)
    second = pump(world, 2, path)
    world.run(30)
    rates = [flow.rate(world.now - 15, world.now) for flow in (first, second)]
    assert max(rates) / sum(rates) <= 0.6


@pytest.mark.long
@pytest.mark.parametrize("other", ["model", "cubic"])
def test_the_yielding_control_leaves_a_path_to_others(other: str) -> None:
    world = World(other)
    path = bottleneck(world)
    background = pump(world, 1, path, control="yielding")
    world.run(5)
    front = pump(world, 2, path, control=other)
    world.run(20)
    assert front.rate(world.now - 15, world.now) >= 0.8 * RATE
    assert background.arrived > 0


def test_the_yielding_control_takes_a_path_that_nobody_wants() -> None:
    assert share_of_path(8, skip=3, control="yielding") >= 0.7


def test_late_packets_are_not_taken_for_lost() -> None:
    world = World("late packets")
    path = bottleneck(world)
    path[0].jitter, path[0].reordered = 0.01, 0.1
    flow = pump(world, 1, path)
    world.run(6)
    assert flow.rate(world.now - 4, world.now) >= 0.85 * RATE


@pytest.mark.long
def test_a_fast_and_very_long_path_is_filled_with_the_usual_buffers() -> None:
    rate, round_trip = 1e9 / 8, 0.3
    world = World("long")
    flow = pump(world, 1, bottleneck(world, rate=rate, round_trip=round_trip))
    world.run(7.5)
    assert flow.rate(world.now - 2.5, world.now) >= 0.7 * rate


def test_the_same_seed_gives_the_same_packets() -> None:
    def trace() -> list[tuple[float, bytes]]:
        world = World("again")
        flow = pump(world, 1, bottleneck(world, loss=0.02))
        flow.sender.keeps_sent = True
        world.run(0.6)
        return flow.sender.sent

    first = trace()
    assert len(first) > 500
    assert first == trace()
