"""Reliable streams on UDP ports that somebody else has opened, and goes on to use."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from librats.runtime.entropy import SystemEntropy
from librats.runtime.rudp import RudpPort
from librats.runtime.udp import DatagramEndpoint, open_datagram
from librats.types import Address


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Reader(asyncio.Protocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.more.set()


async def opened(heard: list[bytes]) -> DatagramEndpoint:
    return await open_datagram("127.0.0.1", receive=lambda batch: heard.extend(data for data, _ in batch))


@pytest.mark.parametrize("portable", [False, True])
async def test_streams_and_strangers_share_a_port_that_was_open(
    monkeypatch: pytest.MonkeyPatch, portable: bool
) -> None:
    if portable:
        monkeypatch.setenv("LIBRATS_PORTABLE", "1")
    heard: list[bytes] = []
    here, there = await opened(heard), await opened(heard)
    before = here.local_address
    left: list[Address] = []
    caller = RudpPort.adopt(here, accept=None, entropy=SystemEntropy(), left=left.append)
    called = RudpPort.adopt(there, accept=Echo, entropy=SystemEntropy())
    reader = Reader()
    transport = await caller.dial(lambda: reader, there.local_address)
    assert (caller.is_used, here.local_address) == (True, before)
    sent = bytes(range(256)) * 4096
    transport.write(sent)
    async with asyncio.timeout(20):
        while len(reader.data) < len(sent):
            reader.more.clear()
            await reader.more.wait()
    assert bytes(reader.data) == sent
    here.send(b"\x00 of somebody else", there.local_address)
    async with asyncio.timeout(5):
        while not heard:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
    assert heard == [b"\x00 of somebody else"]
    transport.abort()
    assert (caller.is_used, left) == (False, [there.local_address])
    caller.close()
    called.close()
    assert here.is_closed
    assert there.is_closed
