"""The ends of iroh: QUIC streams between endpoints that know each other's keys, without relays or discovery."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import iroh

from librats.cli.measuring.bulk import BLOCK
from librats.cli.measuring.end import LOOPBACK, End
from librats.cli.measuring.messages import MESSAGE

ALPN = b"librats-benchmark/1"
LISTENING_KEY = bytes(range(1, 33))
READ = 1 << 20


async def endpoint(key: bytes) -> Any:
    options = iroh.EndpointOptions(
        preset=iroh.preset_minimal(),
        bind_addr=f"{LOOPBACK}:0",
        secret_key=key,
        alpns=[ALPN],
        relay_mode=iroh.RelayMode.disabled(),
    )
    return await iroh.Endpoint.bind(options)


async def accepted(end: End) -> tuple[Any, Any]:
    """Listen, and return the endpoint and the stream that the other side opens."""
    listening = await endpoint(LISTENING_KEY)
    ports = [address.rpartition(":")[2] for address in listening.bound_sockets() if address.startswith(LOOPBACK)]
    end.announce(int(ports[0]))
    incoming = await listening.accept_next()
    accepting = await incoming.accept()
    connection = await accepting.connect()
    return listening, await connection.accept_bi()


async def dialled(end: End) -> tuple[Any, Any]:
    dialling = await endpoint(os.urandom(32))
    key = iroh.SecretKey.from_bytes(LISTENING_KEY).public()
    connection = await dialling.connect(iroh.EndpointAddr(key, None, [f"{LOOPBACK}:{end.port}"]), ALPN)
    return dialling, await connection.open_bi()


async def messages_receiver(end: End) -> None:
    listening, stream = await accepted(end)
    receiving, sending = stream.recv(), stream.send()
    waiting = b""
    for count in (end.number("warm_up"), end.number("count")):
        left = count
        while left:
            *lines, waiting = (waiting + await receiving.read(READ)).split(b"\n")
            for line in lines:
                json.loads(line)
            left -= len(lines)
        if count == end.number("count"):
            end.finish()
        else:
            end.start()
        await sending.write_all(b"done")
    with contextlib.suppress(iroh.IrohError):  # the other side hangs up
        await receiving.read(READ)
    await listening.close()


async def messages_sender(end: End) -> None:
    dialling, stream = await dialled(end)
    receiving, sending = stream.recv(), stream.send()
    for _ in range(end.number("warm_up")):
        await sending.write_all(json.dumps(MESSAGE).encode() + b"\n")
    await receiving.read_exact(4)
    end.start()
    for _ in range(end.number("count")):
        await sending.write_all(json.dumps(MESSAGE).encode() + b"\n")
    await receiving.read_exact(4)
    end.finish()
    await dialling.close()


async def bulk_receiver(end: End) -> None:
    listening, stream = await accepted(end)
    receiving, sending = stream.recv(), stream.send()
    for blocks in (end.number("warm_up"), end.number("blocks")):
        left = blocks * BLOCK
        while left:
            left -= len(await receiving.read(min(left, READ)))
        if blocks == end.number("blocks"):
            end.finish()
        else:
            end.start()
        await sending.write_all(b"done")
    with contextlib.suppress(iroh.IrohError):  # the other side hangs up
        await receiving.read(READ)
    await listening.close()


async def bulk_sender(end: End) -> None:
    blocks = [os.urandom(BLOCK) for _ in range(16)]
    dialling, stream = await dialled(end)
    receiving, sending = stream.recv(), stream.send()
    for _ in range(end.number("warm_up")):
        await sending.write_all(blocks[0])
    await receiving.read_exact(4)
    end.start()
    for number in range(end.number("blocks")):
        await sending.write_all(blocks[number % len(blocks)])
    await receiving.read_exact(4)
    end.finish()
    await dialling.close()
