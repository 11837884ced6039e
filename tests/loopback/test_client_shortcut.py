"""Many messages in one turn of the loop: all but the first take the short way, and behave like the first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.loopback.conftest import Connect, MakeClient, Pair, Until

from librats import PeerNotConnected, SessionConfig, UsageError

MANY = 50


async def test_all_messages_of_a_turn_arrive_in_order_and_are_counted(pair: Pair, until: Until) -> None:
    heard: list[Any] = []
    pair.b.on("x", lambda peer, data: heard.append(data))
    pair.b.on_text(lambda peer, data: heard.append(data), channel="x")
    for number in range(MANY):
        await pair.a.send("x", number, to=pair.to_b)
        await pair.to_b.send("x", [number])
        await pair.to_b.send_text(str(number), channel="x")
    assert pair.to_b.stats.messages_sent == 3 * MANY
    await until(lambda: len(heard) == 3 * MANY)
    assert [data for data in heard if isinstance(data, int)] == list(range(MANY))
    assert [data for data in heard if isinstance(data, list)] == [[number] for number in range(MANY)]
    assert heard[:3] == [0, [0], "0"]


async def test_messages_of_one_turn_after_another_arrive(pair: Pair, until: Until) -> None:
    heard: list[Any] = []
    pair.b.on("x", lambda peer, data: heard.append(data))
    for turn in range(5):
        for _ in range(turn):
            await pair.to_b.send("x", turn)
        async with asyncio.timeout(5):  # before a ping, which would take along what has been left behind
            await until(lambda turn=turn: heard.count(turn) == turn)  # type: ignore[misc]
        await asyncio.sleep(0)


async def test_messages_that_wait_for_credit_leave_when_there_is_some(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    session = SessionConfig(message_window=128 * 1024)
    pair = await connect(await make_client(), await make_client(session=session))
    may_go_on = asyncio.Event()
    heard: list[Any] = []

    @pair.b.on("x")
    async def slow(peer: object, data: Any) -> None:
        await may_go_on.wait()
        heard.append(data)

    count = 4000
    for number in range(count):
        await pair.to_b.send("x", number)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await until(lambda: pair.to_b.stats.bytes_queued and pair.to_b.link.session.wants_to_send is False)
    await pair.to_b.send("x", count)
    await pair.to_b.send("x", count + 1)
    may_go_on.set()
    await until(lambda: len(heard) == count + 2)
    assert heard == list(range(count + 2))


@pytest.mark.parametrize("times", range(3))
async def test_messages_after_a_request_of_the_same_turn_arrive(pair: Pair, until: Until, times: int) -> None:
    heard: list[Any] = []
    pair.b.on("x", lambda peer, data: heard.append(data))

    async def ask() -> None:
        await pair.to_b.request("x", "asked")

    async def tell() -> None:
        for number in range(times):
            await pair.to_b.send("x", number)

    await asyncio.gather(ask(), tell(), ask(), tell())
    await until(lambda: len(heard) == 2 + 2 * times)


async def test_bad_data_is_refused_in_the_middle_of_a_turn_too(pair: Pair, until: Until) -> None:
    heard: list[Any] = []
    pair.b.on("x", lambda peer, data: heard.append(data))
    await pair.to_b.send("x", 1)
    with pytest.raises(UsageError, match="not JSON"):
        await pair.to_b.send("x", object())
    with pytest.raises(UsageError, match="max_json_depth"):
        await pair.to_b.send("x", _nested(40))
    with pytest.raises(UsageError, match="255 bytes"):
        await pair.to_b.send("x" * 256, 1)
    await pair.to_b.send("x", 2)
    await until(lambda: heard == [1, 2])


def _nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("way", ["close", "disconnect", "abort", "fail"])
async def test_nothing_is_taken_any_more_in_the_turn_in_which_a_session_ends(pair: Pair, way: str) -> None:
    await pair.to_b.send("x", 1)
    link, ending = pair.to_b.link, None
    if way == "abort":
        link.abort()
    elif way == "fail":
        link.session.fail("test", "given up")
    else:
        closing = pair.to_b.close() if way == "close" else pair.a.disconnect(pair.to_b)
        ending = asyncio.ensure_future(closing)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    sent = pair.to_b.stats.messages_sent
    with pytest.raises(PeerNotConnected):
        await pair.to_b.send("x", 2)
    assert pair.to_b.stats.messages_sent == sent
    if ending is not None:
        await ending
    link.abort()
    await asyncio.wait([link.closed])


async def test_a_turn_fills_the_queue_as_far_as_single_messages_do(make_client: MakeClient, connect: Connect) -> None:
    session = SessionConfig(send_high_water=10_000, send_low_water=1000)
    pair = await connect(await make_client(session=session), await make_client())
    text = "x" * 94  # 96 bytes of JSON, a name of one byte, and six of header and length

    async def fill() -> None:
        while True:
            await pair.to_b.send("y", text)

    pair.to_b.link.pause_writing()
    filling = asyncio.ensure_future(fill())
    for _ in range(3):
        await asyncio.sleep(0)
    queued = pair.to_b.stats.bytes_queued
    assert 10_000 <= queued < 10_000 + 102
    assert not pair.to_b.try_send("y", text)
    assert pair.to_b.stats.bytes_queued == queued
    filling.cancel()
    await asyncio.wait([filling])
    pair.to_b.link.resume_writing()
