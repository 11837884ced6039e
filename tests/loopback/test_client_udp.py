"""Sessions over UDP, alone and beside TCP."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest
from tests.loopback.conftest import LOOPBACK, Connect, MakeClient, until_true
from tests.loopback.test_client_paths import paths_of

from librats import Address, ConfigError, ConnectError, ConnectionMethod, PathChanged, RatsClient, RatsConfig, Stream

UDP_ONLY = ("udp",)


async def test_two_clients_talk_over_udp_alone(make_client: MakeClient, connect: Connect) -> None:
    a, b = await make_client(transports=UDP_ONLY), await make_client(transports=UDP_ONLY)
    pair = await connect(a, b)
    assert pair.to_b.method == pair.to_a.method == ConnectionMethod.UDP
    got: list[int] = []
    b.on("n", lambda peer, data: got.append(data))
    b.on("echo", lambda peer, data: data)
    for number in range(5000):
        await pair.to_b.send("n", number)
    assert await pair.to_b.request("echo", {"a": [1]}) == {"a": [1]}
    await until_true(lambda: len(got) == 5000)
    assert got == list(range(5000))
    assert await pair.to_a.ping() >= 0


async def test_a_big_stream_arrives_whole_over_udp(make_client: MakeClient, connect: Connect) -> None:
    pair = await connect(await make_client(transports=UDP_ONLY), await make_client(transports=UDP_ONLY))
    digests: asyncio.Queue[str] = asyncio.Queue()

    @pair.b.on_stream("file/1")
    async def take(stream: Stream) -> None:
        digest = hashlib.sha256()
        while piece := await stream.read(1 << 18):
            digest.update(piece)
        digests.put_nowait(digest.hexdigest())

    data = os.urandom(1 << 20) * 32
    stream = await pair.to_b.open_stream("file/1")
    for start in range(0, len(data), 1 << 16):
        stream.write(data[start : start + (1 << 16)])
        await stream.drain()
    await stream.close()
    assert await digests.get() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("longest", [1472, 4000])
async def test_packets_become_as_long_as_they_may(make_client: MakeClient, connect: Connect, longest: int) -> None:
    a, b = await make_client(transports=UDP_ONLY, max_packet=longest), await make_client(transports=UDP_ONLY)
    pair = await connect(a, b)
    room = []
    for peer in (pair.to_b, pair.to_a):
        seen = 0
        for _ in range(200):
            await peer.send("bytes", bytes(1 << 16))
            await peer.ping()
            seen = max(seen, peer.max_datagram)
        room.append(seen)
    assert longest - 100 < room[0] < longest
    assert room[1] > 2 * longest  # what the other side sends is its own affair


@pytest.mark.parametrize("longest", [1219, 65488])
def test_packets_that_no_path_is_held_to_are_refused(longest: int) -> None:
    with pytest.raises(ConfigError, match="max_packet"):
        RatsConfig(max_packet=longest)


async def test_what_listens_on_both_is_dialled_over_tcp_first(make_client: MakeClient, connect: Connect) -> None:
    pair = await connect(await make_client(), await make_client())
    assert pair.to_b.method is ConnectionMethod.TCP
    assert [attempt.method for attempt in pair.to_b.attempts] == [ConnectionMethod.TCP]


@pytest.mark.parametrize("transports", [("tcp",), ("udp",)])
async def test_either_way_leads_to_a_peer_that_has_only_one(
    make_client: MakeClient, connect: Connect, transports: tuple[str, ...]
) -> None:
    for order in (("tcp", "udp"), ("udp", "tcp")):
        a, b = await make_client(transports=order), await make_client(transports=transports)
        pair = await connect(a, b)
        assert pair.to_b.method == transports[0]
        assert len(a.peers) == len(b.peers) == 1
        await pair.to_b.close()


async def test_a_port_where_nobody_listens_is_told_soon(make_client: MakeClient) -> None:
    a, b = await make_client(), await make_client()
    port = b.listen_port
    await b.stop()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ConnectError) as caught:
        await a.connect((LOOPBACK, port))
    assert asyncio.get_running_loop().time() - begun < 2
    assert {attempt.method for attempt in caught.value.attempts} == {ConnectionMethod.TCP, ConnectionMethod.UDP}


async def test_a_session_moves_between_tcp_and_udp_and_back(make_client: MakeClient, connect: Connect) -> None:
    pair = await connect(await make_client(), await make_client())
    changes: list[PathChanged] = []
    pair.a.on_event(PathChanged, changes.append)
    got: list[int] = []
    pair.b.on("n", lambda peer, data: got.append(data))
    target = Address(LOOPBACK, pair.b.listen_port)
    methods = [ConnectionMethod.UDP, ConnectionMethod.TCP] * 5
    for turn, method in enumerate(methods):
        for number in range(200):
            await pair.to_b.send("n", turn * 200 + number)
        await paths_of(pair.a).move(pair.to_b.link, target, method)
        assert pair.to_b.method == pair.to_a.method == method
    await until_true(lambda: len(got) == 2000)
    assert got == list(range(2000))
    assert len(changes) == 10


async def test_stopping_ends_the_peers_session_over_udp(make_client: MakeClient, connect: Connect) -> None:
    pair = await connect(await make_client(transports=UDP_ONLY), await make_client(transports=UDP_ONLY))
    reasons: list[str] = []
    pair.b.on_disconnect(lambda peer, reason: reasons.append(reason))
    await pair.a.stop()
    await until_true(lambda: reasons)
    assert not pair.b.peers


async def test_a_client_without_udp_answers_none(make_client: MakeClient) -> None:
    a, b = await make_client(transports=UDP_ONLY), await make_client(transports=("tcp",))
    with pytest.raises(ConnectError):
        await a.connect((LOOPBACK, b.listen_port), timeout=1)


async def test_many_clients_over_one_port(make_client: MakeClient) -> None:
    hub = await make_client(transports=UDP_ONLY)
    got: set[int] = set()
    hub.on("n", lambda peer, data: got.add(data))
    others: list[RatsClient] = [await make_client(transports=UDP_ONLY) for _ in range(12)]
    peers = await asyncio.gather(*(other.connect((LOOPBACK, hub.listen_port)) for other in others))
    for number, peer in enumerate(peers):
        await peer.send("n", number)
    await until_true(lambda: len(got) == 12)
