"""What threads have read is told in the loop, not too often, and not once that has closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from librats.services.disk.telling import teller


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_it_is_told_at_first_now_and_then_and_at_the_end() -> None:
    told: list[tuple[int, int]] = []
    clock = Clock()
    tell = teller(lambda done, total: told.append((done, total)), clock=clock)
    for done in range(1, 11):
        tell(done, 10)
        clock.now += 0.02
    await asyncio.sleep(0)
    assert told == [(1, 10), (4, 10), (7, 10), (10, 10)]


async def test_a_thread_tells_it_in_the_loop() -> None:
    told: asyncio.Future[tuple[int, int, asyncio.AbstractEventLoop]] = asyncio.get_running_loop().create_future()
    tell = teller(lambda done, total: told.set_result((done, total, asyncio.get_running_loop())))
    await asyncio.to_thread(tell, 5, 5)
    assert await told == (5, 5, asyncio.get_running_loop())


def test_a_loop_that_has_closed_is_told_nothing() -> None:
    told: list[tuple[int, int]] = []

    async def made() -> Callable[[int, int], None]:
        return teller(lambda done, total: told.append((done, total)))

    tell = asyncio.run(made())
    tell(1, 1)
    assert told == []
