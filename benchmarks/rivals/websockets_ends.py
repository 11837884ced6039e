"""The ends of websockets, without TLS and without compression: small messages, connecting, idle connections."""

from __future__ import annotations

import asyncio
import json

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from librats.cli.measuring.connecting import Visits
from librats.cli.measuring.end import LOOPBACK, End
from librats.cli.measuring.idling import Crowd
from librats.cli.measuring.messages import MESSAGE
from librats.cli.measuring.stopwatch import Stopwatch


async def messages_receiver(end: End) -> None:
    done = asyncio.Event()

    async def take(connection: ServerConnection) -> None:
        for _ in range(end.number("warm_up")):
            json.loads(await connection.recv())
        end.start()
        await connection.send("go")
        for _ in range(end.number("count")):
            json.loads(await connection.recv())
        await connection.send("done")
        end.finish()
        done.set()

    async with serve(take, LOOPBACK, 0, compression=None) as server:
        end.announce(next(iter(server.sockets)).getsockname()[1])
        await done.wait()


async def messages_sender(end: End) -> None:
    async with connect(f"ws://{LOOPBACK}:{end.port}", compression=None) as connection:
        for _ in range(end.number("warm_up")):
            await connection.send(json.dumps(MESSAGE))
        await connection.recv()
        end.start()
        for _ in range(end.number("count")):
            await connection.send(json.dumps(MESSAGE))
        await connection.recv()
        end.finish()


async def connecting_receiver(end: End) -> None:
    visits = Visits(end)

    async def take(connection: ServerConnection) -> None:
        await connection.wait_closed()
        visits.ended()

    async with serve(take, LOOPBACK, 0, compression=None) as server:
        end.announce(next(iter(server.sockets)).getsockname()[1])
        await visits.over.wait()


async def connecting_sender(end: End) -> None:
    stopwatch = Stopwatch(end)
    for number in range(end.number("warm_up") + end.number("count")):
        if number == end.number("warm_up"):
            stopwatch.start()
        stopwatch.begin()
        connection = await connect(f"ws://{LOOPBACK}:{end.port}", compression=None)
        stopwatch.lap()
        await connection.close()
    stopwatch.stop()


async def idling_receiver(end: End) -> None:
    crowd = Crowd(end)

    async def take(connection: ServerConnection) -> None:
        crowd.came()
        await connection.wait_closed()

    async with serve(take, LOOPBACK, 0, compression=None, backlog=1024) as server:
        end.announce(next(iter(server.sockets)).getsockname()[1])
        await crowd.watch()
        end.tell()
        await end.dismissed()


async def idling_sender(end: End) -> None:
    address = f"ws://{LOOPBACK}:{end.port}"
    connections = [await connect(address, compression=None) for _ in range(end.number("peers"))]
    assert len(connections) == end.number("peers")
    await end.dismissed()
