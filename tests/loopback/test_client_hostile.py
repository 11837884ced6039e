"""A client under a hail of hostile connections: the well-behaved peer does not notice."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.hostile.mutations import Mutator, peak_memory
from tests.hostile.test_frames import SAMPLES
from tests.hostile.test_handshakes import opening, recorded
from tests.reference import framing as oracle

from librats import PeerDisconnected, RatsClient, SessionConfig
from librats.session.opening import Opening

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Until

LOOPBACK = "127.0.0.1"
MIB = 1024 * 1024
AT_ONCE = 40
LENGTHS = [300, pytest.param(5000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]


async def speak(port: int, *pieces: bytes) -> None:
    """Connect, say something, and hang up when the other side does, or after a moment."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.3):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                await reader.read()
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def misbehave_inside(port: int, mutator: Mutator, number: int) -> None:
    """Complete the handshake with a key of one's own, and send hostile frames, sealed as they should be."""
    shake: Opening = opening(initiator=True, fresh=number, who=number)
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(2.0):
            writer.write(shake.data_to_send())
            while shake.result is None:
                shake.receive_data(await reader.readexactly(1))
                writer.write(shake.data_to_send())
            sealing = shake.result.sending
            hello = oracle.frame(oracle.HELLO, 0, b"{}")
            for packed in [hello, *(mutator.mutate(mutator.chance.choice(SAMPLES), SAMPLES) for _ in range(10))]:
                (block,) = sealing.seal_many([packed[: oracle.MAX_PLAINTEXT]])
                writer.write(struct.pack(">I", len(block)) + block)
            await writer.drain()
            writer.write_eof()
            await reader.read()
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def hail(client: RatsClient, count: int, inside: int) -> None:
    mutator = Mutator(9)
    blocks = recorded()
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            if number % (count // inside) == 0:
                await misbehave_inside(client.listen_port, mutator, number)
            else:
                data = mutator.mutate(b"".join(mutator.chance.choices(blocks, k=2)), blocks)
                await speak(client.listen_port, *mutator.pieces(data))

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))


@pytest.mark.parametrize("count", LENGTHS)
async def test_a_well_behaved_peer_connects_and_talks_meanwhile(
    make_client: MakeClient, until: Until, count: int
) -> None:
    client = await make_client(session=SessionConfig(max_message_size=MIB))
    honest = await make_client()
    client.on("echo", lambda peer, data: data)
    codes: Counter[str] = Counter()
    client.on_event(PeerDisconnected, lambda event: codes.update([event.code]))
    gc.collect()
    before = peak_memory()
    storm = asyncio.create_task(hail(client, count, inside=count // 10))
    slowest = slowest_echo = 0.0
    loop = asyncio.get_running_loop()
    times = 0
    while not storm.done() or not times:
        started = loop.time()
        peer = await honest.connect((LOOPBACK, client.listen_port))
        slowest = max(slowest, loop.time() - started)
        started = loop.time()
        assert await peer.request("echo", {"n": times}) == {"n": times}
        slowest_echo = max(slowest_echo, loop.time() - started)
        await peer.close()
        times += 1
        await asyncio.sleep(0.01)
    await storm
    await until(lambda: not client.peers)
    counted: Any = client.statistics()
    assert slowest < 1.0
    assert slowest_echo < 1.0
    assert counted["handshakes_failed"] > count // 3
    assert counted["peers_connected"] > count // 50
    assert set(codes) <= {"protocol_error", "closed", "lost", "limit", "reset", "superseded"}
    assert counted["limits"]["max_memory"]["current"] == 0
    assert counted["handler_errors"] == 0
    assert peak_memory() - before < 64 * MIB
