"""The ends of our uTP: bulk data on a connection, and a SHA-1 of each mebibyte at the receiver, as torrents have it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import cast

from librats.cli.measuring.bulk import BLOCK
from librats.cli.measuring.end import LOOPBACK, End
from librats.services.utp import UtpSocket
from librats.types import Address

PIECE = 1 << 20


class Taker(asyncio.BufferedProtocol):
    """Counts and hashes what comes."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.transport: asyncio.Transport
        self.piece = bytearray(PIECE)
        self.at = 0
        self.left = end.number("warm_up") * BLOCK
        self.warming = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return memoryview(self.piece)[self.at : self.at + self.left]

    def buffer_updated(self, nbytes: int) -> None:
        self.at += nbytes
        self.left -= nbytes
        if self.at == PIECE:
            hashlib.sha1(self.piece, usedforsecurity=False).digest()
            self.at = 0
        if self.left == 0 and self.warming:
            self.warming = False
            self.left = self.end.number("blocks") * BLOCK
            self.end.start()
        elif self.left == 0:
            self.end.finish()
            self.transport.write(b".")
            self.done.set_result(None)


async def _receive(end: End, control: str) -> None:
    taker = Taker(end)
    socket = await UtpSocket.open(LOOPBACK, accept=lambda: taker, control=control)
    end.announce(socket.local_address.port)
    await taker.done
    end.tell()
    await end.dismissed()
    socket.close()


async def _send(end: End, control: str) -> None:
    socket = await UtpSocket.open(LOOPBACK, control=control)
    reader, writer = await socket.open_connection(Address(LOOPBACK, end.port))
    blocks = [os.urandom(BLOCK) for _ in range(16)]
    for number in range(end.number("warm_up")):
        writer.write(blocks[number % 16])
        await writer.drain()
    end.start()
    for number in range(end.number("blocks")):
        writer.write(blocks[number % 16])
        await writer.drain()
    await reader.readexactly(1)
    end.finish()
    end.tell()
    socket.close()


async def ledbat_receiver(end: End) -> None:
    await _receive(end, "ledbat")


async def ledbat_sender(end: End) -> None:
    await _send(end, "ledbat")


async def model_receiver(end: End) -> None:
    await _receive(end, "model")


async def model_sender(end: End) -> None:
    await _send(end, "model")
