"""A simulated host: its interfaces, its sockets, its names, and the network as the code on it sees it."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import socket
import zlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from librats.errors import UsageError
from librats.peers.identity import Identity
from librats.runtime.tcp import ProtocolFactory, TcpListener, dial_tcp, listen_tcp
from librats.runtime.tls import ClientTls
from librats.runtime.udp import DatagramEndpoint, Receive, open_datagram
from librats.testing.agenda import Agenda
from librats.testing.datagrams import SimDatagramSocket
from librats.testing.ends import StreamEnd
from librats.testing.entropy import SeededEntropy
from librats.testing.here import enter_host, leave_host
from librats.testing.interfaces import Segment, SimInterface
from librats.testing.journeys import unmissed
from librats.testing.packets import IPV4_HEADER, IPV6_HEADER, UDP_HEADER, Packet, PacketKind
from librats.testing.ports import EVERYWHERE, PortBook, version_of
from librats.testing.selecting import SimSelector
from librats.testing.sockets import Listening, SimSocket
from librats.types import Address

if TYPE_CHECKING:
    from librats.testing.network import SimNetwork
    from librats.testing.routers import SimRouter

__all__ = ["SimHost"]

T = TypeVar("T")

LOOPBACK = ("127.0.0.1", "::1")
KEY_SIZE = 32
MAX_DATAGRAM = {4: 65_507, 6: 65_527}


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
        self._listening: dict[Address, Listening] = {}
        self._ends: dict[tuple[Address, Address], StreamEnd] = {}
        self._datagrams: dict[Address, list[SimDatagramSocket]] = {}
        self._tcp_ports = PortBook(lambda port: any(local.port == port for local, _ in self._ends))
        self._udp_ports = PortBook(lambda _: False)
        self._by_address: dict[str, SimInterface] = {}
        self._sources: dict[str, str] = {}
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
        return tuple(self._by_address)

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
        self._sources.clear()
        self._by_address = {}
        for interface in self.interfaces.values():
            for address in interface.addresses if interface.is_up else ():
                self._by_address.setdefault(address, interface)

    def interface_of(self, address: str) -> SimInterface | None:
        """Return the interface that is up and has an address."""
        return self._by_address.get(address)

    def owns(self, address: str) -> bool:
        """Whether an address is its own, or that of the loopback."""
        return address in self._by_address or address == "::1" or address.startswith("127.")

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
        """Open an endpoint for datagrams."""
        with self:
            return await open_datagram(host, port, receive=receive, **{"new_socket": self.datagram_socket} | options)

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
            found = self._network.addresses_of(str(name), asked_by=self)
        return [
            (socket.AF_INET6, (address, port, 0, 0)) if version_of(address) == 6 else (socket.AF_INET, (address, port))  # noqa: PLR2004 - IPv6
            for address in found
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
        """Make a TCP socket, which asyncio takes for one of the system's."""
        return SimSocket(self, family)

    def datagram_socket(self, family: int) -> Any:
        """Make a UDP socket."""
        return SimDatagramSocket(self, family)

    def reserve(self, address: Address, *, shared: bool = False) -> Address:
        """Take an address for a TCP socket, a port included where none is wanted.

        Raises:
            OSError: It is in use, or not this host's.
        """
        self._check_own(address)
        return self._tcp_ports.take(address, shared=shared)

    def _check_own(self, address: Address) -> None:
        if not self.owns(address.host) and address.host not in EVERYWHERE.values():
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    def release(self, address: Address) -> None:
        """Give an address of TCP back."""
        self._tcp_ports.give_back(address)

    def bind_datagrams(self, sock: SimDatagramSocket, address: Address, *, shared: bool) -> Address:
        """Take an address for a UDP socket.

        Raises:
            OSError: It is in use, or not this host's.
        """
        self._check_own(address)
        address = self._udp_ports.take(address, shared=shared)
        self._datagrams.setdefault(address, []).append(sock)
        return address

    def release_datagrams(self, sock: SimDatagramSocket, address: Address) -> None:
        """Give an address of UDP back."""
        self._datagrams[address].remove(sock)
        if self._udp_ports.give_back(address):
            del self._datagrams[address]

    def listen(self, address: Address, listening: Listening) -> None:
        """Hand connections to that address over from now on."""
        self._listening[address] = listening

    def listen_no_more(self, address: Address, listening: Listening) -> None:
        """Hand connections over no more."""
        if self._listening.get(address) is listening:
            del self._listening[address]

    def new_end(self, remote: Address, local: Address | None) -> StreamEnd:
        """Make the end of a connection that this host dials.

        Raises:
            OSError: This host has no address from which the other can be reached.
        """
        if local is None or local.host in EVERYWHERE.values():
            port = local.port if local is not None else self._tcp_ports.free_port()
            local = Address(self._source_for(remote.host), port)
        if (local, remote) in self._ends:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        end = self._ends[local, remote] = StreamEnd(self, local, remote)
        return end

    def _source_for(self, remote: str) -> str:
        """Return the address of its own that something leaves from that is not bound to one."""
        source = self._sources.get(remote)
        if source is None:
            source = self._sources[remote] = self._best_source(remote)
        return source

    def _best_source(self, remote: str) -> str:
        if self.owns(remote):
            return remote
        fitting = [address for address in self._by_address if version_of(address) == version_of(remote)]
        if not fitting:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        near = (address for address in fitting if remote in self._by_address[address].segment.members)
        return next(near, fitting[0])

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
        self._network.transport.send(self, packet, lost)

    def send_once(self, packet: Packet) -> None:
        """Send a packet that nobody misses."""
        self._network.transport.send(self, packet, unmissed)

    def send_datagram(self, sock: SimDatagramSocket, payload: bytes, remote: Address, local: str | None) -> None:
        """Send a datagram, from an address of its own where that is named and still there.

        Raises:
            OSError: There is no way there, or it is too long.
        """
        version = version_of(remote.host)
        if len(payload) > MAX_DATAGRAM[version]:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        if remote.host == "255.255.255.255":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        bound = sock.local
        assert bound is not None  # noqa: S101 - the socket binds itself before it sends
        if bound.host != EVERYWHERE[version]:
            local = bound.host
        elif local is None or local not in self._by_address:
            local = self._source_for(remote.host)
        interface = self._by_address.get(local)
        if interface is None and not self.owns(local):
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        if sock.whole and interface is not None and not self.owns(remote.host):
            headers = UDP_HEADER + (IPV4_HEADER if version == 4 else IPV6_HEADER)  # noqa: PLR2004 - IPv4
            if len(payload) + headers > interface.mtu:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        source = Address(local, bound.port)
        packet = Packet(PacketKind.UDP, source, remote, 0, 0, payload, sock.whole, sock.ecn)
        self._network.transport.send(self, packet, unmissed)

    def receive_datagram(self, packet: Packet) -> bool:
        """Take a datagram; False where nobody has its port."""
        address = packet.destination
        there = self._datagrams.get(address) or self._datagrams.get(
            Address(EVERYWHERE[version_of(address.host)], address.port)
        )
        if not there:
            return False
        chosen = 0 if len(there) == 1 else zlib.crc32(str(packet.source).encode()) % len(there)
        there[chosen].take(packet)
        return True

    def take_icmp(self, packet: Packet, error: int) -> None:
        """Hear that a datagram which was sent from here was in vain."""
        if not self.is_up:
            return
        source = packet.source
        everywhere = Address(EVERYWHERE[version_of(source.host)], source.port)
        for sock in (*self._datagrams.get(source, ()), *self._datagrams.get(everywhere, ())):
            sock.take_icmp(packet.destination, error)

    def receive(self, packet: Packet) -> bool:
        """Take a packet; False where it is dropped."""
        end = self._ends.get((packet.destination, packet.source))
        if end is not None:
            end.take(packet)
            return True
        if packet.kind is PacketKind.SYN:
            address = packet.destination
            everywhere = EVERYWHERE[version_of(address.host)]
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
