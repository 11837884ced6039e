"""Messages, bytes, text and datagrams between two clients: who hears what, when, and in which order."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from librats import HandlerFailed, Peer, PeerNotConnected, SessionConfig, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

WAIT = 20.0
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


async def all_arrived(pair: Pair) -> None:
    """Wait until what the first client sent before has been handed to the second one's plain handlers."""
    await soon(pair.to_b.ping())


async def test_a_message_reaches_decorated_and_directly_given_handlers(pair: Pair) -> None:
    heard: asyncio.Queue[tuple[str, Peer, Any]] = asyncio.Queue()

    @pair.b.on("chat")
    async def chat(peer: Peer, data: Any) -> None:
        await heard.put(("async", peer, data))

    def plain(peer: Peer, data: Any) -> None:
        heard.put_nowait(("plain", peer, data))

    assert pair.b.on("chat", plain) is plain
    assert await pair.a.send("chat", {"message": "hi"}) == 1
    assert [await soon(heard.get()) for _ in range(2)] == [
        ("async", pair.to_a, {"message": "hi"}),
        ("plain", pair.to_a, {"message": "hi"}),
    ]
    assert pair.to_a.id == pair.a.peer_id


async def test_a_message_goes_both_ways(pair: Pair) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    pair.a.on("chat", lambda peer, data: heard.put_nowait((peer.id, data)))
    await pair.to_a.send("chat", [1, 2.5, None, True, "é"])
    assert await soon(heard.get()) == (pair.b.peer_id, [1, 2.5, None, True, "é"])


async def test_once_hears_one_message_and_no_more(pair: Pair) -> None:
    heard: list[Any] = []

    @pair.b.once("hello")
    def first(peer: Peer, data: Any) -> None:
        heard.append(data)

    async def first_async(peer: Peer, data: Any) -> None:
        heard.append(("async", data))

    pair.b.once("hello", first_async)
    for number in range(3):
        await pair.a.send("hello", number)
    await all_arrived(pair)
    assert heard == [0, ("async", 0)]


async def test_off_removes_one_handler_or_all(pair: Pair) -> None:
    heard: list[str] = []

    def one(peer: Peer, data: Any) -> None:
        heard.append("one")

    def two(peer: Peer, data: Any) -> None:
        heard.append("two")

    pair.b.on("x", one)
    pair.b.on("x", two)
    pair.b.on("x", two)
    assert pair.b.off("x", one) == 1
    await pair.a.send("x")
    await all_arrived(pair)
    assert heard == ["two", "two"]
    assert pair.b.off("x") == 2
    assert pair.b.off("x") == 0
    await pair.a.send("x")
    await all_arrived(pair)
    assert heard == ["two", "two"]
    assert pair.b.statistics()["messages_unhandled"] == 1


async def test_messages_of_one_type_are_handled_one_at_a_time_in_order(pair: Pair, until: Until) -> None:
    running = 0
    heard: list[int] = []

    @pair.b.on("step")
    async def step(peer: Peer, data: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        for _ in range(data % 3):
            await asyncio.sleep(0)
        running -= 1
        heard.append(data)

    for number in range(300):
        await pair.a.send("step", number)
    await until(lambda: len(heard) == 300)
    assert heard == list(range(300))


async def test_a_slow_type_does_not_hold_up_another(pair: Pair) -> None:
    release = asyncio.Event()
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @pair.b.on("slow")
    async def slow(peer: Peer, data: Any) -> None:
        await release.wait()
        await heard.put("slow")

    pair.b.on("fast", lambda peer, data: heard.put_nowait("fast"))
    await pair.a.send("slow")
    await pair.a.send("fast")
    assert await soon(heard.get()) == "fast"
    release.set()
    assert await soon(heard.get()) == "slow"


async def test_concurrent_handlers_run_side_by_side(pair: Pair) -> None:
    meeting = asyncio.Barrier(5)
    done: asyncio.Queue[int] = asyncio.Queue()

    @pair.b.on("work", concurrent=True)
    async def work(peer: Peer, data: int) -> None:
        await meeting.wait()  # returns only when five are here at once
        await done.put(data)

    for number in range(5):
        await pair.a.send("work", number)
    assert sorted([await soon(done.get()) for _ in range(5)]) == list(range(5))


async def test_a_plain_function_that_returns_an_awaitable_is_awaited_and_those_behind_it_too(pair: Pair) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    pair.b.on("x", lambda peer, data: asyncio.sleep(0, "from the awaitable"))
    pair.b.on("x", lambda peer, data: heard.put_nowait(data))
    await pair.a.send("x", 1)
    await pair.a.send("x", 2)
    assert [await soon(heard.get()) for _ in range(2)] == [1, 2]
    assert await soon(pair.to_b.request("x", 3)) == "from the awaitable"
    assert await soon(heard.get()) == 3


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_that_raises_is_logged_and_harms_nothing(
    pair: Pair, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    told: asyncio.Queue[HandlerFailed] = asyncio.Queue()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    pair.b.on_event(HandlerFailed, told.put_nowait)

    def bad(peer: Peer, data: Any) -> None:
        raise RuntimeError("on purpose")

    async def bad_async(peer: Peer, data: Any) -> None:
        raise RuntimeError("on purpose")

    pair.b.on("x", bad_async if is_async else bad)
    pair.b.on("x", lambda peer, data: heard.put_nowait(data))
    with caplog.at_level(logging.ERROR, "librats"):
        await pair.a.send("x", 1)
        await pair.a.send("x", 2)
        assert [await soon(heard.get()) for _ in range(2)] == [1, 2]
    event = await soon(told.get())
    assert (event.peer, event.name, str(event.error)) == (pair.to_a, "x", "on purpose")
    assert pair.b.statistics()["handler_errors"] == 2
    assert len(caplog.records) == 2
    assert pair.to_a.is_connected


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_that_meets_a_cancelled_future_harms_nothing(pair: Pair, is_async: bool) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    given_up.cancel()

    def stumble(peer: Peer, data: Any) -> None:
        given_up.result()

    async def stumble_async(peer: Peer, data: Any) -> None:
        await given_up

    pair.b.on("x", stumble_async if is_async else stumble)
    pair.b.on("x", lambda peer, data: heard.put_nowait(data))
    for number in range(3):
        await pair.a.send("x", number)
    assert [await soon(heard.get()) for _ in range(3)] == [0, 1, 2]
    assert pair.to_a.is_connected


async def test_a_broadcast_reaches_every_peer_and_tells_how_many(make_client: MakeClient, connect: Connect) -> None:
    hub = await make_client()
    others = [await make_client() for _ in range(3)]
    heard: asyncio.Queue[str] = asyncio.Queue()
    for other in others:
        other.on("news", lambda peer, data, who=other: heard.put_nowait(who.peer_id))
        await connect(other, hub)
    assert await hub.send("news", "all") == 3
    assert {await soon(heard.get()) for _ in range(3)} == {other.peer_id for other in others}
    assert await hub.send("news", "one", to=others[1].peer_id) == 1
    assert await soon(heard.get()) == others[1].peer_id
    assert await hub.send("news", "one", to=hub.peers[others[2].peer_id]) == 1
    assert await soon(heard.get()) == others[2].peer_id
    assert heard.empty()


async def test_a_broadcast_to_nobody_reaches_nobody(make_client: MakeClient) -> None:
    client = await make_client()
    assert await client.send("news") == 0
    assert client.try_send("news") == 0
    assert await client.send_bytes(b"news") == 0


async def test_a_broadcast_leaves_out_who_takes_only_shorter_messages(
    make_client: MakeClient, connect: Connect
) -> None:
    hub, tall = await make_client(), await make_client()
    short = await make_client(session=SessionConfig(max_message_size=1000, max_json_size=1000))
    heard: asyncio.Queue[int] = asyncio.Queue()
    tall.on_bytes(lambda peer, data: heard.put_nowait(len(data)))
    await connect(hub, tall)
    to_short = (await connect(hub, short)).to_b
    assert await hub.send_bytes(bytes(1001)) == 1
    assert await soon(heard.get()) == 1001
    with pytest.raises(UsageError, match="max_message_size"):
        await to_short.send_bytes(bytes(1001))
    with pytest.raises(UsageError, match="max_message_size"):
        await hub.send_bytes(bytes(65 * 1024 * 1024))


async def test_sending_to_somebody_who_is_not_there_raises(pair: Pair) -> None:
    nobody = "00" * 32
    for call in (
        pair.a.send("x", to=nobody),
        pair.a.send_bytes(b"", to=nobody),
        pair.a.send_text("", to=nobody),
        pair.a.request(nobody, "x"),
        pair.a.open_stream(nobody, "x"),
        pair.a.disconnect(nobody),
    ):
        with pytest.raises(PeerNotConnected):
            await call
    with pytest.raises(PeerNotConnected):
        pair.a.send_datagram(b"", to=nobody)
    with pytest.raises(PeerNotConnected):
        pair.a.try_send("x", to=nobody)


@pytest.mark.parametrize("data", [object(), math, "x" * (1024 * 1024)], ids=["object", "module", "long"])
async def test_what_has_no_json_form_or_is_too_long_is_refused_at_once(pair: Pair, data: Any) -> None:
    with pytest.raises(UsageError):
        await pair.a.send("x", data)
    with pytest.raises(UsageError):
        await pair.to_b.request("x", data)
    with pytest.raises(UsageError):
        pair.a.try_send("x" * 256)
    assert pair.to_b.is_connected


async def test_three_megabytes_of_bytes_arrive_as_they_were(pair: Pair) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @pair.b.on_bytes
    async def take(peer: Peer, data: bytes) -> None:
        await heard.put((peer, data))

    data = bytes(range(256)) * (3 * 1024 * 1024 // 256)
    assert await pair.a.send_bytes(data) == 1
    assert await soon(heard.get()) == (pair.to_a, data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytearray(b"abc"),
        memoryview(b"abcdef")[2:],
        np.arange(1000, dtype=np.float32),
        np.arange(12).reshape(3, 4),
        np.empty((0, 3)),
        np.arange(4, dtype=">u4"),
        np.array([1 + 2j]),
    ],
    ids=["empty", "bytearray", "view", "floats", "table", "emptytable", "bigendian", "complex"],
)
async def test_any_contiguous_buffer_goes_as_bytes(pair: Pair, data: Any) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    pair.b.on_bytes(lambda peer, received: heard.put_nowait(received), channel="numbers")
    await pair.a.send_bytes(data, to=pair.to_b, channel="numbers")
    assert await soon(heard.get()) == (data.tobytes() if hasattr(data, "tobytes") else bytes(data))
    await pair.a.send_bytes(data, channel="numbers")
    assert await soon(heard.get()) == (data.tobytes() if hasattr(data, "tobytes") else bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        np.arange(10)[::2],
        np.asfortranarray(np.ones((3, 4))),
        memoryview(b"abcdef")[::2],
        np.array([object()]),
        np.array(["2020"], dtype="M8[s]"),
        "text",
        7,
        None,
    ],
    ids=["strided", "fortran", "view", "objects", "dates", "str", "int", "none"],
)
async def test_what_is_no_contiguous_buffer_is_refused_as_bytes(pair: Pair, data: Any) -> None:
    with pytest.raises(UsageError, match=r"contiguous|objects"):
        await pair.a.send_bytes(data)
    with pytest.raises(UsageError, match=r"contiguous|objects"):
        await pair.to_b.send_bytes(data)
    with pytest.raises(UsageError, match=r"contiguous|objects"):
        pair.to_b.send_datagram(data)


async def test_a_buffer_may_be_reused_as_soon_as_it_is_sent(pair: Pair) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    pair.b.on_bytes(lambda peer, data: heard.put_nowait(data))
    buffer = bytearray(b"a" * 100_000)
    await pair.a.send_bytes(buffer)
    buffer[:] = b"b" * 100_000
    assert await soon(heard.get()) == b"a" * 100_000


async def test_text_and_channels_keep_apart(pair: Pair) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @pair.b.on_text
    def text(peer: Peer, data: str) -> None:
        heard.put_nowait(("text", data))

    @pair.b.on_text(channel="side")
    async def side(peer: Peer, data: str) -> None:
        heard.put_nowait(("side", data))

    pair.b.on("side", lambda peer, data: heard.put_nowait(("json", data)))
    assert await pair.a.send_text("naïve 🐀") == 1
    assert await soon(heard.get()) == ("text", "naïve 🐀")
    assert await pair.a.send_text("", to=pair.to_b, channel="side") == 1
    assert await soon(heard.get()) == ("side", "")
    with pytest.raises(UsageError):
        await pair.a.send_text(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        await pair.a.send_text("\ud800")


async def test_a_datagram_arrives_over_tcp_too(pair: Pair) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @pair.b.on_datagram
    def take(peer: Peer, data: bytes) -> None:
        heard.put_nowait((peer, data))

    pair.a.send_datagram(b"ping", to=pair.b.peer_id)
    pair.to_b.send_datagram(np.arange(3, dtype=np.uint8))
    assert await soon(heard.get()) == (pair.to_a, b"ping")
    assert await soon(heard.get()) == (pair.to_a, b"\0\1\2")
    with pytest.raises(UsageError):
        pair.to_b.send_datagram(bytes(70_000))


async def test_messages_can_be_iterated_over(pair: Pair) -> None:
    iterator = pair.b.messages("chat")
    for number in range(3):
        await pair.a.send("chat", number)
    heard = []
    async with asyncio.timeout(WAIT):
        async for peer, data in iterator:
            heard.append((peer.id, data))
            if data == 2:
                break
    assert heard == [(pair.a.peer_id, number) for number in range(3)]


async def test_an_iteration_that_is_left_listens_no_more(pair: Pair) -> None:
    waiting = pair.b.messages("chat")
    await pair.a.send("chat", 1)
    async with asyncio.timeout(WAIT):
        async for _ in waiting:
            break
    del waiting
    gc.collect()
    await pair.a.send("chat", 2)
    await all_arrived(pair)
    assert pair.b.statistics()["messages_unhandled"] == 1


async def test_two_iterations_each_get_everything(pair: Pair) -> None:
    first, second = pair.b.messages("chat"), pair.b.messages("chat")
    await pair.a.send("chat", "x")
    assert (await soon(anext(first)))[1] == "x"
    assert (await soon(anext(second)))[1] == "x"


async def test_an_iteration_ends_when_the_client_stops(pair: Pair) -> None:
    async def collect() -> list[Any]:
        return [data async for _, data in pair.b.messages("chat")]

    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
        collecting = group.create_task(collect())
        await asyncio.sleep(0)
        await pair.a.send("chat", 1)
        await all_arrived(pair)
        await pair.b.stop()
    assert collecting.result() == [1]


async def test_a_message_without_handler_is_counted_and_told_to_who_asks(pair: Pair) -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()
    await pair.a.send("unheard", 1)
    await all_arrived(pair)
    assert pair.b.statistics()["messages_unhandled"] == 1
    pair.b.on_unhandled(lambda peer, name, data: told.put_nowait((peer, name, data)))
    await pair.a.send("unheard", 2)
    assert await soon(told.get()) == (pair.to_a, "unheard", 2)


async def test_keys_change_under_messages_and_streams_both_ways(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    session = SessionConfig(rekey_messages=2, rekey_interval=0.001)
    pair = await connect(await make_client(session=session), await make_client(session=session))
    heard: list[tuple[str, int]] = []
    pair.a.on("n", lambda peer, data: heard.append(("a", data)))
    pair.b.on("n", lambda peer, data: heard.append(("b", data)))
    for number in range(100):
        await pair.to_b.send("n", number)
        await pair.to_a.send("n", number)
        if number % 10 == 0:
            await pair.to_b.ping()
    await until(lambda: len(heard) == 200)
    assert [data for side, data in heard if side == "a"] == list(range(100))
    assert [data for side, data in heard if side == "b"] == list(range(100))
    for peer in (pair.to_b, pair.to_a):
        assert peer.link.session._rekeyed_count > 10  # type: ignore[union-attr]
