"""A node that does what it is told on standard input, a JSON array a line, and answers each with a line.

["connect", "192.0.2.7:8080"]            reach a peer
["relayed"]                              wait for a relayed address, and tell it
["move", "192.0.2.7:8080", "udp"]        move the session to another way
["send", 1000000]                        send so many bytes on a stream; the answer is their SHA-256
["sent"]                                 how many have been written
["received"]                             wait for the end of what the peer sends: its SHA-256, and the longest gap
["gap"]                                  the longest gap so far, in seconds, and begin anew
["method"]                               how the peer is reached
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from typing import Any

from librats import Identity, NatTraversalConfig, RatsClient, RatsConfig, Stream
from librats.errors import RatsError
from librats.types import Address

BLOCK = 1 << 18
PORT = 8080


class Mover:
    """The node."""

    def __init__(self, client: RatsClient) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._received: asyncio.Future[str] = self._loop.create_future()
        self._sent = 0
        self._gap = 0.0
        client.on_stream("file/1", self._take)

    async def _take(self, stream: Stream) -> None:
        digest = hashlib.sha256()
        last = self._loop.time()
        while piece := await stream.read(BLOCK):
            now = self._loop.time()
            self._gap = max(self._gap, now - last)
            last = now
            digest.update(piece)
        self._received.set_result(digest.hexdigest())

    async def _peer(self) -> Any:
        while not self._client.peers:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        return next(iter(self._client.peers.values()))

    async def connect(self, address: str) -> str:
        return str((await self._client.connect(address)).method)

    async def relayed(self) -> str:
        while not self._client.paths.relayed_addresses:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        return str(self._client.paths.relayed_addresses[0])

    async def move(self, address: str, method: str) -> str:
        """Say why that did not work: the peer's own try may have, with which this one crosses."""
        try:
            await self._client.paths.move(await self._peer(), address, method=method)
        except RatsError as error:
            return str(error)
        return ""

    async def method(self) -> str:
        return str((await self._peer()).method)

    async def send(self, size: int) -> str:
        block = os.urandom(BLOCK)
        digest = hashlib.sha256()
        stream = await self._client.open_stream(await self._peer(), "file/1")
        for start in range(0, size, BLOCK):
            piece = block[: size - start]
            stream.write(piece)
            digest.update(piece)
            self._sent = start + len(piece)
            await stream.drain()
        await stream.close()
        return digest.hexdigest()

    async def sent(self) -> int:
        return self._sent

    async def received(self) -> tuple[str, float]:
        return await self._received, self._gap

    async def gap(self) -> float:
        gap, self._gap = self._gap, 0.0
        return gap


async def main(turn: str) -> None:
    config = RatsConfig(
        listen_host="0.0.0.0",  # noqa: S104 - whatever the namespace has
        transports=("udp", "tcp"),
        nat=NatTraversalConfig(stun_servers=(), turn_servers=(turn,)),
    )
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    async with RatsClient(PORT, config=config, identity=Identity.generate()) as client:
        mover = Mover(client)

        async def obey(number: int, name: str, arguments: list[Any]) -> None:
            try:
                answer = await getattr(mover, name)(*arguments)
            except RatsError as error:
                answer = f"{type(error).__name__}: {error}"
            sys.stdout.write(json.dumps([number, answer]) + "\n")
            sys.stdout.flush()

        sys.stdout.write(json.dumps(str(Address("", PORT))) + "\n")
        sys.stdout.flush()
        while line := await commands.readline():
            number, name, *arguments = json.loads(line)
            task = asyncio.create_task(obey(number, name, arguments))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
