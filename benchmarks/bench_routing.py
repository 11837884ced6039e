"""The nearest 8 of many ids beside numpy, and what it costs to keep a set of ids and a routing table."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from benchmarks.conftest import Stage

from librats._core import routing
from librats.cli.measuring.contest import Contender, Contest, Sample, at_least, at_most
from librats.cli.measuring.sealing import operations_rate

ROUNDS = 7
TARGETS = 200
WANTED = 8
MANY = 100_000
MICROSECONDS = 1e6
chance = random.Random(11)  # noqa: S311 - made-up ids
TARGET_IDS = [chance.randbytes(20) for _ in range(TARGETS)]


class Numpy:
    """Ids as numpy would have them: the first 64 bits decide, the rest among those that are left.

    Args:
        ids: Ids behind each other.
    """

    def __init__(self, ids: bytes) -> None:
        self._ids = np.frombuffer(ids, np.uint8).reshape(-1, 20)
        self._high = np.ascontiguousarray(self._ids[:, :8]).view(">u8").astype(np.uint64).ravel()

    def closest(self, target: bytes) -> bytes:
        """Return the nearest ids behind each other, nearest first."""
        away = self._high ^ np.uint64(int.from_bytes(target[:8]))
        among = np.argpartition(away, WANTED)[:WANTED]
        return self._ids[among[np.argsort(away[among])]].tobytes()


def some_ids(count: int) -> bytes:
    return chance.randbytes(20 * count)


def ask_all(closest: Callable[[bytes], object]) -> None:
    for target in TARGET_IDS:
        closest(target)


def microseconds(operation: Callable[[], object], times: int, each: int) -> Sample:
    return Sample(MICROSECONDS / operations_rate(operation, times, each).value)


@pytest.mark.parametrize(("count", "least"), [(1_000, 40), (10_000, 250), (MANY, 250)])
def bench_closest(stage: Stage, count: int, least: int) -> None:
    raw = some_ids(count)
    ours, theirs = routing.SortedIds(raw), Numpy(raw)
    assert all(ours.closest(target) == theirs.closest(target) for target in TARGET_IDS)
    times = stage.scaled(500)
    slow = stage.scaled(max(1, 20_000 // count))
    contest = Contest(
        f"closest 8 of {count:,} ids",
        "calls/s",
        [
            Contender("librats", lambda: operations_rate(partial(ask_all, ours.closest), times, TARGETS)),
            Contender("numpy", lambda: operations_rate(partial(ask_all, theirs.closest), slow, TARGETS)),
        ],
    )
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("numpy", at_least(least)))


def add_and_discard(ids: routing.SortedIds, some: list[bytes]) -> None:
    for one in some:
        ids.add(one)
    for one in some:
        ids.discard(one)


@pytest.mark.parametrize(("count", "most"), [(1_000, 1.0), (MANY, 100.0)])
def bench_keeping_ids(stage: Stage, count: int, most: float) -> None:
    ids = routing.SortedIds(some_ids(count))
    operation = partial(add_and_discard, ids, TARGET_IDS)
    times = stage.scaled(200 if count == MANY else 2_000) // 10
    contest = Contest(
        f"id added to or removed from {count:,}",
        "µs",
        [Contender("librats", lambda: microseconds(operation, max(1, times), 2 * TARGETS))],
        more_is_better=False,
    )
    stage.hold(contest, ROUNDS)
    stage.show(contest.alone(at_most(most)))


@pytest.mark.parametrize("what", ["asked", "heard"])
def bench_routing_table(stage: Stage, what: str) -> None:
    table = routing.RoutingTable(chance.randbytes(20))
    for number in range(20_000):
        table.heard(chance.randbytes(20), number.to_bytes(4) + b"\x1a\xe1", now=0.0)
    known = [node[:2] for node in table.nodes()][:TARGETS]

    def hear_all() -> None:
        for one, address in known:
            table.heard(one, address, now=1.0)

    operation, each = (partial(ask_all, table.closest), TARGETS) if what == "asked" else (hear_all, len(known))
    contest = Contest(
        f"routing table of {len(table)} {what}",
        "µs",
        [Contender("librats", lambda: microseconds(operation, stage.scaled(500), each))],
        more_is_better=False,
    )
    stage.hold(contest, ROUNDS)
    stage.show(contest.alone(at_most(1.5)))
