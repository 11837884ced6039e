"""The seam between librats and the network: everything above goes through the network of the running loop.

A loop that carries an attribute ``librats_network`` has its own, a simulated one for example; every other loop has the
system's.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from librats.runtime.entropy import SystemEntropy
from librats.runtime.interfaces import interface_addresses
from librats.runtime.offload import run_in_thread
from librats.runtime.tcp import ProtocolFactory, TcpListener, dial_tcp, listen_tcp
from librats.types import Address, Entropy

__all__ = ["Network", "SystemNetwork", "current_network"]


class Network(Protocol):
    """What librats asks of a network."""

    @property
    def entropy(self) -> Entropy:
        """Random values for everything but keys."""

    async def listen_tcp(self, factory: ProtocolFactory, host: str, port: int) -> TcpListener:
        """Listen for connections; see :func:`librats.runtime.tcp.listen_tcp`."""

    async def dial_tcp(self, factory: ProtocolFactory, address: Address) -> None:
        """Connect to one address; see :func:`librats.runtime.tcp.dial_tcp`."""

    async def resolve(self, address: Address) -> list[Address]:
        """Return the addresses behind a host name, best first (RFC 6724)."""

    async def interface_addresses(self) -> list[str]:
        """Return this host's own IP addresses."""


class SystemNetwork:
    """The network of this machine."""

    def __init__(self) -> None:
        self.entropy: Entropy = SystemEntropy()

    async def listen_tcp(self, factory: ProtocolFactory, host: str, port: int) -> TcpListener:
        """Listen for connections."""
        return await listen_tcp(factory, host, port)

    async def dial_tcp(self, factory: ProtocolFactory, address: Address) -> None:
        """Connect to one address."""
        await dial_tcp(factory, address)

    async def resolve(self, address: Address) -> list[Address]:
        """Ask the system's resolver, on a thread of its own; an IP address is returned as it is."""
        if address.is_literal:
            return [address]
        found = await run_in_thread(_lookup, address)
        return list(dict.fromkeys(found))

    async def interface_addresses(self) -> list[str]:
        """Ask the system for its interfaces, on a thread of its own."""
        return await interface_addresses()


def _lookup(address: Address) -> list[Address]:
    infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return [
        Address(str(name[0]), address.port)
        for family, _, _, _, name in infos
        if family in (socket.AF_INET, socket.AF_INET6)
    ]


_SYSTEM = SystemNetwork()


def current_network() -> Network:
    """Return the network of the running loop."""
    network: Network = getattr(asyncio.get_running_loop(), "librats_network", _SYSTEM)
    return network
