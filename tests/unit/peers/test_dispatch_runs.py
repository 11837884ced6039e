"""Runs of messages in an inbox: the same calls, order and cost as of one message after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.runs import run_of
from tests.unit.peers.inbox_bench import PEER, Bench

from librats.session.frames import Kind

OVERHEAD = 64 + 1 + len("x")


def deliver(bench: Bench, *payloads: bytes, kind: Kind = Kind.JSON, name: str = "x") -> int:
    """Deliver a run; returns what it cost."""
    run = run_of(kind, name, payloads)
    bench.inbox.deliver_run(cast("Any", bench.link), run)
    return run.cost


async def settled(act: Callable[[Bench], object]) -> Bench:
    bench = Bench()
    act(bench)
    await bench.idle()
    await bench.tasks.close()
    return bench


async def test_one_plain_function_hears_them_all_at_once() -> None:
    bench = Bench()
    bench.on(lambda peer, data: bench.called.append((peer, data)))
    cost = deliver(bench, b"1", b'"two"', b"[3]")
    assert bench.called == [(PEER, 1), (PEER, "two"), (PEER, [3])]
    assert (bench.link.freed, len(bench.tasks)) == (cost, 0)


async def test_bad_json_among_them_harms_nobody_else() -> None:
    bench = Bench()
    bench.on(lambda peer, data: bench.called.append(data))
    cost = deliver(bench, b"1", b"nonsense", b"", b"2 3", b"\xff", b"[" * 40, b"4")
    assert bench.called == [1, 4]
    assert bench.dispatcher.bad_payloads == 5
    assert bench.link.freed == cost


async def test_a_function_that_raises_hears_the_next_one() -> None:
    bench = Bench()

    def divide(peer: Any, data: Any) -> None:
        bench.called.append(1 // data)

    bench.on(divide)
    cost = deliver(bench, b"1", b"0", b"1")
    assert bench.called == [1, 1]
    assert bench.dispatcher.handler_errors == 1
    assert bench.link.freed == cost


async def test_a_function_removed_by_the_second_hears_no_third() -> None:
    bench = Bench()

    def twice(peer: Any, data: Any) -> None:
        bench.called.append(data)
        if data == 2:
            bench.handlers.remove(Kind.JSON, "x", twice)
            bench.on(lambda peer, data: bench.called.append(("other", data)))

    bench.on(twice)
    cost = deliver(bench, b"1", b"2", b"3", b"4")
    assert bench.called == [1, 2, ("other", 3), ("other", 4)]
    assert bench.link.freed == cost


@pytest.mark.parametrize("bad", [0, 63, 64, 150, 199])
async def test_a_long_run_goes_on_behind_what_is_bad_in_it(bad: int) -> None:
    bench = Bench()

    def hear(peer: Any, data: Any) -> None:
        bench.called.append(data)
        if data == bad + 1:
            raise ValueError(data)

    bench.on(hear)
    payloads = [str(number).encode() for number in range(202)]
    payloads[bad] = b"bad"
    cost = deliver(bench, *payloads)
    assert bench.called == [number for number in range(202) if number != bad]
    assert (bench.dispatcher.bad_payloads, bench.dispatcher.handler_errors) == (1, 1)
    assert bench.link.freed == cost


@pytest.mark.parametrize("last", [0, 63, 64, 65, 130])
async def test_a_function_that_removes_itself_late_in_a_run_hears_no_more(last: int) -> None:
    bench = Bench()

    def hear(peer: Any, data: Any) -> None:
        bench.called.append(data)
        if data == last:
            bench.handlers.remove(Kind.JSON, "x", hear)
            raise ValueError(data)

    bench.on(hear)
    cost = deliver(bench, *[str(number).encode() for number in range(150)])
    assert bench.called == list(range(last + 1))
    assert (bench.dispatcher.unhandled, bench.dispatcher.handler_errors) == (149 - last, 1)
    assert bench.link.freed == cost


@pytest.mark.parametrize("waited_for", [0, 63, 64, 65, 130])
async def test_a_long_run_waits_for_what_a_plain_function_returns(waited_for: int) -> None:
    bench = Bench()

    async def slow(data: Any) -> None:
        await asyncio.sleep(0)
        bench.called.append(data)

    bench.on(lambda peer, data: slow(data) if data == waited_for else bench.called.append(data))
    cost = deliver(bench, *[str(number).encode() for number in range(150)])
    assert bench.called == list(range(waited_for))
    await bench.idle()
    assert bench.called == list(range(150))
    assert bench.link.freed == cost
    await bench.tasks.close()


async def test_once_is_once_within_a_run() -> None:
    bench = Bench()
    bench.on(lambda peer, data: bench.called.append(data), once=True)
    cost = deliver(bench, b"1", b"2")
    assert bench.called == [1]
    assert (bench.link.freed, bench.dispatcher.unhandled) == (cost, 1)


async def test_what_a_plain_function_leaves_to_wait_for_goes_before_the_next() -> None:
    bench = Bench()

    async def slow(data: Any) -> None:
        await asyncio.sleep(0)
        bench.called.append(data)

    bench.on(lambda peer, data: slow(data) if data == 2 else bench.called.append(data))
    cost = deliver(bench, b"1", b"2", b"3", b"4")
    cost += deliver(bench, b"5")
    assert bench.called == [1]
    await bench.idle()
    assert bench.called == [1, 2, 3, 4, 5]
    assert bench.link.freed == cost
    await bench.tasks.close()


@pytest.mark.parametrize(
    ("kind", "payloads", "expected"),
    [
        (Kind.BYTES, (b"1", b"\xff"), [b"1", b"\xff"]),
        (Kind.TEXT, (b"a", b"\xff", "ü".encode()), ["a", "ü"]),
    ],
)
async def test_bytes_and_text_come_in_runs_too(kind: Kind, payloads: tuple[bytes, ...], expected: list[Any]) -> None:
    bench = Bench()
    bench.handlers.add(kind, "x", lambda peer, data: bench.called.append(data))
    cost = deliver(bench, *payloads, kind=kind)
    assert bench.called == expected
    assert bench.link.freed == cost


HANDLERS = st.lists(st.sampled_from(["plain", "async", "once", "raises", "awaitable"]), max_size=3)


@given(HANDLERS, st.lists(st.sampled_from([b"1", b"2", b"bad", b"[]"]), min_size=1, max_size=6))
def test_a_run_is_as_good_as_single_messages(handlers: list[str], payloads: list[bytes]) -> None:
    def bench_with(act: Callable[[Bench], object]) -> Bench:
        def set_up(bench: Bench) -> None:
            for number, name in enumerate(handlers):
                bench.on(made(bench, number, name), once=name == "once")
            act(bench)

        return asyncio.run(settled(set_up))

    together = bench_with(lambda bench: deliver(bench, *payloads))
    apart = bench_with(lambda bench: [deliver(bench, payload) for payload in payloads])
    assert together.called == apart.called
    assert together.link.freed == apart.link.freed == sum(OVERHEAD + len(payload) for payload in payloads)
    assert together.dispatcher.bad_payloads == apart.dispatcher.bad_payloads
    assert together.dispatcher.unhandled == apart.dispatcher.unhandled
    assert together.dispatcher.handler_errors == apart.dispatcher.handler_errors


def made(bench: Bench, number: int, name: str) -> Callable[[Any, Any], Any]:
    async def later(peer: Any, data: Any) -> None:
        await asyncio.sleep(0)
        bench.called.append((number, data))

    def now(peer: Any, data: Any) -> Any:
        if name == "raises":
            raise ValueError(data)
        if name == "awaitable" and data == 2:
            return later(peer, data)
        bench.called.append((number, data))
        return None

    return later if name == "async" else now
