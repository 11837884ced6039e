"""Tasks that have an owner."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from librats.runtime.tasks import TaskSet, end_all

WAIT = 10.0  # seconds after which a test gives up; nothing here takes a tenth of one


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_task_that_has_ended_is_no_longer_counted() -> None:
    tasks = TaskSet()
    task = tasks.create(asyncio.sleep(0, "result"), name="short")
    assert len(tasks) == 1
    assert task.get_name() == "short"
    assert await task == "result"
    await tasks.close()
    assert len(tasks) == 0


async def test_closing_cancels_every_task_and_waits_for_its_end() -> None:
    tasks = TaskSet()
    cleaned: list[int] = []

    async def work(number: int) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append(number)

    running = [tasks.create(work(number), name=f"work {number}") for number in range(5)]
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT):
        await tasks.close()
    assert sorted(cleaned) == [0, 1, 2, 3, 4]
    assert all(task.cancelled() for task in running)


async def test_a_task_started_while_closing_is_ended_too() -> None:
    tasks = TaskSet()

    async def last_wish() -> None:
        try:
            await forever()
        finally:
            tasks.create(forever(), name="late")

    tasks.create(last_wish(), name="first")
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT):
        await tasks.close()
    assert len(tasks) == 0


async def test_a_task_may_close_the_set_that_it_belongs_to() -> None:
    tasks = TaskSet()
    other = tasks.create(forever(), name="other")
    closer = tasks.create(tasks.close(), name="closer")
    async with asyncio.timeout(WAIT):
        await closer
    assert other.cancelled()
    assert not closer.cancelled()


async def test_closing_twice_and_closing_nothing_is_harmless() -> None:
    tasks = TaskSet()
    await tasks.close()
    await tasks.close()
    assert len(tasks) == 0


async def test_a_failure_is_logged_with_the_name_of_the_task(caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskSet()

    async def fail() -> None:
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR, "librats.runtime"):
        task = tasks.create(fail(), name="the failing one")
        await asyncio.wait([task])
        await tasks.close()
    (record,) = caplog.records
    assert record.getMessage() == "task the failing one failed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "broken"


async def test_a_failure_that_the_owner_collects_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(error: Exception) -> None:
        raise error

    tasks = TaskSet(expected=LookupError)
    failed = [tasks.create(fail(error), name="work") for error in (KeyError("expected"), ValueError("a mistake"))]
    await asyncio.wait(failed)
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [failed[1].exception()]


async def test_a_cancelled_task_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskSet()
    tasks.create(forever(), name="cancelled")
    await asyncio.sleep(0)
    await tasks.close()
    assert caplog.records == []


async def test_a_task_that_swallows_its_cancellation_does_not_hold_closing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = TaskSet()
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    task = tasks.create(stubborn(), name="a stubborn handler")
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tasks.close()
    assert not task.done()
    assert "a stubborn handler does not end" in caplog.text
    let_go.set()
    await task


async def test_tasks_are_ended_together_and_what_they_come_to_is_nobodys() -> None:
    async def stubborn() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            raise ValueError("on the way out") from None

    tasks = [asyncio.ensure_future(each) for each in (forever(), stubborn(), asyncio.sleep(0))]
    await asyncio.sleep(0)
    async with asyncio.timeout(WAIT):
        await end_all(tasks)
    assert [task.done() for task in tasks] == [True, True, True]
    assert isinstance(tasks[1].exception(), ValueError)
    async with asyncio.timeout(WAIT):
        await end_all([])
