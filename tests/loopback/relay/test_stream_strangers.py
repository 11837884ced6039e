"""Connections that are held without asking for anything, on a relay in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from tests.loopback.relay.clients import WAIT, TurnClient

from librats import Address, Identity, NatTraversalConfig, RatsClient, RatsConfig
from librats.relay import stream_strangers
from librats.relay.config import RelayConfig
from librats.relay.server import RelayServer
from librats.runtime.offload import run_in_thread
from librats.stun.constants import Attribute, Method

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay

FEW = 5


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_strangers, "MOST_OF_A_SOURCE", FEW)


async def connected(server: RelayServer, count: int) -> None:
    async with asyncio.timeout(WAIT):
        while len(server._streams.connections) != count:  # type: ignore[union-attr] # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_node_has_its_session_where_a_stranger_begins_more_than_there_may_be() -> None:
    server = RelayServer(
        RelayConfig(listen=(Address("127.0.0.1", 0),), users={"ann": "secret"}, max_connections=4),
        identity=Identity.generate(),
    )
    async with server, contextlib.AsyncExitStack() as stack:
        assert server.introducer is not None
        where, sessions = server.addresses[0], server.introducer.sessions
        for count in range(1, 9):
            held = stack.enter_context(socket.create_connection((where.host, where.port), WAIT))
            await run_in_thread(lambda held=held: held.sendall(b"\0\0"))  # type: ignore[misc]
            async with asyncio.timeout(WAIT):
                while len(sessions._open) != min(count, 2):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        introducer = f"{server.introducer.identity.peer_id}@{where}"
        nat = NatTraversalConfig(stun_servers=(), enable_port_mapping=False, introducers=(introducer,))
        config = RatsConfig(listen_host="127.0.0.1", transports=("tcp",), nat=nat)
        node = await stack.enter_async_context(RatsClient(config=config, identity=Identity.generate()))
        async with asyncio.timeout(WAIT / 2):  # of the ten seconds that a handshake may take
            while not node.introducers:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_who_holds_every_place_of_his_source_loses_the_oldest_to_the_next_one(start_relay: StartRelay) -> None:
    server = await start_relay(max_connections=2 * FEW)
    where = server.addresses[0]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(TurnClient(where, "tcp"))
        await run_in_thread(client.allocate)
        held = []
        for count in range(3 * FEW):
            held.append(stack.enter_context(socket.create_connection((where.host, where.port), WAIT)))
            await run_in_thread(lambda: held[-1].sendall(b"\0"))  # a byte now and then would keep it for ever
            await connected(server, min(count + 2, FEW + 1))
        late = stack.enter_context(TurnClient(where, "tcp"))
        await run_in_thread(late.allocate)
        for lost in held[: 2 * FEW + 1]:
            assert await run_in_thread(lambda lost=lost: lost.recv(1)) == b""  # type: ignore[misc]
        assert await run_in_thread(lambda: client.code(Method.REFRESH, (Attribute.LIFETIME, 600))) == 0
        assert await run_in_thread(lambda: late.code(Method.REFRESH, (Attribute.LIFETIME, 600))) == 0
    await connected(server, 0)
    assert server._streams is not None
    assert len(server._streams._strangers) == 0
