"""The ends for small JSON messages: librats, and asyncio streams without encryption."""

from __future__ import annotations

import asyncio
import json

from librats.cli.measuring.end import LOOPBACK, End, client_of
from librats.cli.measuring.processes import end_command, run_both
from librats.cli.measuring.sample import Sample

__all__ = ["MESSAGE", "WARM_UP", "message_rate"]

MESSAGE = {"type": "chat", "message": "a message of sixty-four by", "n": 12345}
"""64 bytes of JSON without blanks."""

WARM_UP = 2000
"""Messages before the measured ones."""


def message_rate(ends: str, count: int, *, loop: str = "asyncio", transport: str = "tcp") -> Sample:
    """Measure messages a second, and CPU microseconds a message at both ends together.

    Args:
        ends: Where the two ends are: ``module:prefix`` of ``prefix_receiver`` and ``prefix_sender``.
        count: How many messages, after a warm-up.
        loop: Name of the event loop at both ends.
        transport: What a session goes over, ``"tcp"`` or ``"udp"``.
    """
    options = {"count": count, "warm_up": WARM_UP, "loop": loop, "transport": transport}
    both = run_both(end_command(f"{ends}_receiver", options), end_command(f"{ends}_sender", options))
    return Sample(count / both.seconds, both.cpu_seconds / count * 1e6)


async def librats_receiver(end: End) -> None:
    """Take messages with a handler."""
    left = end.number("warm_up")
    all_there, gone = asyncio.Event(), asyncio.Event()
    async with client_of(**end.way) as client:

        @client.on("message")
        def message(peer: object, data: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                all_there.set()

        @client.on("counted")
        async def counted(peer: object, more: int) -> None:
            nonlocal left
            await all_there.wait()
            all_there.clear()
            left = more
            if more:
                end.start()
            else:
                end.finish()

        client.on_disconnect(lambda peer, reason: gone.set())
        end.announce(client.listen_port)
        await gone.wait()


async def librats_sender(end: End) -> None:
    """Send each with an ``await client.send`` of its own."""
    count = end.number("count")
    async with client_of(**end.way) as client:
        peer = await client.connect((LOOPBACK, end.port))
        for _ in range(end.number("warm_up")):
            await client.send("message", MESSAGE, to=peer)
        await client.request(peer, "counted", count, timeout=None)
        end.start()
        for _ in range(count):
            await client.send("message", MESSAGE, to=peer)
        await client.request(peer, "counted", 0, timeout=None)
        end.finish()


async def streams_receiver(end: End) -> None:
    """Take lines from a stream reader."""
    done = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(end.number("warm_up")):
            json.loads(await reader.readline())
        end.start()
        writer.write(b"go\n")
        for _ in range(end.number("count")):
            json.loads(await reader.readline())
        writer.write(b"done\n")
        end.finish()
        writer.close()
        await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(take, LOOPBACK, 0) as server:
        end.announce(server.sockets[0].getsockname()[1])
        await done.wait()


async def streams_sender(end: End) -> None:
    """Write a line for each message and drain."""
    reader, writer = await asyncio.open_connection(LOOPBACK, end.port)
    for _ in range(end.number("warm_up")):
        writer.write(json.dumps(MESSAGE).encode() + b"\n")
        await writer.drain()
    await reader.readline()
    end.start()
    for _ in range(end.number("count")):
        writer.write(json.dumps(MESSAGE).encode() + b"\n")
        await writer.drain()
    await reader.readline()
    end.finish()
    writer.close()
    await writer.wait_closed()
