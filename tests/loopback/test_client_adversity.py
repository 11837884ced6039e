"""Hostile and broken connections: nothing of it reaches the application, and honest peers still get in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from librats import (
    ClosedError,
    ConnectError,
    Identity,
    IncomingRefused,
    PathChanged,
    Peer,
    PeerDisconnected,
    PeerNotConnected,
    RatsClient,
    SessionConfig,
)
from librats.peers.links.paths import PathKeeper

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import MakeClient, Pair, Until

WAIT = 20.0
LOOPBACK = "127.0.0.1"
pytestmark = pytest.mark.timeout(60)

Tamper = Callable[[bytes, int], bytes]
"""Takes a piece and its offset in its direction, and returns what goes on."""


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


class Proxy:
    """Passes bytes on between whoever connects and one client, and may spoil them on the way."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.tamper: dict[str, Tamper] = {}
        self._stopped: set[str] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(LOOPBACK, self._target)
        self._writers += [writer, back]
        with contextlib.suppress(OSError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass("out", reader, back))
                group.create_task(self._pass("in", there, writer))

    async def _pass(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        offset = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                tamper = self.tamper.get(way)
                writer.write(data if tamper is None else tamper(data, offset))
                await writer.drain()
                offset += len(data)
        writer.close()

    def cut(self) -> None:
        """Drop every connection without a word."""
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_of(client: RatsClient) -> AsyncIterator[Proxy]:
    proxy = Proxy(client.listen_port)
    async with asyncio.TaskGroup() as group:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(proxy.serve(reader, writer))

        server = await asyncio.start_server(accept, LOOPBACK, 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.cut()


class BitFlip:
    """Turns one bit over at a place of the stream."""

    def __init__(self, place: int, bit: int = 0) -> None:
        self.place = place
        self.bit = bit
        self.done = False

    def __call__(self, data: bytes, offset: int) -> bytes:
        at = self.place - offset
        if not 0 <= at < len(data):
            return data
        self.done = True
        return data[:at] + bytes([data[at] ^ 1 << self.bit]) + data[at + 1 :]


class NextBit(BitFlip):
    """Turns one bit over in the middle of whatever comes next."""

    def __init__(self) -> None:
        super().__init__(0)

    def __call__(self, data: bytes, offset: int) -> bytes:
        if self.done:
            return data
        self.place = offset + len(data) // 2
        return super().__call__(data, offset)


class EveryBit(NextBit):
    """Turns one bit over in everything that comes."""

    def __call__(self, data: bytes, offset: int) -> bytes:
        self.done = False
        return super().__call__(data, offset)


async def meddle_with_the_second(
    a: RatsClient, b: RatsClient, proxy: Proxy, *, way: str, flip: BitFlip, heard: list[Any], until: Until
) -> None:
    """Connect, and send two messages one way, of which only the second is meddled with."""
    await soon(a.connect((LOOPBACK, proxy.port)))
    await until(lambda: b.peers)
    sender = a if way == "out" else b
    await sender.send("n", 1)
    await until(lambda: heard == [1])
    proxy.tamper[way] = flip
    await sender.send("n", 2)


@pytest.mark.parametrize("way", ["out", "in"])
async def test_a_bit_flipped_in_a_session_ends_the_path_and_nothing_wrong_is_delivered(
    make_client: MakeClient, way: str, until: Until
) -> None:
    a, b = await make_client(), await make_client()
    ends: list[PeerDisconnected] = []
    moves: list[PathChanged] = []
    heard: list[Any] = []
    a.on_event(PathChanged, moves.append)
    for client in (a, b):
        client.on("n", lambda peer, data: heard.append(data))
        client.on_event(PeerDisconnected, ends.append)
    async with proxy_of(b) as proxy:
        flip = NextBit()
        await meddle_with_the_second(a, b, proxy, way=way, flip=flip, heard=heard, until=until)
        await until(lambda: heard == [1, 2])
        assert flip.done
        assert moves
        assert ends == []


@pytest.mark.parametrize("way", ["out", "in"])
async def test_where_every_path_is_meddled_with_the_session_ends_and_nothing_wrong_is_delivered(
    make_client: MakeClient, way: str, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PathKeeper, "ways", lambda keeper, link: [])
    a, b = [await make_client(session=SessionConfig(path_timeout=0.3)) for _ in range(2)]
    ends: asyncio.Queue[PeerDisconnected] = asyncio.Queue()
    heard: list[Any] = []
    for client in (a, b):
        client.on("n", lambda peer, data: heard.append(data))
        client.on_event(PeerDisconnected, ends.put_nowait)
    async with proxy_of(b) as proxy:
        flip = EveryBit()
        await meddle_with_the_second(a, b, proxy, way=way, flip=flip, heard=heard, until=until)
        events = [await soon(ends.get()) for _ in range(2)]
        assert flip.done
        assert {event.code for event in events} == {"protocol_error", "lost"}
        assert heard == [1]
        assert not a.peers
        assert not b.peers


async def test_a_bit_flipped_in_any_handshake_message_fails_it(make_client: MakeClient, until: Until) -> None:
    a, b, patient = (
        await make_client(session=SessionConfig(handshake_timeout=1.0)),
        await make_client(),
        await make_client(),
    )
    connected: list[Peer] = []
    b.on_connect(connected.append)
    chooser = random.Random(20)  # noqa: S311 - which bits, not a secret
    # Out: 4 + 32 bytes, then 4 + 64 and more. In: 4 + 96 and more. Ends of messages are authentication tags.
    places = [("out", n) for n in (0, 3, 4, 20, 35, 36, 39, 40, 70, 90, 120)]
    places += [("in", n) for n in (0, 3, 4, 35, 36, 80, 90, 110, 130)]
    async with proxy_of(b) as proxy:
        for way, place in places:
            flip = BitFlip(place, chooser.randrange(8))
            proxy.tamper = {way: flip}
            with pytest.raises(ConnectError):
                await soon(a.connect((LOOPBACK, proxy.port)))
            assert flip.done
            assert a.peers == {}
        proxy.tamper = {}
        assert connected == []
        assert (await soon(patient.connect((LOOPBACK, proxy.port)))).id == b.peer_id
        await until(lambda: connected)


async def test_a_connection_that_is_cut_is_a_lost_peer(make_client: MakeClient, until: Until) -> None:
    a, b = await make_client(), await make_client()
    ends: asyncio.Queue[PeerDisconnected] = asyncio.Queue()
    for client in (a, b):
        client.on_event(PeerDisconnected, ends.put_nowait)
    b.on_stream("x/1", lambda stream: None)
    async with proxy_of(b) as proxy:
        to_b = await soon(a.connect((LOOPBACK, proxy.port)))
        await until(lambda: b.peers)
        stream = await soon(to_b.open_stream("x/1"))
        stream.write(bytes(8 * 1024 * 1024))
        waiting = [asyncio.create_task(what) for what in (stream.drain(), stream.read(), to_b.request("x"))]
        await asyncio.sleep(0)
        proxy.cut()
        async with asyncio.timeout(WAIT):
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ClosedError, ClosedError, PeerNotConnected]
        assert {(await soon(ends.get())).code for _ in range(2)} == {"lost"}


async def test_a_peer_that_falls_silent_is_given_up_though_data_waits_for_it(make_client: MakeClient) -> None:
    hasty = SessionConfig(idle_timeout=0.4, ping_interval=0.1, close_timeout=0.1)
    a, b = await make_client(session=hasty), await make_client()
    ends: asyncio.Queue[PeerDisconnected] = asyncio.Queue()
    a.on_event(PeerDisconnected, ends.put_nowait)
    b.on_stream("x/1", lambda stream: None)
    to_b = await soon(a.connect((LOOPBACK, b.listen_port)))
    stream = await soon(to_b.open_stream("x/1"))
    b.peers[a.peer_id].link.pause()  # from here on b reads nothing, as a machine that was unplugged
    for _ in range(4):
        await to_b.send_bytes(bytes(200_000))
    stream.write(bytes(100_000))
    event = await soon(ends.get())
    assert event.code == "timeout"
    assert "nothing was heard for 0.4 s" in event.reason
    assert a.peers == {}


GARBAGE = [
    b"",
    b"\0",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"\xff" * 100_000,
    bytes(100_000),
    b"\0\0\0\x20" + bytes(32),
    b"\0\0\0\x20" + b"\xff" * 32 + b"\0\0\0\x40" + bytes(64),
    b"\0\0\0\x20" + b"\x09" + bytes(31) + b"\0\0\x01\x40" + bytes(320),
    b"\xff\xff\xff\xff" + bytes(1000),
]


async def knock(port: int, data: bytes, *, wait: bool) -> None:
    """Send something to a port; hang up at once, or wait for the other side to do so."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(data)
        if wait:
            with contextlib.suppress(OSError):
                await writer.drain()
                writer.write_eof()
                while await reader.read(65536):
                    pass
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_garbage_on_the_port_never_reaches_the_application(
    make_client: MakeClient, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    client, honest = await make_client(), await make_client()
    told: list[object] = []
    client.on_connect(told.append)
    client.on_disconnect(lambda peer, reason: told.append(reason))
    noise = random.Random(7)  # noqa: S311 - garbage, no secret
    garbage = [*GARBAGE, *(noise.randbytes(noise.randrange(1, 3000)) for _ in range(60))]
    with caplog.at_level(logging.INFO):
        async with asyncio.timeout(WAIT):
            await asyncio.gather(
                *(knock(client.listen_port, data, wait=wait) for data in garbage for wait in (False, True))
            )
        await until(lambda: client._manager is not None and not client._manager._links)
    assert told == []
    assert [record for record in caplog.records if record.name.startswith("librats")] == []
    assert client.statistics()["handshakes_failed"] == 2 * len(garbage)
    assert (await soon(honest.connect((LOOPBACK, client.listen_port)))).id == client.peer_id


async def test_a_flood_of_idle_connections_locks_nobody_out(make_client: MakeClient, until: Until) -> None:
    client, honest = await make_client(max_half_open=8), await make_client()
    refused: list[IncomingRefused] = []
    client.on_event(IncomingRefused, refused.append)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            _, writer = await asyncio.open_connection(LOOPBACK, client.listen_port)
            stack.push_async_callback(writer.wait_closed)
            stack.callback(writer.transport.abort)
        await until(lambda: len(refused) == 32)
        assert (await soon(honest.connect((LOOPBACK, client.listen_port)))).id == client.peer_id
        await until(lambda: client.peers)
        assert client._manager is not None
        assert len(client._manager.admission.half_open) == 7
        assert "max_half_open" in refused[0].reason


async def test_a_handshake_that_crawls_is_given_up(make_client: MakeClient, until: Until) -> None:
    client = await make_client(session=SessionConfig(handshake_timeout=0.2))
    honest = await make_client()
    reader, writer = await asyncio.open_connection(LOOPBACK, client.listen_port)
    ended = asyncio.create_task(reader.read())
    crawled = 0
    async with asyncio.timeout(WAIT):
        with contextlib.suppress(OSError):
            while not ended.done():
                writer.write(b"\0\0\0\x20"[crawled : crawled + 1])
                crawled += crawled < 4
                await asyncio.wait([ended], timeout=0.02)
        with contextlib.suppress(OSError):
            await ended
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    await until(lambda: client.statistics()["handshakes_failed"] == 1)
    assert (await soon(honest.connect((LOOPBACK, client.listen_port)))).id == client.peer_id


@pytest.mark.parametrize("size", [0, 1, 4, 36, 37, 50, 104, 105, 150])
async def test_a_connection_that_ends_anywhere_in_the_handshake_fails_alone(
    make_client: MakeClient, until: Until, size: int
) -> None:
    a, b = await make_client(), await make_client()
    left = size

    def only_so_much(data: bytes, offset: int) -> bytes:
        nonlocal left
        piece, left = data[:left], max(0, left - len(data))
        if not left:
            proxy.cut()
        return piece

    async with proxy_of(b) as proxy:
        proxy.tamper["out"] = only_so_much
        with pytest.raises(ConnectError):
            await soon(a.connect((LOOPBACK, proxy.port)))
        await until(lambda: b.statistics()["handshakes_failed"] == 1)
        assert a.peers == b.peers == {}


async def test_a_peer_with_limits_out_of_reason_harms_no_broadcast(make_client: MakeClient, connect: Any) -> None:
    hub, normal = await make_client(), await make_client()
    mean = await make_client(session=SessionConfig(max_message_size=1, max_json_size=1), identity=Identity.generate())
    heard: asyncio.Queue[Any] = asyncio.Queue()
    normal.on("news", lambda peer, data: heard.put_nowait(data))
    await connect(mean, hub)
    await connect(normal, hub)
    assert await hub.send("news", {"for": "all"}) == 1
    assert await soon(heard.get()) == {"for": "all"}


async def test_an_interrupted_pair_of_clients_can_meet_again(pair: Pair, until: Until) -> None:
    for _ in range(10):
        pair.a.peers[pair.b.peer_id].link.abort()
        await until(lambda: not pair.a.peers and not pair.b.peers)
        await soon(pair.a.connect((LOOPBACK, pair.b.listen_port)))
        await until(lambda: pair.b.peers)
