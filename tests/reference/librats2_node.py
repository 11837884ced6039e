"""A librats 2 node over asyncio streams and the PyPI package ``noiseprotocol``; it shares no code with ours."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import struct
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
APP, CONTROL, PING, TYPED, PEX, PUNCH = 1, 2, 5, 7, 8, 9


class Librats2Node:
    """One connection of such a node.

    ``payloads`` are those of the three handshake messages, of which each side sends its own; ``glued`` is an inner
    message that goes out behind the third one without a pause, byte by byte.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        initiator: bool,
        key: bytes,
        protocol: str = "librats/1.0",
        payloads: tuple[bytes, bytes, bytes] = (b"", b"", b""),
        glued: bytes = b"",
    ) -> None:
        self._reader, self._writer = reader, writer
        self._prologue = b"librats-proto\x1f" + protocol.encode()
        self._noise = NoiseConnection.from_name(NAME)
        self._noise.set_prologue(self._prologue)
        (self._noise.set_as_initiator if initiator else self._noise.set_as_responder)()
        self._noise.set_keypair_from_private_bytes(Keypair.STATIC, key)
        self._noise.start_handshake()
        self._initiator = initiator
        self._payloads = payloads
        self._glued = glued

    @classmethod
    async def dial(cls, port: int, key: bytes | None = None, **settings: Any) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        node = cls(reader, writer, initiator=True, key=key or os.urandom(32), **settings)
        try:
            await node.shake_hands()
        except BaseException:
            await node.close()
            raise
        return node

    async def shake_hands(self) -> None:
        turns = (self._initiator, not self._initiator, self._initiator)
        for writes, payload in zip(turns, self._payloads, strict=True):
            if writes:
                data = _with_length(bytes(self._noise.write_message(payload)))
                if self._glued and self._noise.handshake_finished:
                    data += self.block(self._glued)
                    for at in range(len(data)):
                        self.write(data[at : at + 1])
                        await self.drain()
                else:
                    self.write(data)
                    await self.drain()
            else:
                self._noise.read_message(await self._read_block())  # a payload is thrown away

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    def block(self, inner: bytes) -> bytes:
        """Seal an inner message, which need not be one."""
        return _with_length(self._seal(inner))

    async def _read_block(self) -> bytes:
        (size,) = struct.unpack(">I", await self._reader.readexactly(4))
        return await self._reader.readexactly(size)

    def _seal(self, inner: bytes) -> bytes:
        # Its ciphers, because librats 2 does not hold to the 65,535 bytes that the package stands for.
        return bytes(self._noise.noise_protocol.cipher_state_encrypt.encrypt_with_ad(b"", inner))

    def _open(self, body: bytes) -> bytes:
        return bytes(self._noise.noise_protocol.cipher_state_decrypt.decrypt_with_ad(b"", body))

    async def send(self, kind: int, payload: bytes, *, channel: int = 0, flags: int = 0) -> None:
        self.write(self.block(struct.pack(">BBH", kind, flags, channel) + payload))
        await self.drain()

    async def send_json(self, name: bytes, text: bytes) -> None:
        await self.send(TYPED, struct.pack(">H", len(name)) + name + text)

    async def receive(self) -> tuple[int, int, bytes]:
        """Return type, channel and payload of the next inner message."""
        inner = self._open(await self._read_block())
        kind, _, channel = struct.unpack(">BBH", inner[:4])
        return kind, channel, inner[4:]

    async def at_end(self) -> bool:
        try:
            return await self._reader.read(1) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class PlaintextNode(Librats2Node):
    """One connection of such a node with encryption off; ``key`` is its id."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        initiator: bool,
        key: bytes,
        trailing: bytes = b"",
    ) -> None:
        super().__init__(reader, writer, initiator=initiator, key=key)
        self._id = key
        self._trailing = trailing

    async def shake_hands(self) -> None:
        own = struct.pack(">H", len(self._prologue)) + self._prologue + self._id
        for writes in (self._initiator, not self._initiator):
            if writes:
                self.write(_with_length(own + self._trailing))
                await self.drain()
            else:
                theirs = await self._read_block()
                assert theirs[:-32] == own[:-32]

    def _seal(self, inner: bytes) -> bytes:
        return inner

    def _open(self, body: bytes) -> bytes:
        return body


def _with_length(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def peer_id(key: bytes) -> str:
    public = X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()
    return hashlib.sha256(public).hexdigest()
