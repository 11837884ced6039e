"""TCP sockets: listening on both address families, dialling one address."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from librats.errors import ConfigError
from librats.runtime.tcp_transport import TcpAcceptor, TcpTransport, takes_transports
from librats.runtime.tls import ClientTls
from librats.runtime.tunnels import Asks, dig, dig_in_tls
from librats.types import Address

__all__ = [
    "TcpListener",
    "address_of",
    "cannot_listen",
    "dial_tcp",
    "listen_tcp",
    "receive_buffer",
    "share_port",
    "sockaddr_of",
]

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
SocketFactory = Callable[[int], socket.socket]

BACKLOG = 1024
PORT_TRIES = 16
TLS_HANDSHAKE_TIMEOUT = 15.0
RECEIVE_BUFFER = 256 * 1024


class TcpListener:
    """Sockets that listen on one port, one for each address family."""

    def __init__(self, servers: list[asyncio.Server | TcpAcceptor], addresses: list[Address]) -> None:
        self._servers = servers
        self.addresses = addresses
        """Where it listens; ``0.0.0.0`` and ``::`` mean every interface."""

    @property
    def port(self) -> int:
        """The port."""
        return self.addresses[0].port

    def close(self) -> None:
        """Stop listening. Connections that were accepted live on."""
        for server in self._servers:
            server.close()


def receive_buffer() -> bytearray | None:
    """A buffer that all connections of one loop may receive into, one after the other.

    Returns:
        The buffer; None on Windows, whose loops hold a buffer for each connection while they wait for its bytes.
    """
    return None if os.name == "nt" else bytearray(RECEIVE_BUFFER)


def address_of(sockname: Any) -> Address:
    """Return the address in a socket name of ``getsockname`` or ``getpeername``."""
    host, port = sockname[:2]
    scope = sockname[3] if len(sockname) > 3 else 0  # noqa: PLR2004 - an IPv6 name has four parts
    return Address(f"{host}%{scope}" if scope and "%" not in host else host, port)


def sockaddr_of(address: Address) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Return the family and the socket name of an IP address.

    Raises:
        ValueError: The host is none.
        OSError: Its zone is no interface of this machine.
    """
    try:
        socket.inet_pton(socket.AF_INET, address.host)  # many times as quick as ipaddress
    except OSError:
        pass
    else:
        return socket.AF_INET, (address.host, address.port)
    host, _, zone = address.host.partition("%")
    if ipaddress.ip_address(host).version == 4:  # noqa: PLR2004 - IPv4
        return socket.AF_INET, (host, address.port)
    scope = 0
    if zone:
        scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    return socket.AF_INET6, (host, address.port, 0, scope)


def _tcp_socket(family: int) -> socket.socket:
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it small messages wait 40 ms.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)


def share_port(sock: socket.socket) -> None:
    """Let other sockets of this user have the same port, those included that listen on it; before it is bound."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _listening_socket(address: Address, new_socket: SocketFactory, *, reuse_port: bool) -> socket.socket:
    family, name = sockaddr_of(address)
    sock = new_socket(family)
    try:
        if reuse_port:
            share_port(sock)
        elif os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(name)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _both_families(port: int, listening: Callable[[Address], socket.socket]) -> list[socket.socket]:
    """Sockets for every interface on the same port; IPv6 is left out where the machine has none."""
    for attempt in range(PORT_TRIES):
        first = listening(Address("0.0.0.0", port))  # noqa: S104 - a peer listens to everyone
        try:
            second = listening(Address("::", first.getsockname()[1]))
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE and attempt + 1 < PORT_TRIES:
                first.close()
                continue
            if error.errno == errno.EADDRINUSE:
                first.close()
                raise
            return [first]
        return [first, second]
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def cannot_listen(field: str, where: Address, error: Exception, *, what: str = "cannot listen on") -> ConfigError:
    """Return the error of an address that cannot be listened on, with what to do where it is in use.

    Args:
        field: The field of the configuration that names it.
        where: The address.
        error: What the system says.
        what: What does not work there.

    Example:
        >>> import errno
        >>> from librats.runtime.tcp import cannot_listen
        >>> from librats.types import Address
        >>> str(cannot_listen("listen_port", Address("::1", 80), OSError(errno.EACCES, "Permission denied")))
        'listen_port: cannot listen on [::1]:80: Permission denied'
    """
    why = getattr(error, "strerror", None) or str(error)
    in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    hint = "; take another port, or 0 for any that is free" if in_use else ""
    return ConfigError(field, f"{what} {where}: {why}{hint}")


async def listen_tcp(
    factory: ProtocolFactory,
    host: str,
    port: int,
    *,
    reuse_port: bool = False,
    new_socket: SocketFactory = _tcp_socket,
    tls: ssl.SSLContext | None = None,
) -> TcpListener:
    """Listen for connections.

    Args:
        factory: Makes the protocol of each connection.
        host: IP address; empty for every interface, IPv4 and IPv6.
        port: 0 picks one, the same for both families.
        reuse_port: Whether others of this user may have the same port: what is dialled from it, for example.
        new_socket: Makes a TCP socket of an address family; the system's where it is left out.
        tls: How to encrypt; None for not at all.

    Raises:
        ConfigError: The address is taken, not this machine's, or not an address at all.
    """
    loop = asyncio.get_running_loop()
    where = Address(host or "*", port)
    listening = partial(_listening_socket, new_socket=new_socket, reuse_port=reuse_port)
    try:
        sockets = [listening(Address(host, port))] if host else _both_families(port, listening)
    except ValueError:
        raise ConfigError("listen_host", f"{host!r} is not an IP address") from None
    except (OSError, OverflowError) as error:
        raise cannot_listen("listen_port", where, error) from error
    with contextlib.ExitStack() as undo:
        for sock in sockets:
            undo.callback(sock.close)
        addresses = [address_of(sock.getsockname()) for sock in sockets]
        servers: list[asyncio.Server | TcpAcceptor] = []
        for sock in sockets:
            server: asyncio.Server | TcpAcceptor
            if tls is None and takes_transports(loop):
                server = TcpAcceptor(loop, sock, factory)
            else:
                server = await loop.create_server(
                    factory,
                    sock=sock,
                    backlog=BACKLOG,
                    ssl=tls,
                    ssl_handshake_timeout=None if tls is None else TLS_HANDSHAKE_TIMEOUT,
                )
            undo.callback(server.close)
            servers.append(server)
        undo.pop_all()
    return TcpListener(servers, addresses)


def _connects_at_once(sock: socket.socket, name: tuple[Any, ...]) -> bool:
    """Begin to connect, and tell whether the connection is there already, as it is within one machine.

    Waiting for it takes two turns of the loop and four calls of the system, asking anew takes one.

    Raises:
        OSError: The connection was refused or cannot come about.
    """
    if sys.platform != "linux":
        return False  # elsewhere a loop is not to find a socket that has begun, or is done
    for _ in range(2):
        try:
            sock.connect(name)
        except BlockingIOError:
            continue
        return True
    return False


def _peer_of(sock: socket.socket, family: int, name: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return where a socket leads that was connected to a name.

    Raises:
        ConnectionRefusedError: To itself, as a port of the ephemeral range where nobody listens can.
    """
    peername: tuple[Any, ...] = name if family == socket.AF_INET else sock.getpeername()
    ours = sock.getsockname()
    if ours[1] == peername[1] and ours == peername:
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return peername


async def dial_tcp(
    factory: ProtocolFactory,
    address: Address,
    *,
    tls: ClientTls | None = None,
    local: Address | None = None,
    timeout: float | None = None,
    tunnel: Asks | None = None,
    tunnel_tls: ClientTls | None = None,
    new_socket: SocketFactory = _tcp_socket,
) -> None:
    """Connect to one address and give the connection to a protocol.

    Args:
        factory: Makes the protocol.
        address: An IP address, not a name, and a port.
        tls: Encrypt, and check the certificate of the other side; None for neither.
        local: The IP address and port that it comes from, which others of this user may have, too; None for any.
        timeout: Seconds until there must be a connection, encrypted or not; None for as long as the system takes.
        tunnel: What the proxy at that address is asked for, before anything else is said; None where it is none.
        tunnel_tls: Encrypt what the proxy is told and all that goes through it, and check its certificate.
        new_socket: Makes a TCP socket of an address family; the system's where it is left out.

    Raises:
        OSError: The connection was refused or did not come about; an ``ssl.SSLError`` where TLS did not, a
            TimeoutError where the time was up.
        ProxyError: The proxy does not make the tunnel.
    """
    loop = asyncio.get_running_loop()
    family, name = sockaddr_of(address)
    sock = new_socket(family)
    try:
        sock.setblocking(False)
        if local is not None:
            share_port(sock)
            sock.bind(sockaddr_of(local)[1])
        if not _connects_at_once(sock, name):
            async with asyncio.timeout(timeout):
                await loop.sock_connect(sock, name)
        peername = _peer_of(sock, family, name)
        if tunnel is not None and tunnel_tls is not None:
            await dig_in_tls(sock, tunnel, tunnel_tls, factory, tls)
            return
        if tunnel is not None:
            await dig(sock, tunnel)
        if tls is not None:
            await loop.create_connection(factory, sock=sock, ssl=tls.context, server_hostname=tls.name)
        elif takes_transports(loop):
            protocol = factory()
            TcpTransport(loop, sock, peername).begin(protocol)
        else:
            await loop.create_connection(factory, sock=sock)
    except BaseException:
        sock.close()
        raise
