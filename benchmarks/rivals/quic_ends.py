"""The ends of aioquic: a QUIC stream, which is TLS 1.3 over UDP; bulk data.

Its writers hold nobody back, and long queues make it slow: the receiver tells of each block, and few are on their way.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from benchmarks.rivals.tls import own_certificate

from librats.cli.measuring.bulk import BLOCK
from librats.cli.measuring.end import LOOPBACK, End

ALPN = "librats-benchmark"
PACKET = 1472
ON_THEIR_WAY = 4  # blocks


def configuration(*, is_client: bool) -> QuicConfiguration:
    made = QuicConfiguration(is_client=is_client, alpn_protocols=[ALPN], max_datagram_size=PACKET)
    if is_client:
        made.verify_mode = ssl.CERT_NONE  # this is about speed
    else:
        made.private_key, made.certificate = own_certificate()
    return made


async def take_blocks(end: End, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for count in (end.number("warm_up"), end.number("blocks")):
        for _ in range(count):
            await reader.readexactly(BLOCK)
            writer.write(b".")
        if count == end.number("blocks"):
            end.finish()
        else:
            end.start()


async def give_blocks(count: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    blocks = [os.urandom(BLOCK) for _ in range(16)]
    for number in range(count):
        writer.write(blocks[number % len(blocks)])
        if number >= ON_THEIR_WAY:
            await reader.readexactly(1)
    await reader.readexactly(min(count, ON_THEIR_WAY))


async def bulk_receiver(end: End) -> None:
    taking: asyncio.Future[asyncio.Task[None]] = asyncio.get_running_loop().create_future()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taking.set_result(asyncio.ensure_future(take_blocks(end, reader, writer)))

    server = await serve(LOOPBACK, 0, configuration=configuration(is_client=False), stream_handler=take)
    transport: Any = server._transport  # nothing else tells the port
    end.announce(transport.get_extra_info("sockname")[1])
    await (await taking)
    end.tell()
    await end.dismissed()


async def bulk_sender(end: End) -> None:
    async with connect(LOOPBACK, end.port, configuration=configuration(is_client=True)) as connection:
        reader, writer = await connection.create_stream()
        await give_blocks(end.number("warm_up"), reader, writer)
        end.start()
        await give_blocks(end.number("blocks"), reader, writer)
        end.finish()
