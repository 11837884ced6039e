"""A peer that reads nothing: whatever we have for it, our memory does not grow."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.reference.librats2_node import PING, TYPED, Librats2Node, peer_id

from librats import PeerDisconnected, SessionConfig
from librats.session.frames import FrameType, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import MakeClient, Pair, Until

WAIT = 20.0
KIB, MIB = 1024, 1024 * 1024
KEY = bytes(range(1, 33))
PIECE = "x" * 10_000
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


def held(client: Any, to: Any) -> int:
    """Bytes that a client holds for a peer: in the session's queues and in the transport."""
    link = to.link
    session = link.session
    streams = 0 if link.speaks_librats2 else sum(stream.queued for stream in session.streams._streams.values())
    transport = 0 if link._transport is None else link._transport.get_write_buffer_size()
    return int(session.queued + session.control_queued + streams + transport)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def stop_reading(pair: Pair) -> None:
    """Read nothing more at the second client, nor let another connection come about, which it would read."""
    pair.to_a.link.pause()
    for client in (pair.a, pair.b):
        assert client._manager is not None
        client._manager.paths.dial = None


async def test_messages_wait_where_they_are_sent(pair: Pair) -> None:
    stop_reading(pair)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await pair.to_b.send("piece", PIECE)
            sent += 1

    task = asyncio.create_task(flood())
    for _ in range(30):
        await turns()
        assert held(pair.a, pair.to_b) < 2 * MIB
    before = sent
    await turns(300)
    assert sent == before, "or it was not full yet"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_broadcast_leaves_it_out(pair: Pair) -> None:
    stop_reading(pair)
    went = [pair.a.try_send("piece", PIECE) for _ in range(2000)]
    await turns()
    went += [await pair.a.send("piece", PIECE) for _ in range(2000)]
    assert sum(went) < 1000
    assert went[-1] == 0
    assert held(pair.a, pair.to_b) < 2 * MIB
    assert pair.a.statistics()["limits"]["send_high_water"]["refused"] > 2000


async def test_a_stream_waits_in_drain(pair: Pair) -> None:
    pair.b.on_stream("x/1", lambda stream: None)
    stream = await soon(pair.to_b.open_stream("x/1"))
    stop_reading(pair)
    written = 0

    async def flood() -> None:
        nonlocal written
        while True:
            stream.write(bytes(100_000))
            written += 100_000
            await stream.drain()

    task = asyncio.create_task(flood())
    for _ in range(30):
        await turns()
        assert held(pair.a, pair.to_b) < 2 * MIB
    before = written
    await turns(300)
    assert written == before
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_replies_hold_back_who_asks(pair: Pair) -> None:
    """It asks for much and reads none of it."""
    pair.a.on("ask", lambda peer, data: "y" * 50_000)
    answered = 0

    async def count(peer: Any, data: Any) -> str:
        nonlocal answered
        answered += 1
        return "y" * 50_000

    pair.a.on("ask later", count)
    # What b would take is not read: its answers pile up at a, which must not let them.
    stop_reading(pair)
    session: Any = pair.to_a.link.session
    for number in range(1, 3000):
        with contextlib.suppress(Exception):
            session.send_request((Kind.JSON, b"1"), b"ask" if number % 2 else b"ask later", timeout=None, now=0.0)
    pair.to_a.link.request_flush()
    for _ in range(60):
        await turns()
        assert held(pair.a, pair.to_b) < 2 * MIB
    assert 0 < answered < 500
    assert pair.a.statistics()["bytes_unhandled"] > 0


async def test_pings_that_are_not_read_end_the_session(make_client: MakeClient, connect: Any, until: Until) -> None:
    config = SessionConfig(max_control_rate=1e9)
    pair: Pair = await connect(await make_client(session=config), await make_client(session=config))
    ends: asyncio.Queue[PeerDisconnected] = asyncio.Queue()
    pair.a.on_event(PeerDisconnected, ends.put_nowait)
    stop_reading(pair)
    session: Any = pair.to_a.link.session
    most = 0
    async with asyncio.timeout(WAIT):
        while ends.empty():
            for _ in range(5000):
                session._control.add(FrameType.PING, 0, b"12345678")
            pair.to_a.link.request_flush()
            await turns(5)
            most = max(most, held(pair.a, pair.to_b)) if pair.to_b.is_connected else most
    event = ends.get_nowait()
    assert (event.code, event.reason) == ("limit", "the peer asks without reading the answers")
    assert most < 3 * MIB


async def test_more_pings_than_the_rate_end_the_session_and_both_sides_read_why(pair: Pair) -> None:
    ends: asyncio.Queue[PeerDisconnected] = asyncio.Queue()
    for client in (pair.a, pair.b):
        client.on_event(PeerDisconnected, ends.put_nowait)
    session: Any = pair.to_a.link.session
    for _ in range(25_000):
        session._control.add(FrameType.PING, 0, b"12345678")
    pair.to_a.link.request_flush()
    for _ in range(2):
        event = await soon(ends.get())
        assert event.code == "limit"
        assert event.reason.endswith("the limit is max_control_rate=20000 (SessionConfig)")
    assert pair.a.statistics()["limits"]["max_control_rate"]["refused"] == 1


async def test_window_updates_do_not_pile_up(pair: Pair) -> None:
    """Credit that we give while it reads nothing is bounded, because so is what it has sent."""
    heard: list[int] = []
    pair.a.on("piece", lambda peer, data: heard.append(1))
    stop_reading(pair)
    for _ in range(300):
        while pair.to_a.try_send("piece", PIECE):
            pass
        await turns(3)
        assert pair.to_b.link.session.control_queued < 64 * KIB
    assert heard


async def test_datagrams_are_dropped(pair: Pair, until: Until) -> None:
    stop_reading(pair)
    for _ in range(2000):
        pair.to_b.send_datagram(bytes(1000))
    await turns()
    assert held(pair.a, pair.to_b) < MIB


async def test_datagrams_that_slow_handlers_do_not_keep_up_with_are_dropped(pair: Pair, until: Until) -> None:
    gate = asyncio.Event()

    @pair.b.on_datagram
    async def slow(peer: Any, data: bytes) -> None:
        await gate.wait()

    for _ in range(600):
        pair.to_b.send_datagram(b"z")
        await asyncio.sleep(0)
    await until(lambda: pair.b.statistics()["limits"]["max_concurrent_handlers"]["refused"] == 600 - 256)
    assert pair.b.statistics()["limits"]["max_concurrent_handlers"]["current"] == 256
    gate.set()
    await until(lambda: pair.b.statistics()["limits"]["max_concurrent_handlers"]["current"] == 0)


# The same for a librats 2 node, which has no credit to give


async def deaf_node(client: Any, until: Until) -> Librats2Node:
    node = await Librats2Node.dial(client.listen_port, KEY)
    await until(lambda: peer_id(KEY) in client.peers)
    reader: Any = node._reader
    reader._transport.pause_reading()
    return node


async def test_a_node_that_does_not_read_makes_senders_wait(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    node = await deaf_node(client, until)
    peer = client.peers[peer_id(KEY)]
    sent = 0
    for _ in range(40):
        while peer.try_send("piece", PIECE):
            sent += 1
        await turns()
        assert held(client, peer) < 2 * MIB
    before = sent
    await turns(300)
    assert not peer.try_send("piece", PIECE)
    assert await client.send("piece", PIECE) == 0
    waiting = asyncio.create_task(peer.send("piece", PIECE))
    await turns()
    assert not waiting.done()
    assert sent == before
    waiting.cancel()
    await node.close()
    await until(lambda: not client.peers)


async def test_a_node_that_pings_without_reading_is_given_up_or_held_back(
    make_client: MakeClient, until: Until
) -> None:
    client = await make_client()
    node = await deaf_node(client, until)
    peer = client.peers[peer_id(KEY)]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 3.0
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(3.0):
            while client.peers and loop.time() < deadline:
                for _ in range(200):
                    await node.send(PING, b"\x0012345678")
                await turns(2)
                if peer.is_connected:
                    assert held(client, peer) < 4 * MIB
    await node.close()
    await until(lambda: not client.peers)


async def test_a_node_is_not_read_from_while_handlers_are_behind(make_client: MakeClient, until: Until) -> None:
    client = await make_client(session=SessionConfig(message_window=256 * KIB))
    gate = asyncio.Event()

    @client.on("piece")
    async def slow(peer: Any, data: Any) -> None:
        await gate.wait()

    node = await soon(Librats2Node.dial(client.listen_port, KEY))
    await until(lambda: peer_id(KEY) in client.peers)

    async def flood() -> None:
        for _ in range(2000):
            await node.send(TYPED, b"\x00\x05piece" + b'"' + b"x" * 10_000 + b'"')

    task = asyncio.create_task(flood())
    for _ in range(60):
        await turns()
        assert client.statistics()["bytes_unhandled"] < 1 * MIB
    assert not task.done()
    gate.set()
    await soon(task)
    await node.close()
    await until(lambda: not client.peers)
