from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from librats.blocking.workers import Workers
from librats.errors import ClosedError

TIMEOUT = 20


def test_functions_run_and_their_results_and_exceptions_come_back() -> None:
    workers = Workers(2)
    assert workers.submit(sum, [1, 2, 3]).result(TIMEOUT) == 6
    with pytest.raises(ZeroDivisionError):
        workers.submit(divmod, 1, 0).result(TIMEOUT)
    workers.close(TIMEOUT)


def test_no_more_threads_than_the_size_are_made_and_all_jobs_are_done() -> None:
    workers = Workers(3)
    gate = threading.Event()
    names: set[int] = set()

    def work(number: int) -> int:
        gate.wait(TIMEOUT)
        names.add(threading.get_ident())
        return number

    jobs = [workers.submit(work, number) for number in range(20)]
    gate.set()
    assert [job.result(TIMEOUT) for job in jobs] == list(range(20))
    assert 1 <= len(names) <= 3
    workers.close(TIMEOUT)


def test_functions_of_one_lane_run_one_at_a_time_in_order_and_others_pass_them() -> None:
    workers = Workers(4)
    gate = threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        gate.wait(TIMEOUT)
        done.append(number)

    jobs = [workers.submit(work, number, lane="a") for number in range(50)]
    assert workers.submit(int, "7", lane="b").result(TIMEOUT) == 7
    assert workers.waiting("a") == 49
    gate.set()
    for job in jobs:
        job.result(TIMEOUT)
    assert done == list(range(50))
    workers.close(TIMEOUT)
    assert workers.waiting("a") == 0


def test_a_cancelled_job_is_skipped_and_its_lane_goes_on() -> None:
    workers = Workers(1)
    gate = threading.Event()
    first = workers.submit(gate.wait, TIMEOUT, lane="a")
    second = workers.submit(pytest.fail, "it was cancelled", lane="a")
    third = workers.submit(int, "3", lane="a")
    assert second.cancel()
    gate.set()
    assert first.result(TIMEOUT)
    assert third.result(TIMEOUT) == 3
    with pytest.raises(CancelledError):
        second.result(TIMEOUT)
    workers.close(TIMEOUT)


def test_a_job_that_is_alone_does_not_need_the_pool() -> None:
    workers = Workers(1)
    gate = threading.Event()
    held = workers.submit(gate.wait, TIMEOUT)
    assert workers.submit(int, "5", alone=True).result(TIMEOUT) == 5
    gate.set()
    assert held.result(TIMEOUT)
    workers.close(TIMEOUT)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_in_a_function_becomes_an_ordinary_exception(error: BaseException) -> None:
    def leave() -> None:
        raise error

    workers = Workers(1)
    with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
        workers.submit(leave).result(TIMEOUT)
    assert caught.value.__cause__ is error
    workers.close(TIMEOUT)


def test_closing_runs_what_waits_takes_no_more_and_ends_the_threads() -> None:
    workers = Workers(1)
    before = threading.active_count()
    jobs = [workers.submit(int, str(number)) for number in range(10)]
    workers.close(TIMEOUT)
    assert [job.result(0) for job in jobs] == list(range(10))
    assert threading.active_count() == before
    with pytest.raises(ClosedError):
        workers.submit(int, "1")
    workers.close(TIMEOUT)


def test_closing_does_not_wait_for_ever_and_tells_who_still_runs(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(1)
    gate = threading.Event()
    job = workers.submit(gate.wait, TIMEOUT)
    workers.close(0)
    assert "1 handlers still run" in caplog.text
    gate.set()
    assert job.result(TIMEOUT)
    workers.close(TIMEOUT)


def test_a_worker_may_close_its_own_pool() -> None:
    workers = Workers(2)
    workers.submit(workers.close, TIMEOUT).result(TIMEOUT)
    workers.close(TIMEOUT)
