"""Blocking work that is handed to a thread in batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from librats.services import batches
from librats.services.batches import Batches
from librats.testing import SimNetwork


class Work:
    """Work that waits until it is let go on, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.threads: set[threading.Thread] = set()
        self.may_go_on = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.may_go_on.wait()
        self.threads.add(threading.current_thread())
        self.calls.append(list(items))
        if 13 in items:
            raise ValueError("13")
        return [10 * item for item in items]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def make(work: Work) -> Callable[[], Batches[int, int]]:
    return lambda: Batches(work, max_bytes=10, name="test")


async def test_items_are_done_in_order_and_in_batches(work: Work, make: Callable[[], Batches[int, int]]) -> None:
    line = make()
    results = [line.add(item, 4) for item in range(6)]
    assert line.bytes == 24
    work.may_go_on.set()
    assert await asyncio.gather(*results) == [0, 10, 20, 30, 40, 50]
    assert [item for call in work.calls for item in call] == list(range(6))
    assert max(map(len, work.calls)) == 2
    assert line.bytes == 0
    await line.drain()


async def test_one_thread_does_what_comes_soon_and_ends_in_drain(
    work: Work, make: Callable[[], Batches[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LINGER", 60.0)
    line = make()
    work.may_go_on.set()
    for item in range(12):
        assert await line.add(item, 1) == 10 * item
    await line.drain()
    [thread] = work.threads
    assert not thread.is_alive()


async def test_thread_ends_by_itself_and_another_one_begins(
    work: Work, make: Callable[[], Batches[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LINGER", 0.001)
    line = make()
    work.may_go_on.set()
    assert await line.add(1, 1) == 10
    [first] = work.threads
    await asyncio.get_running_loop().run_in_executor(None, first.join)
    assert await line.add(2, 1) == 20
    await line.drain()
    assert len(work.threads) == 2


async def test_what_nobody_wants_any_more_is_left_out(work: Work, make: Callable[[], Batches[int, int]]) -> None:
    line = make()
    one, two, three = (line.add(item, 10) for item in (1, 2, 3))
    two.cancel()
    work.may_go_on.set()
    assert [await one, await three] == [10, 30]
    assert work.calls == [[1], [3]]
    await line.drain()
    assert line.bytes == 0


async def test_what_the_work_raises_is_the_outcome_of_its_batch(
    work: Work, make: Callable[[], Batches[int, int]]
) -> None:
    line = make()
    held, one, bad, later = (line.add(item, size) for item, size in ((0, 10), (1, 1), (13, 1), (2, 10)))
    work.may_go_on.set()
    await asyncio.wait([held, one, bad, later])
    assert [type(future.exception()) for future in (held, one, bad, later)] == [
        type(None),
        ValueError,
        ValueError,
        type(None),
    ]
    await line.drain()


async def test_room_is_told_when_a_batch_is_done(work: Work, make: Callable[[], Batches[int, int]]) -> None:
    line = make()
    await line.room()
    done = line.add(1, 1)
    waiting = asyncio.ensure_future(line.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    work.may_go_on.set()
    await waiting
    assert await done == 10
    await line.drain()


def test_simulated_loop_does_it_in_its_own_thread(work: Work, make: Callable[[], Batches[int, int]]) -> None:
    async def main() -> None:
        line = make()
        assert await asyncio.gather(*[line.add(item, 4) for item in range(5)]) == [0, 10, 20, 30, 40]
        await line.drain()

    work.may_go_on.set()
    with SimNetwork(seed=1) as network:
        network.run(main())
    assert work.threads == {threading.current_thread()}
