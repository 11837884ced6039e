"""Inboxes: the order in which handlers are called, what is answered, and what a message costs until it is handled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from tests.unit.peers.inbox_bench import PEER, Bench, Note

from librats.peers.events import HandlerFailed
from librats.session.frames import Kind


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.tasks.close()


async def test_plain_functions_are_called_at_once_and_no_task_is_made(bench: Bench) -> None:
    bench.on(lambda peer, data: bench.called.append((peer, data)))
    bench.deliver({"a": 1})
    assert bench.called == [(PEER, {"a": 1})]
    assert bench.link.freed == 100
    assert len(bench.tasks) == 0


async def test_messages_wait_for_those_of_their_type_before_them(bench: Bench) -> None:
    async def later(peer: Any, data: Any) -> None:
        await asyncio.sleep(0)
        bench.called.append(("later", data))

    bench.on(later)
    bench.on(lambda peer, data: bench.called.append(("plain", data)))
    bench.deliver(1)
    bench.deliver(2)
    assert bench.called == []
    await bench.idle()
    assert bench.called == [("later", 1), ("plain", 1), ("later", 2), ("plain", 2)]
    assert bench.link.freed == 200


async def test_who_hears_a_message_is_looked_up_when_its_turn_comes(bench: Bench) -> None:
    async def later(peer: Any, data: Any) -> None:
        bench.called.append(("later", data))

    bench.on(later)
    bench.deliver(1)
    bench.handlers.remove(Kind.JSON, "x", later)
    bench.on(lambda peer, data: bench.called.append(("new", data)))
    await bench.idle()
    assert bench.called == [("new", 1)]


async def test_a_message_costs_until_its_handler_is_done(bench: Bench) -> None:
    release = asyncio.Event()

    async def wait(peer: Any, data: Any) -> None:
        await release.wait()

    bench.on(wait)
    for number in range(5):
        bench.deliver(number, cost=10)
    await asyncio.sleep(0)
    assert bench.link.freed == 0
    release.set()
    await bench.idle()
    assert bench.link.freed == 50


async def test_messages_without_handler_and_bad_ones_are_counted_and_freed(bench: Bench) -> None:
    bench.on(lambda peer, data: bench.called.append(data))
    bench.deliver(name="nobody")
    bench.inbox.deliver(cast("Any", bench.link), cast("Any", Note(payload=b"{")))
    bench.inbox.deliver(cast("Any", bench.link), cast("Any", Note(payload=b"{", request_id=1)))
    bench.deliver(name="nobody", request_id=2)
    assert bench.called == []
    assert (bench.dispatcher.unhandled, bench.dispatcher.bad_payloads) == (2, 2)
    assert bench.link.freed == 400
    assert [(number, code) for number, code, _ in bench.link.session.errors] == [(1, "bad_data"), (2, "no_handler")]


async def test_bad_requests_of_async_handlers_are_answered(bench: Bench) -> None:
    async def later(peer: Any, data: Any) -> None:
        bench.called.append(data)

    bench.on(later)
    bench.inbox.deliver(cast("Any", bench.link), cast("Any", Note(payload=b"{", request_id=1)))
    bench.deliver(request_id=2)
    bench.handlers.remove(Kind.JSON, "x")
    await bench.idle()
    assert [(number, code) for number, code, _ in bench.link.session.errors] == [(1, "bad_data"), (2, "no_handler")]
    assert bench.link.freed == 200


async def test_a_request_goes_to_the_handlers_of_its_type_whatever_it_carries(bench: Bench) -> None:
    bench.on(lambda peer, data: data)
    bench.inbox.deliver(cast("Any", bench.link), cast("Any", Note(payload=b"raw", kind=Kind.BYTES, request_id=1)))
    bench.inbox.deliver(cast("Any", bench.link), cast("Any", Note(payload=b"raw", kind=Kind.BYTES)))
    assert bench.link.session.replies == [(1, Kind.BYTES, b"raw")]
    assert bench.dispatcher.unhandled == 1


async def test_the_first_failure_answers_though_others_return(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    told: list[HandlerFailed] = []
    bench.handlers.listen(HandlerFailed, told.append)

    def fail(peer: Any, data: Any) -> None:
        raise ValueError("no good")

    for handler in (lambda peer, data: 1, fail, lambda peer, data: bench.called.append("last")):
        bench.on(handler)
    bench.deliver(request_id=9)
    assert bench.link.session.errors == [(9, "handler_error", "ValueError: no good")]
    assert bench.link.session.replies == []
    assert bench.called == ["last"]
    assert [(event.peer, event.name) for event in told] == [(PEER, "x")]
    assert len(caplog.records) == 1


async def test_a_listener_that_fails_at_hearing_of_a_failure_does_not_go_round_in_circles(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no good")

    bench.handlers.listen(HandlerFailed, fail)
    bench.on(fail)
    bench.deliver()
    assert len(caplog.records) == 2
    assert bench.dispatcher.handler_errors == 2


async def test_async_listeners_run_as_tasks_and_what_they_raise_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(peer: Any) -> None:
        await asyncio.sleep(0)
        raise ValueError("no good")

    bench.handlers.listen("connect", fail)
    bench.dispatcher.notify("connect", PEER)
    await bench.idle()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_the_deadline_of_a_request_ends_its_handler(bench: Bench) -> None:
    async def hang(peer: Any, data: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            bench.called.append("ended")

    bench.on(hang)
    bench.deliver(request_id=1, timeout_ms=1)
    await bench.idle()
    assert bench.called == ["ended"]
    assert [error[:2] for error in bench.link.session.errors] == [(1, "timeout")]
    assert bench.link.freed == 100
    assert bench.dispatcher.handler_errors == 0


@pytest.mark.parametrize("plain", [False, True])
async def test_a_request_that_is_given_up_ends_its_handler_and_frees_its_cost(bench: Bench, plain: bool) -> None:
    async def hang(peer: Any, data: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def answer(peer: Any, data: Any) -> str:
        return "done"

    def hang_plainly(peer: Any, data: Any) -> Any:
        return hang(peer, data)

    bench.on(hang_plainly if plain else hang)
    bench.deliver(request_id=1)
    for _ in range(4):
        await asyncio.sleep(0)
    bench.inbox.cancel(cast("Any", bench.link), 7)
    bench.inbox.cancel(cast("Any", bench.link), 1)
    await bench.idle()
    assert bench.link.session.replies == []
    assert bench.link.session.errors == []
    assert bench.link.freed == 100
    bench.handlers.remove(Kind.JSON, "x")
    bench.on(answer)
    bench.deliver(request_id=2)
    await bench.idle()
    assert [number for number, _, _ in bench.link.session.replies] == [2]


async def test_a_request_given_up_in_the_queue_is_never_begun(bench: Bench) -> None:
    async def note(peer: Any, data: Any) -> None:
        bench.called.append(data)
        await asyncio.sleep(0)

    bench.on(note)
    for number in (1, 2, 3):
        bench.deliver(number, request_id=number)
    bench.link.session.given_up.add(2)
    await bench.idle()
    assert bench.called == [1, 3]
    assert bench.link.freed == 300


async def test_a_handler_that_swallows_its_cancellation_ends_all_the_same(bench: Bench) -> None:
    async def stubborn(peer: Any, data: Any) -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "too late"
        return "never"

    bench.on(stubborn)
    bench.deliver(request_id=1)
    for _ in range(4):
        await asyncio.sleep(0)
    bench.inbox.cancel(cast("Any", bench.link), 1)
    await bench.idle()
    assert bench.link.freed == 100


async def test_the_cancellation_of_something_awaited_is_a_failure_like_others(bench: Bench) -> None:
    async def stumble(peer: Any, data: Any) -> None:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    bench.on(stumble)
    for number in (1, 2):
        bench.deliver(request_id=number)
    bench.deliver()
    await bench.idle()
    assert [(number, code) for number, code, _ in bench.link.session.errors] == [
        (1, "handler_error"),
        (2, "handler_error"),
    ]
    assert bench.link.freed == 300
    assert bench.dispatcher.handler_errors == 3


async def test_no_more_handlers_run_at_once_than_the_limit(bench: Bench) -> None:
    running = most = 0

    async def count(peer: Any, data: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    bench.on(count, concurrent=True)
    for _ in range(20):
        bench.deliver()
    await bench.idle()
    assert most == 3
    assert bench.link.freed == 2000


async def test_a_number_that_is_used_again_after_it_was_given_up_does_no_harm(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    gates = [asyncio.Event(), asyncio.Event()]

    async def wait(peer: Any, data: Any) -> str:
        await gates[data].wait()
        return f"done {data}"

    bench.on(wait, concurrent=True)
    for data in (0, 1):  # both before their tasks run: the first was given up, and its number used again
        bench.deliver(data, request_id=5)
    await asyncio.sleep(0)
    bench.deliver(0, request_id=6)
    for gate in gates:
        gate.set()
        await asyncio.sleep(0)
    await bench.idle()
    assert [number for number, _, _ in bench.link.session.replies] == [5, 6, 5]
    assert bench.link.freed == 300
    assert not caplog.records


async def test_no_more_listeners_hear_at_once_of_handlers_that_fail_than_the_limit(bench: Bench) -> None:
    gate = asyncio.Event()

    async def report(event: HandlerFailed) -> None:
        bench.called.append(event.name)
        await gate.wait()

    def fail(peer: Any, data: Any) -> None:
        raise ValueError("on purpose")

    bench.handlers.listen(HandlerFailed, report)
    bench.on(fail)
    for _ in range(10):
        bench.deliver()
    await asyncio.sleep(0)
    assert bench.called == ["x"] * 3
    assert len(bench.tasks) == 3
    gate.set()
    await bench.idle()
    bench.deliver()
    await bench.idle()
    assert bench.called == ["x"] * 4
