"""Streams between two clients: bulk, half-close, refusal, reset, slow readers, and cancellation."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from librats import ClosedError, HandlerFailed, PeerNotConnected, RemoteError, SessionConfig, Stream, UsageError
from librats.services.stream import read_pieces, waiting_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

WAIT = 20.0
MIB = 1024 * 1024
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


async def opened(pair: Pair) -> tuple[Stream, Stream]:
    """Open a stream from the first client to the second one, and return both ends."""
    ends: asyncio.Queue[Stream] = asyncio.Queue()
    pair.b.on_stream("test/1", ends.put_nowait)
    near = await soon(pair.a.open_stream(pair.to_b, "test/1"))
    return near, await soon(ends.get())


async def test_twenty_megabytes_and_an_answer_behind_the_half_close(pair: Pair) -> None:
    @pair.b.on_stream("hash/1")
    async def hash_it(stream: Stream) -> None:
        found = hashlib.sha256()
        while data := await stream.read(65536):
            found.update(data)
        stream.write(found.hexdigest().encode())
        await stream.drain()

    block = bytes(range(256)) * 4096
    expected = hashlib.sha256()
    stream = await soon(pair.a.open_stream(pair.b.peer_id, "hash/1"))
    async with asyncio.timeout(WAIT):
        for _ in range(20):
            expected.update(block)
            stream.write(block)
            await stream.drain()
        stream.write_eof()
        assert await stream.read() == expected.hexdigest().encode()
        assert await stream.read(10) == b""
        await stream.close()
    assert stream.is_closing


async def test_both_ends_know_protocol_and_peer(pair: Pair) -> None:
    near, far = await opened(pair)
    assert (near.protocol, far.protocol) == ("test/1", "test/1")
    assert (near.peer, far.peer) == (pair.to_b, pair.to_a)
    assert (near.peer_id, far.peer_id) == (pair.b.peer_id, pair.a.peer_id)
    assert pair.to_b.stats.open_streams == 1


async def test_each_direction_ends_on_its_own(pair: Pair) -> None:
    near, far = await opened(pair)
    near.write(b"question")
    near.write_eof()
    near.write_eof()
    assert await soon(far.read()) == b"question"
    far.write(b"answer")
    assert await soon(near.readexactly(6)) == b"answer"
    far.write_eof()
    assert await soon(near.read(1)) == b""
    with pytest.raises(ClosedError):
        near.write(b"more")
    await soon(near.drain())
    await soon(near.close())
    await soon(near.close())
    await soon(far.close())


async def test_reading_in_pieces_and_by_iteration(pair: Pair) -> None:
    near, far = await opened(pair)
    near.write(b"0123456789")
    assert await soon(far.readexactly(4)) == b"0123"
    assert await soon(far.read(2)) == b"45"
    assert await soon(far.read(0)) == b""
    near.write_eof()
    async with asyncio.timeout(WAIT):
        assert b"".join([piece async for piece in far]) == b"6789"
    with pytest.raises(asyncio.IncompleteReadError) as raised:
        await soon(far.readexactly(3))
    assert raised.value.partial == b""


async def test_a_stream_outlives_messages_in_between(pair: Pair) -> None:
    near, far = await opened(pair)
    pair.b.on("x", lambda peer, data: data)
    reading = asyncio.create_task(far.read())
    for number in range(20):
        near.write(bytes([number]) * 100_000)
        assert await soon(pair.to_b.request("x", number)) == number
    near.write_eof()
    assert await soon(reading) == b"".join(bytes([number]) * 100_000 for number in range(20))


async def test_a_protocol_without_handler_is_refused(pair: Pair) -> None:
    with pytest.raises(RemoteError, match="no handler for streams of 'other/1'") as raised:
        await soon(pair.a.open_stream(pair.to_b, "other/1"))
    assert raised.value.code == "no_handler"
    ends = await opened(pair)
    pair.b.off_stream("test/1")
    with pytest.raises(RemoteError):
        await soon(pair.a.open_stream(pair.to_b, "test/1"))
    ends[0].write(b"those that are open go on")
    assert await soon(ends[1].read(5)) == b"those"


async def test_a_protocol_has_one_handler(pair: Pair) -> None:
    pair.b.on_stream("x/1", lambda stream: None)
    with pytest.raises(UsageError):
        pair.b.on_stream("x/1", lambda stream: None)
    with pytest.raises(UsageError):
        await pair.a.open_stream(pair.to_b, "x" * 256)


async def test_more_streams_than_the_limit_are_refused(make_client: MakeClient, connect: Connect) -> None:
    pair = await connect(await make_client(), await make_client(session=SessionConfig(max_incoming_streams=2)))
    kept: list[Stream] = []
    pair.b.on_stream("x/1", kept.append)
    streams = [await soon(pair.a.open_stream(pair.to_b, "x/1")) for _ in range(2)]
    with pytest.raises(RemoteError, match="max_incoming_streams"):
        await soon(pair.a.open_stream(pair.to_b, "x/1"))
    streams[0].reset()
    await soon(pair.to_b.ping())
    assert await soon(pair.a.open_stream(pair.to_b, "x/1")) is not None


async def test_a_reset_ends_both_directions_at_both_ends(pair: Pair) -> None:
    near, far = await opened(pair)
    near.write(b"x")
    near.reset("changed my mind")
    with pytest.raises(RemoteError, match="changed my mind") as raised:
        await soon(far.read())
    assert raised.value.code == "reset"
    with pytest.raises(RemoteError):
        far.write(b"y")
    with pytest.raises(RemoteError):
        await soon(far.drain())
    with pytest.raises(ClosedError):
        await soon(near.read())
    with pytest.raises(ClosedError):
        await soon(near.drain())
    await soon(far.close())
    await soon(near.close())


async def test_a_writer_that_waits_hears_of_a_reset(pair: Pair) -> None:
    near, far = await opened(pair)
    near.write(bytes(4 * MIB))
    draining = asyncio.create_task(near.drain())
    await soon(pair.to_b.ping())
    assert not draining.done()
    far.reset("too much")
    with pytest.raises(RemoteError, match="too much"):
        await soon(draining)


async def test_a_reader_that_closes_early_stops_the_writer(pair: Pair) -> None:
    near, far = await opened(pair)
    await soon(far.close())

    async def write_on() -> None:
        while True:
            near.write(bytes(65536))
            await near.drain()
            await asyncio.sleep(0)

    with pytest.raises(RemoteError):
        await soon(write_on())
    with pytest.raises(ClosedError):
        await soon(far.read())


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_in_the_stream_handler_reaches_the_other_end(pair: Pair, is_async: bool) -> None:
    told: asyncio.Queue[HandlerFailed] = asyncio.Queue()
    pair.b.on_event(HandlerFailed, told.put_nowait)

    def bad(stream: Stream) -> None:
        raise RuntimeError("on purpose")

    async def bad_async(stream: Stream) -> None:
        await stream.read(1)
        raise RuntimeError("on purpose")

    pair.b.on_stream("bad/1", bad_async if is_async else bad)

    async def use_it() -> None:
        stream = await pair.a.open_stream(pair.to_b, "bad/1")
        stream.write(b"x")
        await stream.read()

    with pytest.raises(RemoteError, match="RuntimeError: on purpose") as raised:
        await soon(use_it())
    assert raised.value.code == "handler_error"
    assert (await soon(told.get())).name == "bad/1"
    assert pair.to_b.is_connected


async def test_who_has_no_use_for_a_few_bytes_is_not_woken_for_them(pair: Pair, until: Until) -> None:
    near, far = await opened(pair)
    reading = asyncio.ensure_future(read_pieces(far, MIB, 10_000))
    near.write(bytes(9999))
    await until(lambda: waiting_bytes(far) == 9999)
    await soon(pair.to_b.ping())
    assert not reading.done()
    near.write(b"x")
    assert sum(map(len, await soon(reading))) == 10_000
    near.write(bytes(100))
    near.write_eof()
    assert sum(map(len, await soon(read_pieces(far, MIB, 10_000)))) == 100  # all that there is
    assert await soon(read_pieces(far, MIB, 10_000)) == []


async def test_what_came_before_a_stream_was_reset_is_read_though_more_was_waited_for(pair: Pair, until: Until) -> None:
    near, far = await opened(pair)
    near.write(bytes(100))
    reading = asyncio.ensure_future(read_pieces(far, MIB, 10_000))
    await until(lambda: waiting_bytes(far) == 100)
    near.reset()
    assert sum(map(len, await soon(reading))) == 100
    with pytest.raises(RemoteError):
        await soon(read_pieces(far, MIB, 10_000))


async def test_nobody_waits_for_more_than_a_window_lets_come(make_client: MakeClient, connect: Connect) -> None:
    small = SessionConfig(stream_window=64 * 1024, max_stream_window=64 * 1024)
    pair = await connect(await make_client(session=small), await make_client(session=small))
    near, far = await opened(pair)
    near.write(bytes(MIB))
    read = 0
    while read < MIB:
        read += sum(map(len, await soon(read_pieces(far, MIB, MIB))))
    assert read == MIB


async def test_a_slow_reader_holds_the_writer_back(make_client: MakeClient, connect: Connect, until: Until) -> None:
    small = SessionConfig(stream_window=64 * 1024, max_stream_window=128 * 1024)
    pair = await connect(await make_client(session=small), await make_client(session=small))
    near, far = await opened(pair)
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(200):
            near.write(bytes(100_000))
            await near.drain()
            written += 100_000
        near.write_eof()

    writing = asyncio.create_task(write())
    await until(lambda: written >= 900_000)
    for _ in range(3):
        await soon(pair.to_b.ping())
    held_back_at = written
    assert held_back_at < 2 * MIB
    read = 0
    async with asyncio.timeout(WAIT):
        while data := await far.read(50_000):
            read += len(data)
            assert written - read < 2 * MIB
        await writing
    assert read == 20_000_000


async def test_cancelling_a_read_loses_nothing(pair: Pair) -> None:
    near, far = await opened(pair)
    reading = asyncio.create_task(far.readexactly(1))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    near.write(b"abc")
    assert await soon(far.read(3)) == b"abc"


async def test_cancelling_drain_and_close_leaves_a_stream_that_can_be_reset(pair: Pair, until: Until) -> None:
    near, far = await opened(pair)
    near.write(bytes(8 * MIB))
    for waiting in (near.drain(), near.close()):
        task = asyncio.ensure_future(waiting)
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    near.reset()
    with pytest.raises(RemoteError):
        await soon(far.read())
    await until(lambda: pair.to_b.stats.open_streams == 0)


async def test_a_second_reader_is_refused(pair: Pair) -> None:
    near, far = await opened(pair)
    reading = asyncio.create_task(far.read(1))
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="another task is reading"):
        await far.read(1)
    near.write(b"x")
    assert await soon(reading) == b"x"


async def test_an_open_that_is_cancelled_leaves_no_stream(pair: Pair, until: Until) -> None:
    pair.b.on_stream("x/1", lambda stream: None)
    for turns in range(6):
        task = asyncio.create_task(pair.a.open_stream(pair.to_b, "x/1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            (await task).reset()
    await until(lambda: pair.to_b.stats.open_streams == pair.to_a.stats.open_streams == 0)


async def test_streams_that_are_done_are_forgotten(pair: Pair, until: Until) -> None:
    @pair.b.on_stream("echo/1")
    async def echo(stream: Stream) -> None:
        stream.write(await stream.read())

    for number in range(50):
        async with await soon(pair.a.open_stream(pair.to_b, "echo/1")) as stream:
            stream.write(b"x")
            stream.write_eof()
            if number % 2:
                assert await soon(stream.read()) == b"x"
            else:
                stream.reset()
    await until(lambda: pair.to_b.stats.open_streams == pair.to_a.stats.open_streams == 0)
    assert pair.to_b.link._streams == pair.to_a.link._streams == {}


async def test_an_exception_that_leaves_the_block_resets_the_stream(pair: Pair) -> None:
    near, far = await opened(pair)
    with pytest.raises(ZeroDivisionError):
        async with near:
            raise ZeroDivisionError
    with pytest.raises(RemoteError):
        await soon(far.read())


@pytest.mark.parametrize("who", ["a", "b"])
async def test_the_end_of_the_session_ends_its_streams(pair: Pair, who: str) -> None:
    near, far = await opened(pair)
    near.write(b"before")
    await soon(pair.to_b.ping())
    reading = asyncio.create_task(near.read())
    await asyncio.sleep(0)
    await soon((pair.a if who == "a" else pair.b).disconnect(pair.to_b if who == "a" else pair.to_a, "enough"))
    with pytest.raises(ClosedError, match="the session ended"):
        await soon(reading)
    assert await soon(far.read(100)) == b"before"
    for stream in (near, far):
        with pytest.raises(ClosedError):
            await soon(stream.read(1))
        with pytest.raises(ClosedError):
            stream.write(b"x")
        with pytest.raises(ClosedError):
            await soon(stream.drain())
        await soon(stream.close())
    with pytest.raises(PeerNotConnected):
        await pair.to_b.open_stream("test/1")


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_that_waits_for_something_cancelled_has_failed_like_others(pair: Pair, is_async: bool) -> None:
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    gone.cancel()

    async def later(stream: Stream) -> None:
        await gone

    pair.b.on_stream("gone/1", later if is_async else lambda stream: gone.result())
    failed: asyncio.Queue[HandlerFailed] = asyncio.Queue()
    pair.b.on_event(HandlerFailed, failed.put_nowait)
    stream = await soon(pair.a.open_stream(pair.to_b, "gone/1"))
    with pytest.raises(RemoteError, match="handler_error"):
        await soon(stream.read())
    assert isinstance((await soon(failed.get())).error, asyncio.CancelledError)
    assert pair.to_a.stats.open_streams == 0
    assert pair.to_a.is_connected
