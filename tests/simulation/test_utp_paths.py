"""What uTP makes of a path: how much of its rate, beside whom, behind how long a queue; in virtual time, seeded."""

from __future__ import annotations

from typing import Any

import pytest
from tests.simulation.joined_tables import Pump, World
from tests.simulation.test_rudp_paths import bottleneck, pump

from librats._core.utp import UtpTable

RATE = 10e6 / 8
ROUND_TRIP = 0.05
DEEP = 8.0
"""Times what is on its way that the queue holds: 400 ms, as in the boxes that BEP 29 was made for."""


def flow(seed: object, *, queue: float = DEEP, loss: float = 0.0, ahead: float = 0.0, **settings: Any) -> Pump:
    world = World(seed)
    there, back = bottleneck(world, rate=RATE, round_trip=ROUND_TRIP, queue=queue, loss=loss)
    a = world.end("10.0.0.1", kind=UtpTable, **settings)
    b = world.end("10.0.1.1", kind=UtpTable, ahead=ahead)
    world.join(a, b, there=there, back=back)
    return Pump(a, b)


@pytest.mark.parametrize("ahead", [0.0, -987.25, 4000.0], ids=["same clock", "behind", "ahead"])
def test_ledbat_fills_a_path_and_keeps_its_queue_at_a_tenth_of_a_second(ahead: float) -> None:
    one = flow("alone", ahead=ahead)
    world = one.sender.world
    world.run(30)
    assert one.rate(world.now - 15, world.now) >= 0.9 * RATE
    seen = [one.stream.statistics()["rtt"]]
    for _ in range(20):
        world.run(0.5)
        seen.append(one.stream.statistics()["rtt"])
    assert ROUND_TRIP + 0.05 < sum(seen) / len(seen) < ROUND_TRIP + 0.13
    assert one.stream.statistics()["packets_lost"] == 0


def test_ledbat_leaves_a_path_to_others() -> None:
    world = World("yields")
    path = bottleneck(world, rate=RATE, round_trip=ROUND_TRIP, queue=DEEP)
    behind = pump(world, 1, path, kind=UtpTable)
    world.run(10)
    before = behind.rate(world.now - 5, world.now)
    front = pump(world, 2, path, control="cubic")
    world.run(20)
    assert before >= 0.8 * RATE
    assert front.rate(world.now - 10, world.now) >= 0.8 * RATE
    assert 0 < behind.rate(world.now - 10, world.now) <= 0.15 * RATE


def test_ledbat_comes_back_when_the_others_are_gone() -> None:
    world = World("back")
    path = bottleneck(world, rate=RATE, round_trip=ROUND_TRIP, queue=DEEP)
    behind = pump(world, 1, path, kind=UtpTable)
    front = pump(world, 2, path, control="cubic")
    world.run(15)
    front.stream.reset()
    front.sender.wake()
    world.run(15)
    assert behind.rate(world.now - 5, world.now) >= 0.85 * RATE


@pytest.mark.parametrize(("control", "least"), [("model", 0.75), ("ledbat", 0.25)])
def test_at_two_percent_of_losses_the_model_keeps_its_rate_and_ledbat_goes_on(control: str, least: float) -> None:
    one = flow(control, loss=0.02, control=control)
    world = one.sender.world
    world.run(20)
    assert one.rate(world.now - 15, world.now) >= least * RATE


def test_the_same_seed_gives_the_same_packets() -> None:
    def trace() -> list[tuple[float, bytes]]:
        one = flow("again", loss=0.01)
        one.sender.keeps_sent = True
        one.sender.world.run(2)
        return one.sender.sent

    first = trace()
    assert len(first) > 500
    assert trace() == first
