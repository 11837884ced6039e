"""Sessions with librats 2 nodes: a node spelled out over another Noise library, dialling us and being dialled."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
from tests.reference.librats2_node import APP, CONTROL, PING, TYPED, Librats2Node, peer_id

from librats import ConnectError, PeerLacks, PeerNotConnected, RatsClient, SessionConfig
from librats.session.librats2_wire import Identify, channel_id

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Until

KEY = bytes(range(1, 33))
WAIT = 20.0


async def dialled_by_a_node(client: RatsClient, until: Until, key: bytes = KEY) -> Librats2Node:
    node = await Librats2Node.dial(client.listen_port, key)
    await until(lambda: peer_id(key) in client.peers)
    return node


async def skip_to(node: Librats2Node, wanted: int) -> tuple[int, bytes]:
    """Channel and payload of the node's next message of a type."""
    async with asyncio.timeout(WAIT):
        while True:
            kind, channel, payload = await node.receive()
            if kind == wanted:
                return channel, payload


async def test_a_node_dials_us_and_everything_it_can_passes_both_ways(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    client.on("chat", lambda peer, data: heard.put_nowait((peer.id, data)))
    client.on_bytes(lambda peer, data: heard.put_nowait((peer.id, data)), channel="raw")
    client.on_text(lambda peer, data: heard.put_nowait((peer.id, data)), channel="words")
    node = await dialled_by_a_node(client, until)
    peer = client.peers[peer_id(KEY)]
    assert (peer.agent, peer.outgoing) == ("librats 2", False)

    _, told = await skip_to(node, CONTROL)
    identify = Identify.decode(told)
    assert (identify.listen_port, identify.transports) == (client.listen_port, 1)
    assert identify.observed is not None
    assert identify.observed == ("127.0.0.1", 0)

    await node.send_json(b"chat", b'{"n":1}')
    await node.send(APP, b"\x00\xff", channel=channel_id("raw"), flags=0xFF)
    await node.send(APP, "grüße".encode(), channel=channel_id("words"))
    async with asyncio.timeout(WAIT):
        assert [await heard.get() for _ in range(3)] == [
            (peer.id, {"n": 1}),
            (peer.id, b"\x00\xff"),
            (peer.id, "grüße"),
        ]

    await peer.send("chat", {"n": 2})
    assert await skip_to(node, TYPED) == (0, b'\x00\x04chat{"n":2}')
    await client.send_bytes(b"abc", channel="raw")
    assert await skip_to(node, APP) == (channel_id("raw"), b"abc")
    await peer.send_text("ü", channel="words")
    assert await skip_to(node, APP) == (channel_id("words"), "ü".encode())
    await node.close()
    await until(lambda: not client.peers)


async def test_pings_are_answered_and_sent(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    node = await dialled_by_a_node(client, until)
    await node.send(PING, b"\x0012345678")
    async with asyncio.timeout(WAIT):
        answers = []
        while b"\x0112345678" not in answers:
            answers.append((await skip_to(node, PING))[1])
    pinging = asyncio.create_task(client.peers[peer_id(KEY)].ping())
    async with asyncio.timeout(WAIT):
        while not pinging.done():
            _, payload = await skip_to(node, PING)
            if payload[0] == 0:
                await node.send(PING, b"\x01" + payload[1:])
                await asyncio.wait([pinging], timeout=0.05)
    assert 0 < await pinging < WAIT
    await node.close()


async def test_we_dial_a_node_whose_id_we_expect(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    nodes: asyncio.Queue[Librats2Node] = asyncio.Queue()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node = Librats2Node(reader, writer, initiator=False, key=KEY)
        try:
            await node.shake_hands()
        except asyncio.IncompleteReadError:
            writer.close()
        else:
            nodes.put_nowait(node)

    async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
        where = server.sockets[0].getsockname()[:2]
        with pytest.raises(ConnectError, match="expected peer"):
            await client.connect(where, expect_id="ab" * 32)
        peer = await client.connect(where, expect_id=peer_id(KEY))
        node = await nodes.get()
        await peer.send("hello", [1])
        assert await skip_to(node, TYPED) == (0, b"\x00\x05hello[1]")
        await node.send(CONTROL, bytes.fromhex("010007 01 04c00002090007 00 03"))
        await until(lambda: peer.hello is not None and peer.hello.listen)
        assert peer.hello is not None
        assert peer.hello.listen == ["127.0.0.1:7", "192.0.2.9:7"]
        await client.disconnect(peer, "enough")
        async with asyncio.timeout(WAIT):
            assert await node.at_end()
        with pytest.raises(PeerNotConnected):
            await peer.send("hello", [2])
        await node.close()


async def test_what_librats_2_has_no_message_for_is_said_clearly(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    node = await dialled_by_a_node(client, until)
    peer = client.peers[peer_id(KEY)]
    with pytest.raises(PeerLacks, match="requests"):
        await peer.request("sum", [1])
    with pytest.raises(PeerLacks, match="streams"):
        await peer.open_stream("file/1")
    with pytest.raises(PeerLacks, match="datagrams"):
        peer.send_datagram(b"x")
    await peer.send("still", "here")
    assert await skip_to(node, TYPED) == (0, b'\x00\x05still"here"')
    await node.close()


@pytest.mark.parametrize(
    "inner",
    [
        (0, b""),
        (10, b"x" * 1000),
        (200, b""),
        (APP, b"nobody listens"),
        (PING, b"short"),
        (TYPED, b"\xff"),
        (TYPED, b"\x00\x04chat{"),
        (TYPED, b"\x00\x04ch"),
        (CONTROL, b"\x02"),
        (CONTROL, b""),
    ],
)
async def test_what_is_not_understood_is_dropped_and_the_session_lives(
    inner: tuple[int, bytes], make_client: MakeClient, until: Until
) -> None:
    client = await make_client()
    heard = asyncio.Event()
    client.on("chat", lambda peer, data: heard.set())
    node = await dialled_by_a_node(client, until)
    await node.send(*inner)
    await node.send_json(b"chat", b"1")
    async with asyncio.timeout(WAIT):
        await heard.wait()
    await node.close()


@pytest.mark.parametrize(
    "garbage", [struct.pack(">I", 5) + bytes(5), struct.pack(">I", 80 << 20), struct.pack(">I", 40) + bytes(40)]
)
async def test_a_block_that_is_no_block_ends_the_session_alone(
    garbage: bytes, make_client: MakeClient, until: Until
) -> None:
    client = await make_client()
    reasons: asyncio.Queue[str] = asyncio.Queue()
    client.on_disconnect(lambda peer, reason: reasons.put_nowait(reason))
    bad, good = await dialled_by_a_node(client, until), await dialled_by_a_node(client, until, os.urandom(32))
    bad._writer.write(garbage)
    async with asyncio.timeout(WAIT):
        reason = await reasons.get()
    assert "block" in reason or "authenticate" in reason
    assert len(client.peers) == 1
    await good.close()
    await bad.close()


async def test_a_node_ahead_of_a_slow_handler_is_held_back(make_client: MakeClient, until: Until) -> None:
    client = await make_client(session=SessionConfig(message_window=256 * 1024))
    go_on = asyncio.Event()
    seen = 0

    @client.on("flood")
    async def flood(peer: object, data: object) -> None:
        nonlocal seen
        await go_on.wait()
        seen += 1

    node = await dialled_by_a_node(client, until)
    text = b'"' + b"x" * 60_000 + b'"'
    sent = 0
    try:
        async with asyncio.timeout(1.0):
            while sent < 2000:
                await node.send_json(b"flood", text)
                sent += 1
    except TimeoutError:
        pass
    assert sent < 2000, "nothing held the node back"
    go_on.set()
    await until(lambda: seen >= sent)
    await node.close()


async def test_a_node_is_not_told_of_a_rotated_identity_and_its_session_goes_on(
    make_client: MakeClient, until: Until
) -> None:
    client = await make_client()
    node = await dialled_by_a_node(client, until)
    await client.rotate_identity()
    await client.send("chat", {"n": 1})
    kinds = []
    async with asyncio.timeout(WAIT):
        while TYPED not in kinds:
            kinds.append((await node.receive())[0])
    assert set(kinds) <= {CONTROL, PING, TYPED}
    await node.close()
    await until(lambda: not client.peers)
