"""A receiver that does not keep up: its senders wait, their memory stays bounded, and nobody else suffers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from librats import Peer, PeerNotConnected, RequestTimeout, SessionConfig, Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

WAIT = 20.0
MIB = 1024 * 1024
SMALL = SessionConfig(
    message_window=256 * 1024, send_high_water=128 * 1024, send_low_water=32 * 1024, max_concurrent_handlers=4
)
PIECE = b"x" * 4096
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


class Gate:
    """A handler that keeps every message until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.passed = 0

    async def __call__(self, peer: Peer, data: Any) -> None:
        await self.opened.wait()
        self.passed += 1


@pytest.fixture
async def stuck(make_client: MakeClient, connect: Connect) -> Pair:
    """Two clients with small buffers."""
    return await connect(await make_client(session=SMALL), await make_client(session=SMALL))


async def filled(pair: Pair) -> int:
    """Send until there is no more room, and return how many went."""
    sent = 0
    while True:
        while pair.to_b.try_send("piece", PIECE.decode()):
            sent += 1
        await soon(pair.to_b.ping())
        if not pair.to_b.try_send("piece", PIECE.decode()):
            return sent
        sent += 1


async def test_senders_wait_and_memory_stays_bounded(stuck: Pair, until: Until) -> None:
    gate = Gate()
    stuck.b.on("piece", gate)
    sent = await filled(stuck)
    assert sent * len(PIECE) < 512 * 1024
    assert stuck.to_b.stats.bytes_queued < SMALL.send_high_water + 2 * len(PIECE)
    waiting = [asyncio.create_task(stuck.to_b.send("piece", n)) for n in range(10)]
    await soon(stuck.to_b.ping())
    assert not any(task.done() for task in waiting)
    gate.opened.set()
    await soon(asyncio.gather(*waiting))
    await until(lambda: gate.passed == sent + 10)


async def test_streams_replies_and_pings_pass_a_stuck_receiver(stuck: Pair) -> None:
    stuck.b.on("piece", Gate())
    await filled(stuck)
    stuck.a.on("back", lambda peer, data: data)

    @stuck.b.on_stream("echo/1")
    async def echo(stream: Stream) -> None:
        stream.write(await stream.read())

    assert await soon(stuck.to_a.request("back", "reply")) == "reply"
    stream = await soon(stuck.to_b.open_stream("echo/1"))
    stream.write(b"y" * 100_000)
    stream.write_eof()
    assert await soon(stream.read()) == b"y" * 100_000
    stuck.to_b.send_datagram(b"z")
    assert await soon(stuck.to_b.ping()) >= 0  # a loop whose clock counts milliseconds may see none pass


async def test_a_broadcast_skips_who_has_no_room(stuck: Pair, make_client: MakeClient, connect: Connect) -> None:
    stuck.b.on("piece", Gate())
    heard: asyncio.Queue[Any] = asyncio.Queue()
    quick = await make_client()
    quick.on("piece", lambda peer, data: heard.put_nowait(data))
    await connect(quick, stuck.a)
    await filled(stuck)
    assert await soon(stuck.a.send("piece", "news")) == 1
    assert await soon(heard.get()) == "news"
    assert stuck.a.try_send("piece", to=stuck.to_b) == 0


async def test_a_request_that_finds_no_room_times_out(stuck: Pair) -> None:
    stuck.b.on("piece", Gate())
    await filled(stuck)
    with pytest.raises(RequestTimeout):
        await soon(stuck.to_b.request("piece", timeout=0.05))
    with pytest.raises(RequestTimeout):
        await soon(stuck.to_b.request("other", timeout=0.05))


async def test_who_waits_for_room_hears_of_the_end(stuck: Pair) -> None:
    stuck.b.on("piece", Gate())
    await filled(stuck)
    waiting = asyncio.create_task(stuck.to_b.send("piece", 1))
    await asyncio.sleep(0)
    await soon(stuck.to_a.close("enough"))
    with pytest.raises(PeerNotConnected):
        await soon(waiting)


async def test_who_waits_for_room_can_be_cancelled(stuck: Pair, until: Until) -> None:
    gate = Gate()
    stuck.b.on("piece", gate)
    sent = await filled(stuck)
    waiting = asyncio.create_task(stuck.to_b.send("piece", 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.opened.set()
    await until(lambda: gate.passed == sent)


async def test_an_iteration_that_is_not_read_holds_its_senders_back(stuck: Pair, until: Until) -> None:
    iterator = stuck.b.messages("piece")
    sent = await filled(stuck)
    assert sent * len(PIECE) < MIB
    async with asyncio.timeout(WAIT):
        for _ in range(sent):
            await anext(iterator)
    assert await soon(stuck.to_b.send("piece", 1)) is None
    assert (await soon(anext(iterator)))[1] == 1
    sent = await filled(stuck)
    assert not stuck.to_b.try_send("piece")
    iterator.close()
    await until(lambda: stuck.to_b.stats.bytes_queued == 0)


async def test_concurrent_handlers_are_limited_in_number(stuck: Pair, until: Until) -> None:
    running = most = done = 0

    @stuck.b.on("work", concurrent=True)
    async def work(peer: Peer, data: Any) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        done += 1

    for number in range(200):
        await stuck.to_b.send("work", number)
    await until(lambda: done == 200)
    assert most == SMALL.max_concurrent_handlers


async def test_a_message_longer_than_the_window_passes(stuck: Pair) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    @stuck.b.on_bytes
    async def take(peer: Peer, data: bytes) -> None:
        await heard.put(data)

    for _ in range(3):
        await soon(stuck.to_b.send_bytes(b"q" * MIB))
    for _ in range(3):
        assert await soon(heard.get()) == b"q" * MIB


async def test_who_asks_without_reading_the_answers_is_answered_no_further(stuck: Pair, until: Until) -> None:
    """Handlers wait while the network does not take the replies, and go on when it does."""
    answered = 0

    @stuck.b.on("ask")
    async def ask(peer: Peer, data: Any) -> bytes:
        nonlocal answered
        answered += 1
        return PIECE * 16

    # What the kernel holds for a reader that stopped is several megabytes; these are many more.
    stuck.to_b.link.pause()
    waiting = [asyncio.create_task(stuck.to_b.request("ask", timeout=None)) for _ in range(1000)]
    before = -1
    while before != answered or not answered:
        before = answered
        for _ in range(200):
            await asyncio.sleep(0)
    assert answered < 1000
    assert stuck.to_a.stats.bytes_queued < SMALL.send_high_water + 2 * 16 * len(PIECE)
    stuck.to_b.link.resume()
    async with asyncio.timeout(WAIT):
        assert set(await asyncio.gather(*waiting)) == {PIECE * 16}
    await until(lambda: stuck.to_a.stats.bytes_queued == 0)
