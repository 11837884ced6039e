"""A simulated host: its interfaces, its sockets, its names, and the network as the code on it sees it."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from librats.errors import UsageError
from librats.peers.identity import Identity
from librats.runtime.datagrams import Receive
from librats.runtime.gateways import Gateway
from librats.runtime.interfaces import Interface
from librats.runtime.tcp import ProtocolFactory, TcpListener, dial_tcp, listen_tcp
from librats.runtime.tls import ClientTls
from librats.runtime.tunnels import Asks
from librats.runtime.udp import DatagramEndpoint, open_datagram
from librats.testing.entropy import SeededEntropy
from librats.testing.here import enter_host, leave_host
from librats.testing.interfaces import Segment, SimInterface
from librats.testing.ports import version_of
from librats.testing.stack import LOOPBACK, HostStack
from librats.types import Address
from librats.web_uris import ProxyUri

if TYPE_CHECKING:
    from librats.testing.network import SimNetwork
    from librats.testing.routers import SimRouter

__all__ = ["SimHost"]

T = TypeVar("T")

KEY_SIZE = 32

EPOCH = 1_700_000_000.0
"""When simulations begin, in seconds since 1970."""


class SimHost:
    """One machine of a simulation. Comes from :meth:`SimNetwork.host`.

    Code runs on it inside ``with host:``, and in coroutines that :meth:`run` or :meth:`spawn` was given, with every
    task that they start.

    Example:
        .. code-block:: python

            with alice:
                client = RatsClient(8080)
                await client.start()
    """

    is_router: Literal[False] = False
    routed_addresses: tuple[str, ...] = ()

    def __init__(self, network: SimNetwork, name: str, segment: Segment, addresses: Sequence[str], seed: int) -> None:
        self._network = network
        self.name = name
        """Its name, which others can resolve where they can reach it."""
        self.is_up = True
        """False where nothing gets in or out."""
        self.entropy = SeededEntropy(seed, "host", name)
        """Random values for everything but keys."""
        self._keys = SeededEntropy(seed, "keys", name)
        self.stack = HostStack(network, self)
        """Its sockets, and who takes what comes for it."""
        self.interfaces: dict[str, SimInterface] = {}
        """Its interfaces by name, the preferred ones first."""
        self._plug("eth0", segment, addresses)

    def __repr__(self) -> str:
        """Show name, addresses and state."""
        return f"<SimHost {self.name} {' '.join(self.addresses)}{'' if self.is_up else ' down'}>"

    # Where it is

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its IP addresses on the interfaces that are up, without the loopback."""
        return self.stack.addresses

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Where it is."""
        return tuple(interface.segment for interface in self.interfaces.values())

    def add_interface(
        self, name: str, *, behind: SimRouter | None = None, addresses: Iterable[str] = ()
    ) -> SimInterface:
        """Give it one more interface, which it uses where those it had before do not lead.

        Args:
            name: Its name, ``"wlan0"`` for example.
            behind: The router at whose inner side it is; None for the internet.
            addresses: Its IP addresses; free ones of that place where there are none.

        Raises:
            UsageError: There is one of that name, or an address cannot be one or is taken.
        """
        if name in self.interfaces:
            raise UsageError(f"{self.name} has an interface {name}")
        segment = self._network.internet if behind is None else behind.inside
        return self._plug(name, segment, tuple(addresses) or self.free_addresses(segment))

    def _plug(self, name: str, segment: Segment, addresses: Sequence[str]) -> SimInterface:
        interface = self.interfaces[name] = SimInterface(self._network, self, name, segment, addresses)
        self.readdressed()
        return interface

    def free_addresses(self, segment: Segment) -> Sequence[str]:
        """Return addresses that it may have somewhere."""
        elsewhere = [
            address
            for interface in self.interfaces.values()
            if interface.segment is not segment
            for address in interface.addresses
        ]
        return self._network.plan.for_host(segment, besides=elsewhere)

    def readdressed(self) -> None:
        """Take note of other addresses of its interfaces."""
        self.stack.readdressed(self.interfaces.values())

    # Code on the host

    def __enter__(self) -> Self:
        """Run on this host from here on."""
        enter_host(self)
        return self

    def __exit__(self, *exc: object) -> None:
        """Run where it was before."""
        leave_host()

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a task on this host.

        Args:
            coroutine: What to run.
            name: The task's name; the host's where it is None.
        """
        context = contextvars.copy_context()
        context.run(enter_host, self)
        return asyncio.get_running_loop().create_task(coroutine, name=name or self.name, context=context)

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this host, and return what it returns."""
        with self:
            return await coroutine

    @property
    def connections(self) -> int:
        """Connections that have an end here, those included that are closed on this side but not yet everywhere."""
        return self.stack.connections

    def down(self) -> None:
        """Pull the plug: nothing gets in or out, and nobody is told. What runs on the host runs on."""
        self.is_up = False
        self._network.note(f"{self.name} is down")

    def up(self) -> None:
        """Plug it in again."""
        self.is_up = True
        self._network.note(f"{self.name} is up")

    def new_identity(self) -> Identity:
        """Return keys that come from the seed: the next ones of this host. Never use them outside a simulation."""
        return Identity(self._keys.token_bytes(KEY_SIZE))

    # The network as librats sees it (runtime.network.Network)

    def new_key(self, size: int) -> bytes:
        """Return bytes for keys, from the seed."""
        return self._keys.token_bytes(size)

    def own_key(self) -> bytes | None:
        """Return the private key of a client that names none: the simulation leaves the user's files alone."""
        return self._keys.token_bytes(KEY_SIZE)

    def wall_time(self) -> float:
        """Return seconds since 1970: every simulation begins at the same time."""
        return EPOCH + self._network.time

    async def listen_tcp(
        self, factory: ProtocolFactory, host: str, port: int, *, reuse_port: bool = False
    ) -> TcpListener:
        """Listen for connections."""
        with self:
            return await listen_tcp(factory, host, port, reuse_port=reuse_port, new_socket=self.stack.socket)

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
        with self:
            await dial_tcp(
                factory,
                address,
                tls=tls,
                local=local,
                timeout=timeout,
                tunnel=tunnel,
                tunnel_tls=tunnel_tls,
                new_socket=self.stack.socket,
            )

    async def open_datagram(
        self, host: str = "", port: int = 0, *, receive: Receive, **options: Any
    ) -> DatagramEndpoint:
        """Open an endpoint for datagrams."""
        with self:
            return await open_datagram(
                host, port, receive=receive, **{"new_socket": self.stack.datagram_socket} | options
            )

    async def proxy_for(self, server: Address, *, secure: bool) -> ProxyUri | None:
        """Return None: the settings of the machine that simulates are none of the simulation's.

        Args:
            server: Host name or IP address, and port.
            secure: Whether TLS is spoken to it.
        """
        return None

    async def resolve(self, address: Address) -> list[Address]:
        """Return the addresses of a host of the simulation."""
        if address.is_literal:
            return [address]
        return [Address(name[0], name[1]) for _, name in self.lookup(address.host, address.port)]

    async def interface_addresses(self) -> list[str]:
        """Return this host's addresses, the loopback last."""
        return [*self.addresses, *LOOPBACK]

    async def list_interfaces(self) -> list[Interface]:
        """Return this host's interfaces, the loopback last."""
        own = [Interface(name, tuple(each.addresses) if each.is_up else ()) for name, each in self.interfaces.items()]
        return [*own, Interface("lo", LOOPBACK)]

    async def gateways(self) -> list[Gateway]:
        """Return the routers that map ports, with the addresses that this host has behind them."""
        return [
            Gateway(gateway, address)
            for interface in self.interfaces.values()
            if interface.is_up and interface.segment.router is not None
            for gateway in interface.segment.router.gateways
            for address in interface.addresses
            if version_of(address) == version_of(gateway)
        ]

    def lookup(self, name: str | None, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
        """Return families and socket addresses of a name or an IP address.

        Raises:
            OSError: No host of the simulation has that name.
        """
        if name in (None, "", "localhost"):
            found: Sequence[str] = LOOPBACK
        else:
            found = self._network.addresses_of(str(name), asked_by=self)
        return [
            (socket.AF_INET6, (address, port, 0, 0)) if version_of(address) == 6 else (socket.AF_INET, (address, port))  # noqa: PLR2004 - IPv6
            for address in found
        ]
