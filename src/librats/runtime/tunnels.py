"""Having a proxy make a tunnel, straight or inside TLS, before a connection is given to whom it is for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol, cast

from librats.errors import ProxyError
from librats.runtime.tls import ClientTls

__all__ = ["Asks", "dig", "dig_in_tls"]

READ = 4096


class Asks(Protocol):
    """What a proxy is asked: :class:`librats.web.tunnel.Tunnel` or :class:`librats.web.socks.SocksTunnel`."""

    def data_to_send(self) -> bytes:
        """Return what is to be sent now, each once."""

    def receive_data(self, data: bytes) -> bool:
        """Take what the proxy says, none where it has closed the connection; whether the tunnel is there."""


async def dig(sock: socket.socket, tunnel: Asks) -> None:
    """Have a proxy make a tunnel. Nothing is read beyond its answer: whoever is behind it waits for our first words.

    Args:
        sock: A connection to the proxy.
        tunnel: What it is asked.

    Raises:
        ProxyError: It does not.
        OSError: The connection broke.
    """
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, tunnel.data_to_send())
    while not tunnel.receive_data(await loop.sock_recv(sock, READ)):
        await loop.sock_sendall(sock, tunnel.data_to_send())


class _Digger(asyncio.Protocol):
    """Asks a proxy for a tunnel over a connection that is encrypted."""

    def __init__(self, tunnel: Asks) -> None:
        self._tunnel = tunnel
        self._transport: asyncio.Transport | None = None
        self.is_there: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._tunnel.data_to_send())

    def data_received(self, data: bytes) -> None:
        if self.is_there.done() or self._transport is None:
            return
        try:
            if self._tunnel.receive_data(data):
                self._transport.pause_reading()
                self.is_there.set_result(None)
            else:
                self._transport.write(self._tunnel.data_to_send())
        except ProxyError as error:
            self.is_there.set_exception(error)

    def connection_lost(self, problem: Exception | None) -> None:
        if self.is_there.done():
            return
        if problem is not None:
            self.is_there.set_exception(problem)
        else:
            self.data_received(b"")


async def dig_in_tls(
    sock: socket.socket,
    tunnel: Asks,
    proxy_tls: ClientTls,
    factory: Callable[[], asyncio.BaseProtocol],
    tls: ClientTls | None,
) -> None:
    """Have a proxy make a tunnel inside TLS, and give what comes out of it to a protocol.

    Args:
        sock: A connection to the proxy.
        tunnel: What it is asked.
        proxy_tls: Whose certificate it must have.
        factory: Makes the protocol.
        tls: Encrypt to the other end of the tunnel as well, inside; None for not at all.

    Raises:
        ProxyError: The proxy does not make the tunnel.
        OSError: The connection broke, or TLS did not come about; an ``ssl.SSLError`` where a certificate is not valid.
    """
    loop = asyncio.get_running_loop()
    transport: asyncio.Transport
    transport, digger = await loop.create_connection(
        lambda: _Digger(tunnel), sock=sock, ssl=proxy_tls.context, server_hostname=proxy_tls.name
    )
    try:
        await digger.is_there
        if tls is None:
            protocol = factory()
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            transport.resume_reading()
            return
        _let_it_be_aborted(transport)
        inner = await loop.start_tls(transport, asyncio.Protocol(), tls.context, server_hostname=tls.name)
        if inner is None:
            raise ConnectionResetError("the connection was closed while TLS began")
        # Whoever is behind it waits for our first words.
        protocol = factory()
        inner.set_protocol(protocol)
        protocol.connection_made(inner)
    except BaseException:
        transport.abort()
        raise


def _let_it_be_aborted(transport: asyncio.Transport) -> None:
    """Let the TLS inside abort the one outside: what CPython calls for that fails there before 3.12.2."""
    with contextlib.suppress(AttributeError):  # uvloop has it right, and takes none
        transport._force_close = lambda problem: transport.abort()  # type: ignore[attr-defined]
