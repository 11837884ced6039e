"""Cancellation at every point where a verb waits: nothing is left behind, and both sides go on working.

Each verb runs again and again, and is cancelled at its first wait, its second one, and so on until it gets through. It
is cancelled early, when it begins to wait, and late, when what it waited for has just come: then there is something to
be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any
from unittest import mock

import pytest
from tests.simulation.conftest import PORT, start_client, until

from librats import ConnectError, Peer, RatsClient, RatsConfig, RemoteError, SessionConfig, Stream
from librats.testing import SimNetwork

MAX_STEPS = 5000
SLOW = 3.0
SMALL: dict[str, Any] = {"message_window": 128 * 1024, "stream_window": 64 * 1024, "max_stream_window": 128 * 1024}


@types.coroutine
def interrupted(coroutine: Coroutine[Any, Any, Any], step: int, *, late: bool) -> Generator[Any, Any, bool]:
    """Run a coroutine and cancel the task at that step; return False where it was done before."""
    task = asyncio.current_task()
    assert task is not None
    advance: Callable[[], Any] = partial(coroutine.send, None)
    taken = 0
    while True:
        try:
            awaited = advance()
        except StopIteration:
            assert taken < step, "the cancellation was swallowed"
            return False
        taken += 1
        if taken == step:
            if late and awaited is not None:
                awaited.add_done_callback(lambda _: task.cancel())
            else:
                task.cancel()
        try:
            yield awaited
        except BaseException as error:
            advance = partial(coroutine.throw, error)
        else:
            advance = partial(coroutine.send, None)


class World:
    """Two hosts, a client on each, and what the verbs need."""

    def __init__(self, net: SimNetwork) -> None:
        self.net = net
        self.here, self.there = net.host("here"), net.host("there")
        session = SessionConfig(send_high_water=4096, send_low_water=1024, **SMALL)
        self.a = RatsClient(PORT, config=RatsConfig(session=session))
        self.b: RatsClient
        self.peer: Peer
        self.stream: Stream
        self.hold = asyncio.Event()

    async def begin(self) -> None:
        """Start the other side."""
        self.b = await start_client(self.there, session=SessionConfig(**SMALL))
        self.b.on("echo", lambda peer, data: data)
        self.a.on("echo", lambda peer, data: data)

        @self.b.on("slow")
        async def slow(peer: Peer, data: Any) -> Any:
            await asyncio.sleep(SLOW)
            return data

        @self.b.on("held")
        async def held(peer: Peer, data: Any) -> None:
            await self.hold.wait()

        @self.b.on_stream("echo/1")
        async def echo(stream: Stream) -> None:
            with contextlib.suppress(RemoteError):
                async for piece in stream:
                    await asyncio.sleep(SLOW)
                    stream.write(piece)
                    await stream.drain()

        @self.b.on_stream("held/1")
        async def hold(stream: Stream) -> None:
            await self.hold.wait()
            with contextlib.suppress(RemoteError):
                await stream.read()

    async def start(self) -> None:
        with self.here:
            await self.a.start()

    async def connect(self) -> None:
        self.peer = await self.a.connect(f"there:{PORT}")

    async def fill(self) -> None:
        """Let the queue of messages to the peer run full."""
        while self.peer.try_send("held", "x" * 1000):  # noqa: ASYNC110 - it sends
            await asyncio.sleep(0)

    async def open_stream(self, protocol: str = "echo/1") -> None:
        self.stream = await self.peer.open_stream(protocol)

    async def end(self) -> None:
        """Check that both sides still work, and stop them."""
        self.hold.set()
        self.net.heal()
        await self.start()
        await self.connect()
        assert await self.peer.request("echo", "still there") == "still there"
        assert await self.b.peers[self.a.peer_id].request("echo", "you too") == "you too"
        await self.open_stream()
        async with self.stream:
            self.stream.write(b"and streams")
            self.stream.write_eof()
            assert await self.stream.read() == b"and streams"
        await self.a.stop()
        await until(lambda: not self.b.peers, within=10)
        await self.b.stop()


class Verb:
    """What is cancelled, and what happens before."""

    def __init__(self, name: str, act: Callable[[World], Awaitable[object]], *before: str) -> None:
        self.name = name
        self._act = act
        self._before = before

    def __repr__(self) -> str:
        return self.name

    async def prepare(self, world: World) -> None:
        await world.begin()
        for step in self._before:
            await getattr(world, step)()

    async def act(self, world: World) -> None:
        await self._act(world)


async def hold_stream(world: World) -> None:
    await world.open_stream("held/1")


async def write_more_than_fits(world: World) -> None:
    await hold_stream(world)
    world.stream.write(bytes(600_000))
    world.net.at(world.net.time + 5, world.hold.set)
    await world.stream.drain()


async def close_behind_much(world: World) -> None:
    await hold_stream(world)
    world.stream.write(bytes(600_000))
    world.net.at(world.net.time + 5, world.hold.set)
    await world.stream.close()


async def read_an_answer(world: World) -> None:
    world.stream.write(b"x" * 10)
    assert await world.stream.readexactly(10) == b"x" * 10


async def next_message(world: World) -> None:
    messages = world.a.messages("news")
    await world.b.peers[world.a.peer_id].send("news", 1)
    _, data = await anext(messages)
    assert data == 1
    messages.close()


async def be_refused(world: World) -> None:
    with pytest.raises(ConnectError):
        await world.a.connect("there:1")


async def get_no_answer(world: World) -> None:
    world.net.cut(world.here, world.there)
    world.net.at(world.net.time + 20, world.net.heal)
    with pytest.raises(ConnectError):
        await world.a.connect(f"there:{PORT}")
    await asyncio.sleep(20)


async def dial_each_other(world: World) -> None:
    await asyncio.gather(world.a.connect(f"there:{PORT}"), world.b.connect(f"here:{PORT}"))


async def send_into_a_full_queue(world: World) -> None:
    world.net.at(world.net.time + 5, world.hold.set)
    await world.peer.send("held", "y" * 1000)


async def ask_behind_a_full_queue(world: World) -> None:
    world.net.at(world.net.time + 5, world.hold.set)
    await world.peer.request("echo", 1)


async def live_a_whole_life(world: World) -> None:
    with world.here:
        async with world.a:
            await world.connect()
            await world.peer.send("echo", 1)
            await world.peer.send_bytes(b"x")
            assert await world.peer.request("slow", 2) == 2
            await world.open_stream()
            async with world.stream as stream:
                stream.write(b"abc")
                await stream.drain()
                assert await stream.readexactly(3) == b"abc"
                stream.write_eof()
                assert await stream.read() == b""
            await world.peer.ping()
            await world.a.disconnect(world.peer)
            await world.connect()


CONNECTED = ("start", "connect")
VERBS = [
    Verb("start", World.start),
    Verb("connect", World.connect, "start"),
    Verb("connect, refused", be_refused, "start"),
    Verb("connect, no answer", get_no_answer, "start"),
    Verb("connect, both at once", dial_each_other, "start"),
    Verb("send", lambda world: world.a.send("echo", 1, to=world.peer), *CONNECTED),
    Verb("send, full", send_into_a_full_queue, *CONNECTED, "fill"),
    Verb("request", lambda world: world.peer.request("slow", 1), *CONNECTED),
    Verb("request, full", ask_behind_a_full_queue, *CONNECTED, "fill"),
    Verb("ping", lambda world: world.peer.ping(), *CONNECTED),
    Verb("messages", next_message, *CONNECTED),
    Verb("open_stream", World.open_stream, *CONNECTED),
    Verb("read", read_an_answer, *CONNECTED, "open_stream"),
    Verb("write", write_more_than_fits, *CONNECTED),
    Verb("close a stream", close_behind_much, *CONNECTED),
    Verb("disconnect", lambda world: world.a.disconnect(world.peer), *CONNECTED),
    Verb("disconnect, full", lambda world: world.a.disconnect(world.peer), *CONNECTED, "fill"),
    Verb("stop", lambda world: world.a.stop(), *CONNECTED, "open_stream"),
    Verb("stop, full", lambda world: world.a.stop(), *CONNECTED, "fill"),
    Verb("a whole life", live_a_whole_life),
]


def cancel_at(verb: Verb, step: int, how: str) -> tuple[bool, int]:
    """Cancel a verb at that step, and check what is left.

    Returns:
        Whether it was cancelled, rather than done before, and how many turns of the loop it took.
    """
    complaints: list[dict[str, Any]] = []
    turns = 0

    async def main() -> bool:
        world = World(net)
        await verb.prepare(world)
        with world.here:
            if how == "turn":
                task = asyncio.create_task(verb.act(world))
            else:
                task = asyncio.create_task(_run(interrupted(verb.act(world), step, late=how == "late")))

        def select(timeout: float | None = None) -> Any:
            nonlocal turns
            turns += 1
            if how == "turn" and turns == step:
                task.cancel()
                timeout = 0.0
            return plain_select(timeout)

        plain_select = net.selector.select
        with mock.patch.object(net.selector, "select", select):
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        await world.end()
        await asyncio.sleep(200)  # what a kernel keeps of closed connections is gone by then
        assert [host.connections for host in net.hosts] == [0, 0]
        return task.cancelled()

    with SimNetwork(seed=step) as net:
        net.loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        was_cancelled = net.run(main(), timeout=10_000)
        assert net.left_behind() == []
    assert complaints == []
    return was_cancelled, turns


async def _run(steps: Any) -> None:
    await steps


def check(verb: Verb, how: str, stride: int = 1) -> int:
    """Cancel a verb at every step, or at every so many; return how many steps there were."""
    for step in range(1, MAX_STEPS, stride):
        try:
            was_cancelled, _ = cancel_at(verb, step, how)
        except BaseException as error:
            error.add_note(f"{verb} was cancelled at step {step}")
            raise
        if not was_cancelled:
            gc.collect()  # exceptions that nobody has retrieved are logged when they go
            return step
    raise AssertionError(f"{verb} did not get through in {MAX_STEPS} steps")


@pytest.mark.parametrize("how", ["early", "late"])
@pytest.mark.parametrize("verb", VERBS, ids=repr)
def test_a_verb_may_be_cancelled_wherever_it_waits(verb: Verb, how: str, caplog: pytest.LogCaptureFixture) -> None:
    assert check(verb, how) > (0 if verb.name == "send" else 1)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("most", [6, pytest.param(MAX_STEPS, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
@pytest.mark.parametrize("verb", VERBS, ids=repr)
def test_a_verb_may_be_cancelled_in_any_turn_of_the_loop(
    verb: Verb, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    _, turns = cancel_at(verb, 0, "turn")
    assert check(verb, "turn", max(1, turns // most)) > min(turns, MAX_STEPS) // 2
    assert [record.getMessage() for record in caplog.records] == []
