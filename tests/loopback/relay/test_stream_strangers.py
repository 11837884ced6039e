"""Connections that are held without asking for anything, on a relay in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from tests.loopback.relay.clients import WAIT, TurnClient

from librats.relay import stream_strangers
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
