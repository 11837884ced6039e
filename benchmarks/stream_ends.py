"""The two ends of the stream benchmark, each in a process of its own: ``stream_ends.py KIND BYTES [PORT]``.

``librats`` is a session's stream; ``plain`` a bare TCP connection through asyncio streams, without encryption. The
receiver prints its port; the sender prints seconds until the receiver had everything and both their SHA-256 agreed,
and the receiver's and its own peak memory in MiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import sys
import time

BLOCK = 1 << 16
READ = 1 << 20


def blocks(size: int) -> list[bytes]:
    """A few different blocks, over and over."""
    made = [os.urandom(BLOCK) for _ in range(16)]
    return [made[i % 16][: min(BLOCK, size - i * BLOCK)] for i in range((size + BLOCK - 1) // BLOCK)]


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def librats_receiver(hashing: bool) -> None:
    from librats import Identity, RatsClient, RatsConfig, Stream

    gone = asyncio.Event()
    config = RatsConfig(listen_host="127.0.0.1")
    async with RatsClient(config=config, identity=Identity.generate()) as client:

        @client.on_stream("bulk/1")
        async def bulk(stream: Stream) -> None:
            digest, size = hashlib.sha256(), 0
            while data := await stream.read(READ):
                size += len(data)
                if hashing:
                    digest.update(data)
            stream.write(json.dumps([size, digest.hexdigest(), peak_mib()]).encode())

        client.on_disconnect(lambda peer, reason: gone.set())
        print(client.listen_port, flush=True)
        await gone.wait()


async def librats_sender(size: int, port: int, hashing: bool) -> None:
    from librats import Identity, RatsClient, RatsConfig

    data = blocks(size)
    digest = hashlib.sha256()
    config = RatsConfig(listen_host="127.0.0.1")
    async with RatsClient(config=config, identity=Identity.generate()) as client:
        peer = await client.connect(("127.0.0.1", port))
        stream = await client.open_stream(peer, "bulk/1")
        before = peak_mib()
        started = time.perf_counter()
        for block in data:
            if hashing:
                digest.update(block)
            stream.write(block)
            await stream.drain()
        stream.write_eof()
        report(started, before, size, digest.hexdigest(), await stream.read())


async def plain_receiver(hashing: bool) -> None:
    done = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest, size = hashlib.sha256(), 0
        while data := await reader.read(READ):
            size += len(data)
            if hashing:
                digest.update(data)
        writer.write(json.dumps([size, digest.hexdigest(), peak_mib()]).encode())
        writer.close()
        await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await done.wait()


async def plain_sender(size: int, port: int, hashing: bool) -> None:
    data = blocks(size)
    digest = hashlib.sha256()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    before = peak_mib()
    started = time.perf_counter()
    for block in data:
        if hashing:
            digest.update(block)
        writer.write(block)
        await writer.drain()
    writer.write_eof()
    report(started, before, size, digest.hexdigest(), await reader.read())
    writer.close()
    await writer.wait_closed()


def report(started: float, before: float, size: int, digest: str, answer: bytes) -> None:
    seconds = time.perf_counter() - started
    received, theirs, peak = json.loads(answer)
    assert received == size, received
    assert theirs == digest, "the hashes differ"
    print(json.dumps({"seconds": seconds, "receiver_mib": peak, "sender_growth_mib": peak_mib() - before}))


def main(kind: str, size: int, port: int | None, hashing: bool) -> None:
    if port is None:
        asyncio.run({"librats": librats_receiver, "plain": plain_receiver}[kind](hashing))
    else:
        asyncio.run({"librats": librats_sender, "plain": plain_sender}[kind](size, port, hashing))


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--hash"]
    main(arguments[0], int(arguments[1]), int(arguments[2]) if len(arguments) > 2 else None, "--hash" in sys.argv)
