"""Connections through a proxy inside TLS, with TLS to the server inside of that or without."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

import pytest
from tests.reference.certificates import make_certificate
from tests.reference.http_proxy import HttpProxy

from librats import ProxyError
from librats.runtime.tcp import dial_tcp
from librats.runtime.tls import client_tls
from librats.types import Address
from librats.web.tunnel import Tunnel
from librats.web_uris import ProxyUri


class Says(asyncio.Protocol):
    """Says something, and keeps what comes back."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        self.heard.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read(100)).upper())
    await reader.read()
    writer.close()


async def through_tls(certificate: Path, *, inside: bool, **how: Any) -> bytes:
    """Go through a proxy inside TLS to a server that shouts, and return what it answers; then abort."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(shout, "127.0.0.1", 0, ssl=context if inside else None)
    target = Address(*server.sockets[0].getsockname())
    tls = await client_tls("127.0.0.1", certificate)
    async with server, HttpProxy(certificate=certificate, **how) as proxy:
        uri = ProxyUri.parse(proxy.uri)
        made: list[Says] = []

        def make() -> Says:
            made.append(Says())
            return made[-1]

        tunnel = Tunnel(uri, target)
        await dial_tcp(make, uri.address, tls=tls if inside else None, tunnel=tunnel, tunnel_tls=tls)
        heard = await asyncio.wait_for(made[0].heard, 20)
        made[0].transport.abort()
        await asyncio.wait_for(made[0].lost, 20)
    return heard


@pytest.mark.parametrize("inside", [False, True])
async def test_the_server_behind_the_proxy_is_spoken_to_and_left_without_a_complaint(
    tmp_path: Path, inside: bool
) -> None:
    assert await through_tls(make_certificate(tmp_path), inside=inside) == b"HELLO"


async def test_a_proxy_inside_tls_that_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProxyError, match="403"):
        await through_tls(make_certificate(tmp_path), inside=True, ports=(1,))
