"""The ends of websockets, without TLS and without compression: small messages, connecting, idle connections."""

from __future__ import annotations

import asyncio
import json

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from librats.cli.measuring.end import LOOPBACK, End
from librats.cli.measuring.messages import MESSAGE


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
