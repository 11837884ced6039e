"""Clients with encryption off: what works between two of them and with librats 2, and what is refused."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.loopback.conftest import LOOPBACK, WAIT
from tests.reference.librats2_node import CONTROL, TYPED, PlaintextNode

from librats import (
    ConfigError,
    ConnectError,
    Encryption,
    IncomingRefused,
    PeerLacks,
    RatsClient,
    RatsConfig,
    UsageError,
)
from librats.session.librats2_wire import Identify

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Until

OFF = Encryption.OFF


async def test_messages_pass_both_ways_and_the_peer_says_that_nothing_is_proven(
    make_client: MakeClient, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "librats.client"):
        a, b = await make_client(encryption=OFF), await make_client(encryption="off")
    assert caplog.text.count("encryption is off") == 2
    heard: asyncio.Queue[Any] = asyncio.Queue()
    for client in (a, b):
        client.on("chat", lambda peer, data: heard.put_nowait((peer.id, data)))
        client.on_bytes(lambda peer, data: heard.put_nowait((peer.id, data)), channel="raw")
    peer = await a.connect((LOOPBACK, b.listen_port))
    await until(lambda: a.peer_id in b.peers)
    assert (peer.id, peer.is_encrypted, b.peers[a.peer_id].is_encrypted) == (b.peer_id, False, False)
    assert "encryption: none, and its id is not proven" in peer.explain()
    await peer.send("chat", {"n": 1})
    await b.send_bytes(b"x" * 100_000, to=a.peer_id, channel="raw")
    async with asyncio.timeout(WAIT):
        got = dict([await heard.get(), await heard.get()])
    assert got == {a.peer_id: {"n": 1}, b.peer_id: b"x" * 100_000}
    assert 0 < await peer.ping() < WAIT
    with pytest.raises(PeerLacks, match="requests"):
        await peer.request("sum", [1])
    await a.disconnect(peer)
    await until(lambda: not b.peers)


async def test_both_dialling_at_once_end_up_with_one_session(make_client: MakeClient, until: Until) -> None:
    a, b = await make_client(encryption=OFF), await make_client(encryption=OFF)
    await asyncio.gather(a.connect((LOOPBACK, b.listen_port)), b.connect((LOOPBACK, a.listen_port)))
    await until(lambda: len(a.peers[b.peer_id].links) == len(b.peers[a.peer_id].links) == 1)
    dialler, acceptor = (a, b) if a.peer_id < b.peer_id else (b, a)
    assert dialler.peers[acceptor.peer_id].outgoing
    assert not acceptor.peers[dialler.peer_id].outgoing


@pytest.mark.parametrize("dialler_encrypts", [True, False])
async def test_no_side_is_talked_into_what_it_does_not_want(make_client: MakeClient, dialler_encrypts: bool) -> None:
    dialler = await make_client(encryption="required" if dialler_encrypts else "off")
    acceptor = await make_client(encryption="off" if dialler_encrypts else "required")
    connected: list[object] = []
    refused: list[object] = []
    acceptor.on_connect(connected.append)
    acceptor.on_event(IncomingRefused, refused.append)
    with pytest.raises(ConnectError) as caught:
        await dialler.connect((LOOPBACK, acceptor.listen_port))
    hint = "no encryption there" if dialler_encrypts else "encryption is required there"
    assert hint in caught.value.attempts[0].error
    assert connected == []
    assert acceptor.statistics()["handshakes_failed"] == 1


async def test_no_peer_id_can_be_expected(make_client: MakeClient) -> None:
    a, b = await make_client(encryption=OFF), await make_client(encryption=OFF)
    for dial in (
        a.connect((LOOPBACK, b.listen_port), expect_id=b.peer_id),
        a.connect(f"{b.peer_id}@{LOOPBACK}:{b.listen_port}"),
        a.connect(b.peer_id),
    ):
        with pytest.raises(UsageError, match="encryption off"):
            await dial
    assert not a.peers
    peer = await a.connect((LOOPBACK, b.listen_port))
    assert await a.connect(b.peer_id) is peer


async def test_a_client_does_not_connect_to_itself(make_client: MakeClient) -> None:
    client = await make_client(encryption=OFF)
    with pytest.raises(ConnectError, match="itself"):
        await client.connect((LOOPBACK, client.listen_port))
    assert not client.peers


async def test_a_librats_2_node_without_encryption_dials_us_and_is_dialled(
    make_client: MakeClient, until: Until
) -> None:
    client = await make_client(encryption=OFF)
    heard: asyncio.Queue[Any] = asyncio.Queue()
    client.on("chat", lambda peer, data: heard.put_nowait((peer.id, data)))
    node = await PlaintextNode.dial(client.listen_port, bytes(range(32)))
    await until(lambda: bytes(range(32)).hex() in client.peers)
    kind, _, payload = await node.receive()
    assert kind == CONTROL
    assert Identify.decode(payload).listen_port == client.listen_port
    await node.send_json(b"chat", b"[1]")
    async with asyncio.timeout(WAIT):
        assert await heard.get() == (bytes(range(32)).hex(), [1])
    await client.send("chat", 2)
    while (received := await node.receive())[0] != TYPED:
        pass
    assert received[2] == b"\0\4chat2"
    await node.close()
    await until(lambda: not client.peers)

    dialled: asyncio.Future[PlaintextNode] = asyncio.get_running_loop().create_future()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other = PlaintextNode(reader, writer, initiator=False, key=bytes(32))
        await other.shake_hands()
        await other.send_json(b"chat", b'"dialled"')
        dialled.set_result(other)

    async with await asyncio.start_server(accepted, LOOPBACK, 0) as server:
        peer = await client.connect(server.sockets[0].getsockname()[:2])
        assert peer.id == "00" * 32
        async with asyncio.timeout(WAIT):
            assert await heard.get() == (peer.id, "dialled")
        await client.disconnect(peer)
        await (await dialled).close()


async def test_the_setting_is_changed_before_the_start_only(make_client: MakeClient) -> None:
    client = RatsClient(config=RatsConfig(listen_host=LOOPBACK))
    for wanted in (False, True):
        client.set_encryption_enabled(wanted)
        assert client.is_encryption_enabled is wanted
    running = await make_client()
    with pytest.raises(UsageError):
        running.set_encryption_enabled(False)
    with pytest.raises(ConfigError, match="encryption: must be one of required, off, not 'maybe'"):
        RatsConfig(encryption="maybe")  # type: ignore[arg-type]
    assert RatsConfig(encryption="off").encryption is OFF  # type: ignore[arg-type]
