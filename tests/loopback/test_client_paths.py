"""Sessions that go from one connection to another under the application."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random

import pytest
from tests.loopback.conftest import LOOPBACK, Connect, MakeClient, Pair, until_true

from librats import Address, PathChanged, PeerDisconnected, RatsClient, Stream
from librats.errors import HandshakeError
from librats.peers.links import paths
from librats.peers.links.paths import PathKeeper

SHORT = 0.1


def paths_of(client: RatsClient) -> PathKeeper:
    manager = client._manager
    assert manager is not None
    return manager.paths


class Road:
    """A way to an address that can be blocked without notice."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.address = Address("", 0)

    async def __aenter__(self) -> Road:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.address = Address(*self._server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    def block(self) -> None:
        """Carry nothing any more, and tell nobody."""
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, onward]
        for source, sink in ((reader, onward), (there, writer)):
            task = asyncio.get_running_loop().create_task(self._carry(source, sink))
            self._tasks.add(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
            sink.write_eof()
        except OSError:
            sink.transport.abort()


async def by_road(a: RatsClient, b: RatsClient, road: Road) -> Pair:
    to_b = await a.connect(road.address)
    await until_true(lambda: a.peer_id in b.peers)
    return Pair(a, b, to_b, b.peers[a.peer_id])


async def test_a_session_moves_and_every_message_comes_once_in_order(make_client: MakeClient, connect: Connect) -> None:
    a, b, to_b, to_a = await connect(await make_client(), await make_client())
    changes: list[PathChanged] = []
    a.on_event(PathChanged, changes.append)
    got: list[list[int]] = [[], []]
    a.on("n", lambda peer, data: got[0].append(data))
    b.on("n", lambda peer, data: got[1].append(data))
    source = random.Random(1)  # noqa: S311 - nothing here is a secret
    for number in range(3000):
        await to_b.send("n", number)
        await to_a.send("n", -number)
        if number % 300 == 150:
            mover, peer = ((a, to_b), (b, to_a))[source.randrange(2)]
            target = Address(LOOPBACK, (b if mover is a else a).listen_port)
            await paths_of(mover).move(peer.link, target)
    await until_true(lambda: len(got[0]) == len(got[1]) == 3000)
    assert got[1] == list(range(3000))
    assert got[0] == [-number for number in range(3000)]
    assert len(a.peers) == len(b.peers) == 1
    assert len(changes) == 10


class CutRoad(Road):
    """A way that ends when the side that is dialled has said something for the second time, which is lost."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, onward]
        task = asyncio.get_running_loop().create_task(self._carry(reader, onward))
        self._tasks.add(task)
        writer.write(await there.read(65536))
        await there.read(65536)
        task.cancel()
        for each in (writer, onward):
            each.close()


async def test_a_path_that_only_one_side_has_gone_over_to_does_not_end_the_session(
    make_client: MakeClient, connect: Connect
) -> None:
    a, b, to_b, to_a = await connect(await make_client(), await make_client())
    losses: list[PeerDisconnected] = []
    for client in (a, b):
        client.on_event(PeerDisconnected, losses.append)
    got: list[int] = []
    b.on("n", lambda peer, data: got.append(data))
    async with CutRoad(Address(LOOPBACK, b.listen_port)) as road:
        with pytest.raises(HandshakeError):
            await paths_of(a).move(to_b.link, road.address)
        await to_b.send("n", 1)
        await until_true(lambda: got == [1])
        assert await to_a.ping() >= 0
    assert losses == []


class DeafRoad(Road):
    """A way that ends when the side that dials has said something for the second time, which is lost."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, onward]
        onward.write(await reader.read(65536))
        writer.write(await there.read(65536))
        await reader.read(65536)
        for each in (writer, onward):
            each.close()


async def test_a_session_goes_back_to_its_path_where_the_peer_has_not_gone_over_to_the_new_one(
    make_client: MakeClient, connect: Connect
) -> None:
    a, b, to_b, to_a = await connect(await make_client(), await make_client())
    changes: list[object] = []
    for client in (a, b):
        client.on_event(PeerDisconnected, changes.append)
        client.on_event(PathChanged, changes.append)
    got: list[int] = []
    b.on("n", lambda peer, data: got.append(data))
    async with DeafRoad(Address(LOOPBACK, b.listen_port)) as road:
        with pytest.raises(HandshakeError, match="hung up"):
            await paths_of(a).move(to_b.link, road.address)
        for number in range(3):
            await to_b.send("n", number)
        await until_true(lambda: got == [0, 1, 2])
        assert await to_a.ping() >= 0
    assert changes == []


class SlowRoad(Road):
    """A way on which what the dialled side says for the second time comes late."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, onward]
        self._tasks.add(asyncio.get_running_loop().create_task(self._carry(reader, onward)))
        writer.write(await there.read(65536))
        late = await there.read(65536)
        await asyncio.sleep(10 * SHORT)
        writer.write(late)
        await self._carry(there, writer)


async def test_a_move_that_the_peer_may_have_made_is_waited_for_beyond_the_time_to_connect(
    make_client: MakeClient, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "DIAL_TIMEOUT", SHORT)
    a, b, to_b, _ = await connect(await make_client(), await make_client())
    async with SlowRoad(Address(LOOPBACK, b.listen_port)) as road:
        await paths_of(a).move(to_b.link, road.address)
        assert to_b.link.address == road.address
        assert await to_b.ping() >= 0


async def test_two_moves_that_cross_end_on_one_path(make_client: MakeClient, connect: Connect) -> None:
    a, b, to_b, to_a = await connect(await make_client(), await make_client())
    got: list[int] = []
    b.on("n", lambda peer, data: got.append(data))
    for turn in range(20):
        outcomes = await asyncio.gather(
            paths_of(a).move(to_b.link, Address(LOOPBACK, b.listen_port)),
            paths_of(b).move(to_a.link, Address(LOOPBACK, a.listen_port)),
            return_exceptions=True,
        )
        assert any(outcome is None for outcome in outcomes)
        assert all(outcome is None or isinstance(outcome, HandshakeError) for outcome in outcomes)
        await to_b.send("n", turn)
        assert await to_a.ping() >= 0
    await until_true(lambda: len(got) == 20)
    assert to_b.link.local_address == to_a.address


async def test_a_transfer_survives_a_path_that_dies_without_notice(make_client: MakeClient) -> None:
    a, b = await make_client(), await make_client()
    data = os.urandom(1 << 20) * 24
    received = asyncio.get_running_loop().create_future()

    @b.on_stream("file/1")
    async def take(stream: Stream) -> None:
        digest = hashlib.sha256()
        while piece := await stream.read(1 << 18):
            digest.update(piece)
        received.set_result(digest.hexdigest())

    async with Road(Address(LOOPBACK, b.listen_port)) as road:
        _, _, to_b, _ = await by_road(a, b, road)
        changes: list[PathChanged] = []
        a.on_event(PathChanged, changes.append)
        stream = await a.open_stream(to_b, "file/1")
        for start in range(0, len(data), 1 << 18):
            if start == 8 << 20:
                road.block()
            stream.write(data[start : start + (1 << 18)])
            await stream.drain()
        await stream.close()
        assert await received == hashlib.sha256(data).hexdigest()
    assert changes
    assert to_b.is_connected
    assert to_b.address != road.address


async def test_a_peer_whose_process_ends_is_gone_at_once(make_client: MakeClient, connect: Connect) -> None:
    a, _, to_b, to_a = await connect(await make_client(), await make_client())
    gone: list[PeerDisconnected] = []
    a.on_event(PeerDisconnected, gone.append)
    to_a.link.abort()
    await until_true(lambda: gone)
    assert not to_b.is_connected


async def test_a_path_for_a_session_that_is_not_there_is_closed(make_client: MakeClient) -> None:
    b = await make_client()
    reader, writer = await asyncio.open_connection(LOOPBACK, b.listen_port)
    writer.write((28).to_bytes(4) + bytes(28))
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    assert not b.peers


async def test_a_path_that_comes_to_nothing_leaves_the_session_where_it_was(
    make_client: MakeClient, connect: Connect
) -> None:
    a, b, to_b, _ = await connect(await make_client(), await make_client())
    stranger = await make_client()
    before = to_b.address
    with pytest.raises(HandshakeError):
        await paths_of(a).move(to_b.link, Address(LOOPBACK, stranger.listen_port))
    assert to_b.address == before
    assert await to_b.ping() >= 0
    assert len(b.peers) == 1
