"""Requests between two clients: answers, failures, deadlines, and cancellation on both sides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from librats import (
    OperationTimeout,
    Peer,
    PeerNotConnected,
    RatsError,
    RemoteError,
    RequestTimeout,
    SessionConfig,
    UsageError,
)
from librats.session.frames import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

WAIT = 20.0
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


class Hanging:
    """A handler that begins and never returns by itself."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Any] = asyncio.Queue()
        self.cancelled: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self, peer: Peer, data: Any) -> None:
        self.begun.put_nowait(data)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.put_nowait(data)
            raise


async def test_the_reply_is_what_the_handler_returns(pair: Pair) -> None:
    @pair.b.on("add")
    async def add(peer: Peer, data: list[int]) -> dict[str, int]:
        assert peer is pair.to_a
        return {"sum": sum(data)}

    assert await soon(pair.a.request(pair.b.peer_id, "add", [1, 2, 3], timeout=10)) == {"sum": 6}
    assert await soon(pair.a.request(pair.to_b, "add", [4])) == {"sum": 4}
    assert await soon(pair.to_b.request("add", [], timeout=None)) == {"sum": 0}


async def test_a_plain_function_answers_too_and_none_is_an_answer(pair: Pair) -> None:
    pair.b.on("double", lambda peer, data: data * 2)
    pair.b.on("nothing", lambda peer, data: None)
    assert await soon(pair.to_b.request("double", 21)) == 42
    assert await soon(pair.to_b.request("nothing")) is None


async def test_the_first_handler_with_something_to_say_answers(pair: Pair) -> None:
    pair.b.on("x", lambda peer, data: None)
    pair.b.on("x", lambda peer, data: "second")
    pair.b.on("x", lambda peer, data: "third")
    assert await soon(pair.to_b.request("x")) == "second"


async def test_bytes_go_and_come_back_as_bytes(pair: Pair) -> None:
    @pair.b.on("reverse")
    async def reverse(peer: Peer, data: bytes) -> bytes:
        return data[::-1]

    data = bytes(range(256)) * 8192
    assert await soon(pair.to_b.request("reverse", data)) == data[::-1]
    assert await soon(pair.to_b.request("reverse", memoryview(b"abc"))) == b"cba"


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_in_the_handler_is_a_remote_error(pair: Pair, is_async: bool) -> None:
    def bad(peer: Peer, data: Any) -> None:
        raise KeyError("no such file")

    async def bad_async(peer: Peer, data: Any) -> None:
        raise KeyError("no such file")

    pair.b.on("file_request", bad_async if is_async else bad)
    with pytest.raises(RemoteError, match="KeyError: 'no such file'") as raised:
        await soon(pair.to_b.request("file_request", "x"))
    assert raised.value.code == "handler_error"
    assert pair.to_b.is_connected


async def test_a_request_that_nobody_handles_is_a_remote_error(pair: Pair) -> None:
    with pytest.raises(RemoteError, match="no handler for 'nothing'") as raised:
        await soon(pair.to_b.request("nothing"))
    assert raised.value.code == "no_handler"


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_reply_that_has_no_json_form_is_a_remote_error(pair: Pair, is_async: bool) -> None:
    async def bad_async(peer: Peer, data: Any) -> object:
        return object()

    pair.b.on("x", bad_async if is_async else lambda peer, data: object())
    with pytest.raises(RemoteError, match="not JSON"):
        await soon(pair.to_b.request("x"))


async def test_a_reply_that_is_no_contiguous_buffer_is_a_remote_error(pair: Pair) -> None:
    pair.b.on("x", lambda peer, data: memoryview(b"abcdef")[::2])
    with pytest.raises(RemoteError, match="contiguous"):
        await soon(pair.to_b.request("x"))
    with pytest.raises(UsageError, match="contiguous"):
        await soon(pair.to_b.request("x", memoryview(b"abcdef")[::2]))


async def test_a_request_that_takes_too_long_raises_and_ends_the_remote_handler(pair: Pair) -> None:
    handler = Hanging()
    pair.b.on("slow", handler)
    with pytest.raises(RequestTimeout, match=r"within 0\.05 s") as raised:
        await soon(pair.to_b.request("slow", 1, timeout=0.05))
    assert isinstance(raised.value, OperationTimeout | TimeoutError)
    assert await soon(handler.cancelled.get()) == 1
    pair.b.on("quick", lambda peer, data: "still here")
    assert await soon(pair.to_b.request("quick")) == "still here"


async def test_a_caller_that_is_cancelled_ends_the_remote_handler(pair: Pair) -> None:
    handler = Hanging()
    pair.b.on("slow", handler)
    task = asyncio.create_task(pair.to_b.request("slow", 7))
    assert await soon(handler.begun.get()) == 7
    task.cancel()
    assert await soon(handler.cancelled.get()) == 7
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pair.to_b.link.session.requests.count == 0


async def test_a_request_that_is_given_up_while_it_waits_is_never_begun(pair: Pair, until: Until) -> None:
    handler = Hanging()
    pair.b.on("slow", handler)
    first = asyncio.create_task(pair.to_b.request("slow", 1))
    assert await soon(handler.begun.get()) == 1
    with pytest.raises(RequestTimeout):
        await soon(pair.to_b.request("slow", 2, timeout=0.05))
    first.cancel()
    assert await soon(handler.cancelled.get()) == 1
    await soon(pair.to_b.ping())
    await until(lambda: pair.to_a.link.session.is_idle)
    assert handler.begun.empty()


async def test_a_plain_function_with_a_coroutine_can_be_cancelled_from_afar(pair: Pair) -> None:
    handler = Hanging()

    def plain(peer: Peer, data: Any) -> Awaitable[None]:
        return handler(peer, data)

    pair.b.on("slow", plain)
    task = asyncio.create_task(pair.to_b.request("slow", 7))
    assert await soon(handler.begun.get()) == 7
    task.cancel()
    assert await soon(handler.cancelled.get()) == 7
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_handlers_may_request_back_from_the_caller(pair: Pair) -> None:
    @pair.a.on("down")
    @pair.b.on("down")
    async def down(peer: Peer, data: int) -> list[int]:
        return [data, *await peer.request("up", data + 1)]

    @pair.a.on("up")
    @pair.b.on("up")
    async def up(peer: Peer, data: int) -> list[int]:
        return [data]

    async with asyncio.timeout(WAIT):
        replies = await asyncio.gather(
            *(end.request("down", 10 * n) for end in (pair.to_a, pair.to_b) for n in range(5))
        )
    assert replies == [[10 * n, 10 * n + 1] for _ in range(2) for n in range(5)]


async def test_a_handler_may_request_within_a_message_of_the_same_type(pair: Pair) -> None:
    @pair.a.on("ask")
    async def answer(peer: Peer, data: int) -> int:
        return data + 1

    @pair.b.on("ask")
    async def pass_on(peer: Peer, data: int) -> int:
        return int(await peer.request("ask", data)) * 2

    assert await soon(pair.to_b.request("ask", 20)) == 42


async def test_concurrent_requests_recurse_as_deep_as_they_like(pair: Pair) -> None:
    @pair.b.on("fall", concurrent=True)
    @pair.a.on("fall", concurrent=True)
    async def fall(peer: Peer, depth: int) -> int:
        return 0 if depth == 0 else 1 + int(await peer.request("fall", depth - 1))

    assert await soon(pair.to_b.request("fall", 20)) == 20


async def test_many_requests_at_once_each_get_their_own_answer(pair: Pair) -> None:
    @pair.b.on("echo", concurrent=True)
    async def echo(peer: Peer, data: int) -> int:
        for _ in range(data % 5):
            await asyncio.sleep(0)
        return data

    async with asyncio.timeout(WAIT):
        assert await asyncio.gather(*(pair.to_b.request("echo", n) for n in range(1000))) == list(range(1000))


async def test_more_requests_than_the_limit_are_refused(make_client: MakeClient, connect: Connect) -> None:
    pair = await connect(await make_client(session=SessionConfig(max_requests=3)), await make_client())
    handler = Hanging()
    pair.b.on("slow", handler, concurrent=True)
    waiting = [asyncio.create_task(pair.to_b.request("slow")) for _ in range(3)]
    for _ in range(3):
        await soon(handler.begun.get())
    with pytest.raises(UsageError, match="max_requests"):
        await pair.to_b.request("slow")
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_the_end_of_the_session_ends_requests_under_way(pair: Pair) -> None:
    handler = Hanging()
    pair.b.on("slow", handler)
    task = asyncio.create_task(pair.to_b.request("slow", timeout=None))
    await soon(handler.begun.get())
    await soon(pair.b.disconnect(pair.to_a, "enough"))
    with pytest.raises(PeerNotConnected, match="enough") as raised:
        await soon(task)
    assert isinstance(raised.value, RatsError)
    with pytest.raises(PeerNotConnected):
        await pair.to_b.request("slow")


async def test_a_timeout_of_next_to_nothing_fails_at_once(pair: Pair) -> None:
    @pair.b.on("x")
    async def late(peer: Peer, data: object) -> None:
        await asyncio.sleep(WAIT)  # the clocks of some loops count milliseconds, in which an answer can come

    with pytest.raises(RequestTimeout):
        await soon(pair.to_b.request("x", timeout=1e-9))


@pytest.mark.parametrize(("timeout", "error"), [(WAIT, RequestTimeout), (None, RemoteError)])
async def test_a_deadline_that_the_other_side_notices_first_is_a_timeout_all_the_same(
    pair: Pair, timeout: float | None, error: type[Exception]
) -> None:
    @pair.b.on("slow")
    async def slow(peer: Peer, data: Any) -> None:
        peer.link.session.send_error(1, Reason.TIMEOUT, "no answer within the request's timeout")
        peer.link.request_flush()

    with pytest.raises(error):
        await pair.to_b.request("slow", timeout=timeout)


async def test_whoever_asks_is_not_told_the_paths_of_this_machine(pair: Pair, tmp_path: Path) -> None:
    pair.b.on("read", lambda peer, data: (tmp_path / "secret.txt").read_text())
    with pytest.raises(RemoteError) as caught:
        await soon(pair.to_b.request("read"))
    assert caught.value.message == "FileNotFoundError: No such file or directory"
