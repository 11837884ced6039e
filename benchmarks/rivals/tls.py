"""The ends of TLS 1.3 through a bare Protocol of the running loop, uvloop's for example: bulk data."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
import tempfile
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import NameOID

from librats.cli.measuring.bulk import BLOCK
from librats.cli.measuring.end import LOOPBACK, End


def own_certificate() -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    """Return a new key, and a certificate of it that nobody else has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def server_context() -> ssl.SSLContext:
    """Return a server's context with a certificate of its own."""
    key, certificate = own_certificate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "both.pem")
        path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    """Return the context of a client that takes any certificate: this is about speed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Taking(asyncio.Protocol):
    """Counts what comes."""

    def __init__(self, end: End, gone: asyncio.Event) -> None:
        self._end = end
        self._gone = gone
        self._warm_up = end.number("warm_up") * BLOCK
        self._left = self._warm_up + end.number("blocks") * BLOCK

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._warm_up > 0:
            self._warm_up -= len(data)
            if self._warm_up <= 0:
                self._end.start()
                self._transport.write(b"go")
        elif not self._left:
            self._end.finish()
            self._transport.write(b"done")

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()


class Giving(asyncio.Protocol):
    """Writes as fast as the connection takes it."""

    def __init__(self) -> None:
        self._room = asyncio.Event()
        self._room.set()
        self._heard: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        self._heard.put_nowait(data)

    async def write(self, data: bytes) -> None:
        self.transport.write(data)
        await self._room.wait()

    async def word(self) -> bytes:
        return await self._heard.get()


async def bulk_receiver(end: End) -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Taking(end, gone), LOOPBACK, 0, ssl=server_context())
    end.announce(server.sockets[0].getsockname()[1])
    await gone.wait()
    server.close()


async def bulk_sender(end: End) -> None:
    blocks = [os.urandom(BLOCK) for _ in range(16)]
    loop = asyncio.get_running_loop()
    _, giving = await loop.create_connection(Giving, LOOPBACK, end.port, ssl=client_context())
    for _ in range(end.number("warm_up")):
        await giving.write(blocks[0])
    await giving.word()
    end.start()
    for number in range(end.number("blocks")):
        await giving.write(blocks[number % len(blocks)])
    await giving.word()
    end.finish()
    giving.transport.close()
