"""Blocking calls on threads of their own."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from typing import NoReturn

import pytest

from librats.runtime.offload import run_in_thread

WAIT = 20.0  # seconds after which a test gives up; nothing here takes a tenth of one


async def test_the_result_comes_back_from_another_thread() -> None:
    def where(first: int, second: str) -> tuple[int, str, int]:
        return first, second, threading.get_ident()

    first, second, thread = await run_in_thread(where, 1, "two")
    assert (first, second) == (1, "two")
    assert thread != threading.get_ident()


async def test_the_loop_goes_on_while_the_call_blocks() -> None:
    released = threading.Event()
    asyncio.get_running_loop().call_soon(released.set)
    assert await run_in_thread(released.wait, WAIT)


async def test_no_thread_is_left_when_the_result_is_there() -> None:
    before = threading.active_count()
    for _ in range(100):
        await run_in_thread(int)
        assert threading.active_count() == before


async def test_the_thread_is_a_daemon_and_named_after_the_call() -> None:
    def look() -> threading.Thread:
        return threading.current_thread()

    thread = await run_in_thread(look)
    assert thread.daemon
    assert thread.name == "librats look"


@pytest.mark.parametrize("kind", [OSError, KeyError, GeneratorExit, asyncio.CancelledError])
async def test_an_exception_of_the_call_comes_back(kind: type[BaseException]) -> None:
    def fail() -> NoReturn:
        raise kind("why")

    with pytest.raises(kind, match="why") as caught:
        await run_in_thread(fail)
    assert any(entry.name == "fail" for entry in caught.traceback)


async def test_stop_iteration_does_not_hang_the_caller() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await run_in_thread(next, iter(()))


async def test_a_failed_call_leaves_no_reference_cycle() -> None:
    class Marked(Exception):
        pass

    def fail() -> NoReturn:
        raise Marked

    gc.disable()
    try:
        try:
            await run_in_thread(fail)
        except Marked as error:
            gone = weakref.ref(error)
        assert gone() is None
    finally:
        gc.enable()


async def test_the_call_sees_the_callers_context_and_cannot_change_it() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("ours")

    def look() -> str:
        seen = variable.get()
        variable.set("theirs")
        return seen

    assert await run_in_thread(look) == "ours"
    assert variable.get() == "ours"


@pytest.mark.parametrize("late", ["result", "exception"])
async def test_cancelling_returns_at_once_and_drops_what_comes_late(
    late: str, caplog: pytest.LogCaptureFixture
) -> None:
    started, release, threads = threading.Event(), threading.Event(), list[threading.Thread]()

    def block() -> str:
        threads.append(threading.current_thread())
        started.set()
        release.wait(WAIT)
        if late == "exception":
            raise OSError(late)
        return late

    task = asyncio.create_task(run_in_thread(block))
    await run_in_thread(started.wait, WAIT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert threads[0].is_alive()
    release.set()
    await run_in_thread(threads[0].join, WAIT)
    assert not threads[0].is_alive()
    gc.collect()
    assert caplog.records == []


@pytest.mark.parametrize("late", ["result", "exception"])
def test_a_loop_that_closed_meanwhile_is_harmless(late: str, caplog: pytest.LogCaptureFixture) -> None:
    started, release, threads = threading.Event(), threading.Event(), list[threading.Thread]()

    def block() -> None:
        threads.append(threading.current_thread())
        started.set()
        release.wait(WAIT)
        if late == "exception":
            raise OSError(late)

    async def main() -> None:
        task = asyncio.create_task(run_in_thread(block))
        await run_in_thread(started.wait, WAIT)
        task.cancel()

    asyncio.run(main())
    assert threads[0].is_alive()
    release.set()
    threads[0].join(WAIT)
    assert not threads[0].is_alive()
    assert caplog.records == []


async def test_calls_run_side_by_side() -> None:
    barrier = threading.Barrier(8)
    places = await asyncio.gather(*(run_in_thread(barrier.wait, WAIT) for _ in range(8)))
    assert sorted(places) == list(range(8))
