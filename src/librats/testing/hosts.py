"""A simulated host: its addresses, its sockets, its names, and the network as the code on it sees it."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from librats.errors import UsageError
from librats.peers.identity import Identity
from librats.runtime.tcp import ProtocolFactory, TcpListener, dial_tcp, listen_tcp
from librats.runtime.tls import ClientTls
from librats.runtime.udp import DatagramEndpoint, Receive
from librats.testing.agenda import Agenda
from librats.testing.ends import StreamEnd
from librats.testing.entropy import SeededEntropy
from librats.testing.here import enter_host, leave_host
from librats.testing.packets import Packet, PacketKind
from librats.testing.selecting import SimSelector
from librats.testing.sockets import Listening, SimSocket
from librats.types import Address

if TYPE_CHECKING:
    from librats.testing.network import SimNetwork

__all__ = ["SimHost"]

T = TypeVar("T")

LOOPBACK = ("127.0.0.1", "::1")
EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - names, nothing is bound
FIRST_EPHEMERAL = 49152
LAST_PORT = 65535
KEY_SIZE = 32


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

    def __init__(self, network: SimNetwork, name: str, addresses: Sequence[str], seed: int) -> None:
        self._network = network
        self.name = name
        """Its name, which every host can resolve."""
        self.addresses = tuple(addresses)
        """Its IP addresses, without the loopback."""
        self.is_up = True
        """False where nothing gets in or out."""
        self.entropy = SeededEntropy(seed, "host", name)
        """Random values for everything but keys."""
        self._keys = SeededEntropy(seed, "keys", name)
        self._listening: dict[Address, Listening] = {}
        self._reserved: dict[Address, int] = {}
        self._ends: dict[tuple[Address, Address], StreamEnd] = {}
        self._next_port = FIRST_EPHEMERAL

    def __repr__(self) -> str:
        """Show name, addresses and state."""
        return f"<SimHost {self.name} {' '.join(self.addresses)}{'' if self.is_up else ' down'}>"

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

    async def listen_tcp(self, factory: ProtocolFactory, host: str, port: int) -> TcpListener:
        """Listen for connections."""
        with self:
            return await listen_tcp(factory, host, port, new_socket=self.socket)

    async def dial_tcp(self, factory: ProtocolFactory, address: Address, *, tls: ClientTls | None = None) -> None:
        """Connect to one address."""
        with self:
            await dial_tcp(factory, address, tls=tls, new_socket=self.socket)

    async def open_datagram(
        self, host: str = "", port: int = 0, *, receive: Receive, **options: Any
    ) -> DatagramEndpoint:
        """Refuse: the simulation has no datagrams yet.

        Args:
            host: Not looked at, nor is anything else.
            port: Likewise.
            receive: Likewise.
            options: Likewise.

        Raises:
            UsageError: Always.
        """
        raise UsageError("the simulated network carries streams only, no datagrams yet")

    async def resolve(self, address: Address) -> list[Address]:
        """Return the addresses of a host of the simulation."""
        if address.is_literal:
            return [address]
        return [Address(name[0], name[1]) for _, name in self.lookup(address.host, address.port)]

    async def interface_addresses(self) -> list[str]:
        """Return this host's addresses, the loopback last."""
        return [*self.addresses, *LOOPBACK]

    def lookup(self, name: str | None, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
        """Return families and socket addresses of a name or an IP address.

        Raises:
            OSError: No host of the simulation has that name.
        """
        if name in (None, "", "localhost"):
            found: Sequence[str] = LOOPBACK
        else:
            found = self._network.addresses_of(str(name))
        mine = {_version(address) for address in (*self.addresses, *LOOPBACK)}
        return [
            (socket.AF_INET6, (address, port, 0, 0)) if _version(address) == 6 else (socket.AF_INET, (address, port))  # noqa: PLR2004 - IPv6
            for address in found
            if _version(address) in mine
        ]

    # Its sockets

    @property
    def agenda(self) -> Agenda:
        """The clock of the simulation."""
        return self._network.agenda

    @property
    def selector(self) -> SimSelector:
        """Who tells the loop about sockets."""
        return self._network.selector

    def socket(self, family: int) -> Any:
        """Make a socket, which asyncio takes for one of the system's."""
        return SimSocket(self, family)

    def reserve(self, address: Address) -> Address:
        """Take an address for a socket, a port included where none is wanted.

        Raises:
            OSError: It is in use, or not this host's.
        """
        if address.host not in (*self.addresses, *LOOPBACK, *EVERYWHERE.values()):
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        if address.port == 0:
            address = address._replace(port=self._free_port())
        elif any(self._clashes(address, other) for other in self._reserved):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._reserved[address] = 1
        return address

    def release(self, address: Address) -> None:
        """Give an address back."""
        self._reserved.pop(address, None)
        self._listening.pop(address, None)

    @staticmethod
    def _clashes(one: Address, other: Address) -> bool:
        if one.port != other.port or _version(one.host) != _version(other.host):
            return False
        return one.host == other.host or not {one.host, other.host}.isdisjoint(EVERYWHERE.values())

    def _free_port(self) -> int:
        in_use = {address.port for address in self._reserved} | {local.port for local, _ in self._ends}
        for _ in range(LAST_PORT - FIRST_EPHEMERAL + 1):
            port = self._next_port
            self._next_port = port + 1 if port < LAST_PORT else FIRST_EPHEMERAL
            if port not in in_use:
                return port
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    def listen(self, address: Address, listening: Listening) -> None:
        """Hand connections to that address over from now on."""
        self._listening[address] = listening

    def new_end(self, remote: Address, local: Address | None) -> StreamEnd:
        """Make the end of a connection that this host dials.

        Raises:
            OSError: This host has no address from which the other can be reached.
        """
        if local is None or local.host in EVERYWHERE.values():
            port = local.port if local is not None else self._free_port()
            local = Address(self._source_for(remote.host), port)
        if (local, remote) in self._ends:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        end = self._ends[local, remote] = StreamEnd(self, local, remote)
        return end

    def _source_for(self, remote: str) -> str:
        if remote in LOOPBACK or remote in self.addresses:
            return remote
        for address in self.addresses:
            if _version(address) == _version(remote):
                return address
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    def forget(self, end: StreamEnd) -> None:
        """Let go of a connection."""
        self._ends.pop((end.local, end.remote), None)

    @property
    def connections(self) -> int:
        """Connections that have an end here, those included that are closed on this side but not yet everywhere."""
        return len(self._ends)

    # Packets

    def send(self, packet: Packet, lost: Callable[[], None]) -> None:
        """Send a packet; a function is called where it does not arrive."""
        self._network.transmit(self, packet, lost)

    def send_once(self, packet: Packet) -> None:
        """Send a packet that nobody misses."""
        self._network.transmit(self, packet, _unmissed)

    def receive(self, packet: Packet) -> bool:
        """Take a packet; False where it is dropped."""
        end = self._ends.get((packet.destination, packet.source))
        if end is not None:
            end.take(packet)
            return True
        if packet.kind is PacketKind.SYN:
            address = packet.destination
            everywhere = EVERYWHERE[_version(address.host)]
            listening = self._listening.get(address) or self._listening.get(address._replace(host=everywhere))
            if listening is not None:
                if listening.is_full:
                    return False
                end = self._ends[address, packet.source] = StreamEnd(self, address, packet.source, listening)
                end.agree()
                return True
        if packet.kind is not PacketKind.RST:
            self.send_once(Packet(PacketKind.RST, packet.destination, packet.source))
        return True


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _unmissed() -> None:
    pass


def check_address(text: str) -> str:
    """Return an IP address in its usual form.

    Raises:
        ValueError: It is none that a host could have.
    """
    address = ipaddress.ip_address(text)
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError(f"{text} cannot be the address of a host")
    return str(address)
