"""Connections to servers in networks that let little out: inside WebSockets, and through the HTTP proxy there is."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from librats.errors import ConfigError, ConnectError, ProxyError
from librats.reasons import AttemptReason
from librats.runtime.network import Network
from librats.runtime.tls import ClientTls
from librats.services.turn.paths import problem_of
from librats.types import Address
from librats.web.tunnel import Tunnel
from librats.web_uris import OFF, SYSTEM, ProxyUri, WebUri

if TYPE_CHECKING:
    from librats.services import web_transport
    from librats.web import sockets

__all__ = ["ServerPlace", "dial_server", "proxy_to", "require_web", "resolve_server", "web_modules"]

logger = logging.getLogger("librats.proxy")

PROXY_TIMEOUT = 3.0
"""Seconds that a proxy has, where the server may be reached without one, too."""


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """What there is to know for a connection to a server."""

    name: Address
    """Host name or IP address as it was configured, which a proxy is told, and the port."""

    tls: ClientTls | None = None
    """How it is encrypted; None for not at all."""

    web: WebUri | None = None
    """The WebSocket that the connection is to be inside of."""

    proxy: str = field(default=SYSTEM, repr=False)
    """``"system"``, ``"off"``, or the URI of a proxy."""


def require_web(field: str) -> None:
    """Check that WebSockets can be spoken.

    Raises:
        ConfigError: What that takes is not installed.
    """
    if importlib.util.find_spec("websockets") is None:
        raise ConfigError(field, "WebSockets need a package more: pip install 'librats[web]'")


def web_modules() -> tuple[type[sockets.ClientSocket], type[sockets.ServerSocket], type[web_transport.WebCarrier]]:
    """Return what speaks WebSockets, which is imported where it is first needed.

    Raises:
        ConfigError: What that takes is not installed.
    """
    require_web("introducers")
    rules = importlib.import_module("librats.web.sockets")
    carrier = importlib.import_module("librats.services.web_transport")
    return rules.ClientSocket, rules.ServerSocket, carrier.WebCarrier


async def proxy_to(network: Network, place: ServerPlace, *, secure: bool | None = None) -> ProxyUri | None:
    """Return the proxy through which a server is to be reached; None for none.

    Args:
        network: Where.
        place: The server.
        secure: Whether it is spoken to by TLS, where `place` does not tell.
    """
    if place.proxy == OFF:
        return None
    if place.proxy == SYSTEM:
        return await network.proxy_for(place.name, secure=place.tls is not None if secure is None else secure)
    return ProxyUri.parse(place.proxy)


async def resolve_server(network: Network, place: ServerPlace) -> list[Address]:
    """Return the addresses of a server: its name alone where there is a proxy, which looks that up.

    A network that only a proxy leads out of may have no name server that answers, and waiting for one takes seconds.

    Raises:
        OSError: It has none.
    """
    return await network.resolve(place.name) if await proxy_to(network, place) is None else [place.name]


async def dial_server(
    network: Network, factory: Callable[[], asyncio.BaseProtocol], address: Address, place: ServerPlace
) -> None:
    """Connect to a server, and give the connection to a protocol.

    A proxy that the system names is tried first, and the server itself where that does not do; a proxy that the
    configuration names is the only way.

    Args:
        network: Where.
        factory: Makes the protocol, once there is a connection.
        address: An address of :func:`resolve_server`.
        place: What else there is to know.

    Raises:
        ProxyError: The proxy does not let us through.
        ConnectError: The server does not open the WebSocket.
        OSError: There is no connection to the server; an ``ssl.SSLError`` where its certificate is not valid.
    """
    proxy = await proxy_to(network, place)
    if proxy is None:
        await _dial(network, factory, address, place)
        return
    if place.proxy != SYSTEM:
        await _through(network, factory, proxy, place)
        return
    try:
        async with asyncio.timeout(PROXY_TIMEOUT):
            await _through(network, factory, proxy, place)
    except TimeoutError:
        problem: ConnectError | OSError = ProxyError(str(proxy), "it takes too long", AttemptReason.PROXY_UNREACHABLE)
    except (ConnectError, OSError) as error:
        problem = error
    else:
        return
    logger.debug("%s is to be reached without a proxy: %s", place.name, problem)
    try:
        await _dial(network, factory, address, place)
    except (ConnectError, OSError) as error:
        raise problem from error


async def _through(
    network: Network, factory: Callable[[], asyncio.BaseProtocol], proxy: ProxyUri, place: ServerPlace
) -> None:
    try:
        found = await network.resolve(proxy.address)
    except OSError as error:
        raise ProxyError(str(proxy), f"no such host: {error}", AttemptReason.PROXY_UNREACHABLE) from error
    tunnel = Tunnel(proxy, place.name)
    try:
        await _dial(network, factory, found[0], place, tunnel)
    except OSError as error:
        if tunnel.is_there or isinstance(error, TimeoutError):
            raise
        raise ProxyError(str(proxy), problem_of(error), AttemptReason.PROXY_UNREACHABLE) from error


async def _dial(
    network: Network,
    factory: Callable[[], asyncio.BaseProtocol],
    address: Address,
    place: ServerPlace,
    tunnel: Tunnel | None = None,
) -> None:
    if not address.is_literal:
        address = (await network.resolve(address))[0]
    if place.web is None:
        await network.dial_tcp(factory, address, tls=place.tls, tunnel=tunnel)
        return
    new_socket, _, new_carrier = web_modules()
    socket = new_socket(place.web)
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def make() -> asyncio.BaseProtocol:
        if not opened.done():
            opened.set_result(None)
        return factory()

    def fail() -> None:
        if not opened.done():
            opened.set_exception(socket.problem)

    extra = {} if tunnel is None else {"peername": (place.name.host, place.name.port)}
    carrier = new_carrier(socket, make, fail, extra=lambda under: extra)
    try:
        await network.dial_tcp(lambda: cast("asyncio.BaseProtocol", carrier), address, tls=place.tls, tunnel=tunnel)
        await opened
    except BaseException:
        if not opened.done():
            opened.cancel()
        carrier.close()
        raise
