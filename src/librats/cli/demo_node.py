"""One node of ``librats demo``: a process that obeys commands on standard input and tells events on standard output.

``python -m librats.cli.demo_node NAME FOLDER PROTOCOL LOG_LEVEL``. Commands and events are JSON objects, one a line. It
ends with its standard input, so it never outlives who started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from librats import Peer, PeerDiscovered, RatsClient, RatsConfig, Stream
from librats.cli.input_lines import input_lines
from librats.cli.logs import start_logging
from librats.errors import RatsError
from librats.runtime.offload import run_in_thread

__all__ = ["main"]

HOST = "127.0.0.1"
FILE_PROTOCOL = "demo-file/1"
CHUNK = 1 << 18
SHOW_EVERY = 0.05  # seconds


def emit(event: str, **members: Any) -> None:
    """Tell an event."""
    print(json.dumps({"event": event, **members}), flush=True)


async def _serve(name: str, folder: Path, protocol: str) -> None:
    config = RatsConfig(listen_host=HOST, protocol_name=protocol, protocol_version="1")
    client = RatsClient(0, config=config, data_dir=folder)

    @client.on("chat")
    def chat(peer: Peer, data: Any) -> None:
        emit("message", peer_id=peer.id, text=data["message"])

    @client.on("add up")
    def add_up(peer: Peer, numbers: list[int]) -> int:
        emit("asked", peer_id=peer.id, numbers=numbers)
        return sum(numbers)

    @client.on_stream(FILE_PROTOCOL)
    async def receive(stream: Stream) -> None:
        await _receive_file(stream, folder / "received")

    async with client:
        emit("ready", peer_id=client.peer_id, address=str(client.addresses[0]))
        async for line in input_lines():
            await _obey(client, name, json.loads(line))


async def _obey(client: RatsClient, name: str, command: dict[str, Any]) -> None:
    match command:
        case {"do": "find", "peer_id": wanted}:
            await _find(client, name, wanted)
        case {"do": "connect", "target": target, "expect_id": expected}:
            started = time.monotonic()
            peer = await client.connect(target, expect_id=expected)
            emit("connected", peer_id=peer.id, address=str(peer.address), seconds=time.monotonic() - started)
        case {"do": "chat", "text": text}:
            await client.send("chat", {"message": text})
        case {"do": "request", "to": to, "numbers": numbers}:
            started = time.monotonic()
            reply = await client.request(to, "add up", numbers)
            emit("reply", value=reply, seconds=time.monotonic() - started)
        case {"do": "send file", "to": to, "path": path}:
            await _send_file(await client.open_stream(to, FILE_PROTOCOL), Path(path))


async def _find(client: RatsClient, name: str, wanted: str) -> None:
    started = time.monotonic()

    @client.on_event(PeerDiscovered)
    def discovered(event: PeerDiscovered) -> None:
        if event.peer_id == wanted:
            emit("found", peer_id=event.peer_id, seconds=time.monotonic() - started)

    if not await client.start_mdns_discovery(name, interfaces=[HOST], connect=False):
        emit("no multicast")


async def _send_file(stream: Stream, path: Path) -> None:
    digest = hashlib.sha256()
    done, shown = 0, 0.0
    started = time.monotonic()
    with await run_in_thread(path.open, "rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
            stream.write(data)
            await stream.drain()
            done += len(data)
            if time.monotonic() - shown >= SHOW_EVERY:
                shown = time.monotonic()
                emit("progress", bytes=done)
    stream.write_eof()
    answer = json.loads(await stream.read())
    seconds = time.monotonic() - started
    await stream.close()
    emit("sent", bytes=done, seconds=seconds, hash=digest.hexdigest(), received_hash=answer["hash"])


async def _receive_file(stream: Stream, path: Path) -> None:
    with await run_in_thread(path.open, "wb") as file:
        size, received = await _copy(stream, file)
    stream.write(json.dumps({"hash": received}).encode())
    emit("received", bytes=size, hash=received)


async def _copy(stream: Stream, file: BinaryIO) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while data := await stream.read(CHUNK):
        digest.update(data)
        file.write(data)
        size += len(data)
    return size, digest.hexdigest()


def main(name: str, folder: str, protocol: str, log_level: str) -> int:
    """Be a node until standard input ends; what goes wrong is told as the event ``failed``."""
    start_logging(log_level)
    try:
        asyncio.run(_serve(name, Path(folder), protocol))
    except (RatsError, OSError) as error:
        with contextlib.suppress(OSError):
            emit("failed", error=str(error))
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
