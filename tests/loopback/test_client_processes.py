"""Two clients in two processes: everything works as in one, and a killed process is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from librats import PeerDisconnected, PeerNotConnected, RemoteError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.loopback.conftest import MakeClient, Until

WAIT = 20.0
LOOPBACK = "127.0.0.1"
pytestmark = pytest.mark.timeout(90)

NODE = """
import asyncio, hashlib, json, sys
from librats import RatsClient, RatsConfig

async def main(data_dir):
    async with RatsClient(0, config=RatsConfig(listen_host="127.0.0.1"), data_dir=data_dir) as client:
        def tell(**what):
            print(json.dumps(what), flush=True)

        client.on("echo", lambda peer, data: data)
        client.on("say", lambda peer, data: tell(event="heard", data=data))
        client.on_bytes(lambda peer, data: tell(event="bytes", size=len(data), hash=hashlib.sha256(data).hexdigest()))
        client.on_disconnect(lambda peer, reason: tell(event="gone", reason=reason))

        @client.on("fail")
        async def fail(peer, data):
            raise LookupError("on purpose")

        @client.on("call-back")
        async def call_back(peer, data):
            return ["called back", await peer.request("name")]

        @client.on_stream("hash/1")
        async def hash_it(stream):
            found = hashlib.sha256()
            async for piece in stream:
                found.update(piece)
            stream.write(found.hexdigest().encode())

        tell(event="ready", id=client.peer_id, port=client.listen_port)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main(sys.argv[1]))
"""


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


class Node(NamedTuple):
    process: asyncio.subprocess.Process
    peer_id: str
    port: int

    async def told(self) -> dict[str, Any]:
        """Return what the process prints next."""
        assert self.process.stdout is not None
        line: bytes = await soon(self.process.stdout.readline())
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.asynccontextmanager
async def node_in(directory: Path) -> AsyncIterator[Node]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NODE, str(directory), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        ready = await Node(process, "", 0).told()
        yield Node(process, ready["id"], ready["port"])
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await soon(process.wait())
        except TimeoutError:
            process.kill()
            await process.wait()


async def test_everything_works_between_two_processes(make_client: MakeClient, tmp_path: Path) -> None:
    client = await make_client()
    client.on("name", lambda peer, data: "the test")
    async with node_in(tmp_path) as node:
        peer = await soon(client.connect((LOOPBACK, node.port), expect_id=node.peer_id))
        await client.send("say", {"message": "hi"})
        assert await node.told() == {"event": "heard", "data": {"message": "hi"}}
        assert await soon(peer.request("echo", [1, "two"])) == [1, "two"]
        assert await soon(peer.request("call-back")) == ["called back", "the test"]
        with pytest.raises(RemoteError, match="LookupError: on purpose"):
            await soon(peer.request("fail"))
        data = bytes(range(256)) * (3 * 1024 * 4)
        await client.send_bytes(data)
        assert await node.told() == {"event": "bytes", "size": len(data), "hash": hashlib.sha256(data).hexdigest()}
        stream = await soon(client.open_stream(node.peer_id, "hash/1"))
        async with asyncio.timeout(WAIT):
            for _ in range(7):
                stream.write(data)
                await stream.drain()
            stream.write_eof()
            assert await stream.read() == hashlib.sha256(data * 7).hexdigest().encode()
            await stream.close()
        await soon(peer.close("good night"))
        assert await node.told() == {"event": "gone", "reason": "good night"}
    assert node.process.returncode == 0


async def test_a_killed_process_is_noticed_and_comes_back_as_the_same_peer(
    make_client: MakeClient, tmp_path: Path, until: Until
) -> None:
    client = await make_client()
    ends: asyncio.Queue[PeerDisconnected] = asyncio.Queue()
    client.on_event(PeerDisconnected, ends.put_nowait)
    async with node_in(tmp_path) as node:
        peer = await soon(client.connect((LOOPBACK, node.port)))
        node.process.kill()
        assert (await soon(ends.get())).code == "lost"
        with pytest.raises(PeerNotConnected):
            await peer.send("say")
    async with node_in(tmp_path) as again:
        assert again.peer_id == node.peer_id
        assert (await soon(client.connect((LOOPBACK, again.port)))).id == node.peer_id
        assert await soon(client.request(again.peer_id, "echo", "back")) == "back"
    assert (await soon(ends.get())).reason == "the peer shut down"
    await until(lambda: not client.peers)
