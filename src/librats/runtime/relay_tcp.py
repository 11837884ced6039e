"""The TCP sockets of a relay: peers that connect to a relayed address, and connections from it to peers (RFC 6062)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from librats.runtime.tcp import share_port
from librats.types import Address

__all__ = ["accept_on", "connect_from"]

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


async def accept_on(factory: ProtocolFactory, fd: int) -> asyncio.Server:
    """Accept connections on a listening socket.

    Args:
        factory: Makes the protocol of each connection.
        fd: The socket. The server has a duplicate of it, so that whoever opened it closes it as it would without.
    """
    sock = socket.socket(fileno=os.dup(fd))
    try:
        return await asyncio.get_running_loop().create_server(factory, sock=sock)
    except BaseException:
        sock.close()
        raise


async def connect_from(factory: ProtocolFactory, source: Address, target: Address) -> None:
    """Connect from an address on which a socket listens already.

    Args:
        factory: Makes the protocol.
        source: The IP address and port to connect from.
        target: The IP address and port to connect to.

    Raises:
        OSError: The connection was refused or did not come about.
    """
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET6 if ":" in target.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        share_port(sock)
        sock.setblocking(False)
        sock.bind((source.host, source.port))
        await loop.sock_connect(sock, (target.host, target.port))
        await loop.create_connection(factory, sock=sock)
    except BaseException:
        sock.close()
        raise
