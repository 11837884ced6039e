"""The two ends of the message benchmark, each in a process of its own: ``message_ends.py LIBRARY COUNT [PORT]``.

Without a port it is the receiver, which prints its port and takes messages until ``COUNT`` have come; with one it is
the sender, which prints how long it took until the receiver had them all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

MESSAGE = {"type": "chat", "message": "a message of sixty-four by", "n": 12345}
assert len(json.dumps(MESSAGE, separators=(",", ":"))) == 64


async def librats_receiver(count: int) -> None:
    from librats import Identity, RatsClient, RatsConfig

    seen = 0
    done = asyncio.Event()
    config = RatsConfig(listen_host="127.0.0.1")
    async with RatsClient(config=config, identity=Identity.generate()) as client:

        @client.on("message")
        def message(peer: object, data: object) -> None:
            nonlocal seen
            seen += 1
            if seen == count:
                done.set()

        @client.on("all")
        async def all_there(peer: object, data: object) -> int:
            await done.wait()
            return seen

        print(client.listen_port, flush=True)
        gone = asyncio.Event()
        client.on_disconnect(lambda peer, reason: gone.set())
        await gone.wait()


async def librats_sender(count: int, port: int) -> float:
    from librats import Identity, RatsClient, RatsConfig

    config = RatsConfig(listen_host="127.0.0.1")
    async with RatsClient(config=config, identity=Identity.generate()) as client:
        peer = await client.connect(("127.0.0.1", port))
        started = time.perf_counter()
        for _ in range(count):
            await client.send("message", MESSAGE, to=peer)
        assert await peer.request("all", timeout=None) == count
        return time.perf_counter() - started


async def websockets_receiver(count: int) -> None:
    from websockets.asyncio.server import ServerConnection, serve

    done = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        seen = 0
        async for text in connection:
            json.loads(text)
            seen += 1
            if seen == count:
                await connection.send(json.dumps(seen))
        done.set()

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await done.wait()


async def websockets_sender(count: int, port: int) -> float:
    from websockets.asyncio.client import connect

    async with connect(f"ws://127.0.0.1:{port}", compression=None) as connection:
        started = time.perf_counter()
        for _ in range(count):
            await connection.send(json.dumps(MESSAGE))
        assert json.loads(await connection.recv()) == count
        return time.perf_counter() - started


def main(library: str, count: int, port: int | None) -> None:
    if port is None:
        asyncio.run({"librats": librats_receiver, "websockets": websockets_receiver}[library](count))
    else:
        sender = {"librats": librats_sender, "websockets": websockets_sender}[library]
        print(asyncio.run(sender(count, port)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
