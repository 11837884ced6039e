"""WebRTC through the relay: a data channel between two peers of aiortc that have nothing but relayed addresses."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
)
from tests.interop.relayed import running_relay
from tests.reference.turn_talk import eventually

pytestmark = pytest.mark.interop

SECONDS = 60.0
MESSAGES: list[str | bytes] = ["hello", b"\x00\x01" * 300, "x" * 30_000]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_data_channel_echoes_over_relayed_addresses(tmp_path: Path, transport: str) -> None:
    async with running_relay(tmp_path, allow_peers=()) as server:
        where = server.addresses[0]
        url = f"turn:{where.host}:{where.port}?transport={transport}"
        relay = RTCIceServer(url, username="bob", credential="secret")
        configuration = RTCConfiguration([relay], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
        caller, callee = RTCPeerConnection(configuration), RTCPeerConnection(configuration)
        heard: asyncio.Queue[str | bytes] = asyncio.Queue()
        opened = asyncio.Event()

        def echo(channel: RTCDataChannel) -> None:
            channel.on("message", channel.send)

        callee.on("datachannel", echo)

        channel = caller.createDataChannel("echo")
        channel.on("message", heard.put_nowait)
        channel.on("open", opened.set)
        try:
            async with asyncio.timeout(SECONDS):
                await caller.setLocalDescription(await caller.createOffer())
                await callee.setRemoteDescription(caller.localDescription)
                await callee.setLocalDescription(await callee.createAnswer())
                await caller.setRemoteDescription(callee.localDescription)
                for peer in (caller, callee):
                    kinds = re.findall(r"^a=candidate:.* typ (\w+)", peer.localDescription.sdp, re.MULTILINE)
                    assert set(kinds) == {"relay"}
                await opened.wait()
                for message in MESSAGES:
                    channel.send(message)
                    assert await heard.get() == message
        finally:
            await caller.close()
            await callee.close()
        await eventually(lambda: server.statistics().bytes > 2 * sum(map(len, MESSAGES)))  # they are told once a second
