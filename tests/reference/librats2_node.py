"""A librats 2 node over asyncio streams and the PyPI package ``noiseprotocol``; it shares no code with ours."""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
APP, CONTROL, PING, TYPED, PEX = 1, 2, 5, 7, 8


class Librats2Node:
    """One connection of such a node."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, initiator: bool, key: bytes
    ) -> None:
        self._reader, self._writer = reader, writer
        self._noise = NoiseConnection.from_name(NAME)
        self._noise.set_prologue(b"librats-proto\x1flibrats/1.0")
        (self._noise.set_as_initiator if initiator else self._noise.set_as_responder)()
        self._noise.set_keypair_from_private_bytes(Keypair.STATIC, key)
        self._noise.start_handshake()
        self._initiator = initiator

    @classmethod
    async def dial(cls, port: int, key: bytes | None = None) -> Librats2Node:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        node = cls(reader, writer, initiator=True, key=key or os.urandom(32))
        await node.shake_hands()
        return node

    async def shake_hands(self) -> None:
        for writes in (self._initiator, not self._initiator, self._initiator):
            if writes:
                await self._write_block(bytes(self._noise.write_message()))
            else:
                self._noise.read_message(await self._read_block())  # a payload is thrown away

    async def _write_block(self, body: bytes) -> None:
        self._writer.write(struct.pack(">I", len(body)) + body)
        await self._writer.drain()

    async def _read_block(self) -> bytes:
        (size,) = struct.unpack(">I", await self._reader.readexactly(4))
        return await self._reader.readexactly(size)

    def _seal(self, inner: bytes) -> bytes:
        return bytes(self._noise.encrypt(inner))

    def _open(self, body: bytes) -> bytes:
        return bytes(self._noise.decrypt(body))

    async def send(self, kind: int, payload: bytes, *, channel: int = 0, flags: int = 0) -> None:
        await self._write_block(self._seal(struct.pack(">BBH", kind, flags, channel) + payload))

    async def send_json(self, name: bytes, text: bytes) -> None:
        await self.send(TYPED, struct.pack(">H", len(name)) + name + text)

    async def receive(self) -> tuple[int, int, bytes]:
        """Return type, channel and payload of the next inner message."""
        inner = self._open(await self._read_block())
        kind, _, channel = struct.unpack(">BBH", inner[:4])
        return kind, channel, inner[4:]

    async def at_end(self) -> bool:
        return await self._reader.read(1) == b""

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class PlaintextNode(Librats2Node):
    """One connection of such a node with encryption off; ``key`` is its id."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, initiator: bool, key: bytes
    ) -> None:
        super().__init__(reader, writer, initiator=initiator, key=key)
        self._id = key

    async def shake_hands(self) -> None:
        prologue = b"librats-proto\x1flibrats/1.0"
        own = struct.pack(">H", len(prologue)) + prologue + self._id
        if self._initiator:
            await self._write_block(own)
        theirs = await self._read_block()
        assert theirs[:-32] == own[:-32]
        if not self._initiator:
            await self._write_block(own)

    def _seal(self, inner: bytes) -> bytes:
        return inner

    def _open(self, body: bytes) -> bytes:
        return body


def peer_id(key: bytes) -> str:
    public = X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()
    return hashlib.sha256(public).hexdigest()
