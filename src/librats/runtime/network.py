"""The seam between librats and the network: everything above goes through the network of the running loop.

A loop that carries an attribute ``librats_network`` has its own, as that of :mod:`librats.testing`, where it is the
network of the host on which the running code runs; every other loop has the system's.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from typing import Any, Protocol

from librats.runtime.datagrams import Receive
from librats.runtime.entropy import SystemEntropy
from librats.runtime.gateways import Gateway, default_gateways
from librats.runtime.interfaces import Interface, interface_addresses, system_interfaces
from librats.runtime.offload import run_in_thread
from librats.runtime.proxies import system_proxy
from librats.runtime.tcp import ProtocolFactory, TcpListener, dial_tcp, listen_tcp
from librats.runtime.tls import ClientTls
from librats.runtime.tunnels import Asks
from librats.runtime.udp import DatagramEndpoint, open_datagram
from librats.types import Address, Entropy
from librats.web_uris import ProxyUri

__all__ = ["Network", "SystemNetwork", "current_network"]


class Network(Protocol):
    """What librats asks of a network."""

    @property
    def entropy(self) -> Entropy:
        """Random values for everything but keys."""

    def new_key(self, size: int) -> bytes:
        """Return random bytes for keys and other secrets."""

    def own_key(self) -> bytes | None:
        """Return the private key of a client that names none; None where the user's data directory holds it."""

    def wall_time(self) -> float:
        """Return seconds since 1970, as the host has it."""

    async def listen_tcp(
        self, factory: ProtocolFactory, host: str, port: int, *, reuse_port: bool = False
    ) -> TcpListener:
        """Listen for connections; see :func:`librats.runtime.tcp.listen_tcp`."""

    async def dial_tcp(
        self,
        factory: ProtocolFactory,
        address: Address,
        *,
        tls: ClientTls | None = None,
        local: Address | None = None,
        timeout: float | None = None,
        tunnel: Asks | None = None,
        tunnel_tls: ClientTls | None = None,
    ) -> None:
        """Connect to one address; see :func:`librats.runtime.tcp.dial_tcp`."""

    async def open_datagram(
        self, host: str = "", port: int = 0, *, receive: Receive, **options: Any
    ) -> DatagramEndpoint:
        """Open an endpoint for datagrams; see :func:`librats.runtime.udp.open_datagram`, for the options, too."""

    async def resolve(self, address: Address) -> list[Address]:
        """Return the addresses behind a host name, best first (RFC 6724)."""

    async def proxy_for(self, server: Address, *, secure: bool) -> ProxyUri | None:
        """Return the proxy through which this host's settings send connections to a server; None for none."""

    async def interface_addresses(self) -> list[str]:
        """Return this host's own IP addresses."""

    async def list_interfaces(self) -> list[Interface]:
        """Return this host's interfaces, those without an address too."""

    async def gateways(self) -> list[Gateway]:
        """Return the routers of this host's default routes."""


class SystemNetwork:
    """The network of this machine."""

    def __init__(self) -> None:
        self.entropy: Entropy = SystemEntropy()

    def new_key(self, size: int) -> bytes:
        """Return random bytes from the system's source."""
        return secrets.token_bytes(size)

    def own_key(self) -> bytes | None:
        """Return None: the user's data directory holds it."""
        return None

    def wall_time(self) -> float:
        """Return the system's time."""
        return time.time()

    async def listen_tcp(
        self, factory: ProtocolFactory, host: str, port: int, *, reuse_port: bool = False
    ) -> TcpListener:
        """Listen for connections."""
        return await listen_tcp(factory, host, port, reuse_port=reuse_port)

    async def dial_tcp(
        self,
        factory: ProtocolFactory,
        address: Address,
        *,
        tls: ClientTls | None = None,
        local: Address | None = None,
        timeout: float | None = None,
        tunnel: Asks | None = None,
        tunnel_tls: ClientTls | None = None,
    ) -> None:
        """Connect to one address."""
        await dial_tcp(factory, address, tls=tls, local=local, timeout=timeout, tunnel=tunnel, tunnel_tls=tunnel_tls)

    async def open_datagram(
        self, host: str = "", port: int = 0, *, receive: Receive, **options: Any
    ) -> DatagramEndpoint:
        """Open an endpoint for datagrams."""
        return await open_datagram(host, port, receive=receive, **options)

    async def resolve(self, address: Address) -> list[Address]:
        """Ask the system's resolver, on a thread of its own; an IP address is returned as it is."""
        if address.is_literal:
            return [address]
        found = await run_in_thread(_lookup, address)
        return list(dict.fromkeys(found))

    async def proxy_for(self, server: Address, *, secure: bool) -> ProxyUri | None:
        """Ask the system's settings, on a thread of its own: what they leave out may be names to look up."""
        return await run_in_thread(system_proxy, server, secure)

    async def interface_addresses(self) -> list[str]:
        """Ask the system for its interfaces, on a thread of its own."""
        return await interface_addresses()

    async def list_interfaces(self) -> list[Interface]:
        """Ask the system for its interfaces, on a thread of its own."""
        return await system_interfaces()

    async def gateways(self) -> list[Gateway]:
        """Ask the system for its routes, on a thread of its own."""
        return await default_gateways()


def _lookup(address: Address) -> list[Address]:
    infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return [
        Address(str(name[0]), address.port)
        for family, _, _, _, name in infos
        if family in (socket.AF_INET, socket.AF_INET6)
    ]


_SYSTEM = SystemNetwork()


def current_network() -> Network:
    """Return the network of the running loop; the system's where no loop runs in this thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _SYSTEM
    network: Network = getattr(loop, "librats_network", _SYSTEM)
    return network
