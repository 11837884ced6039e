"""What a simulated host has below its programs: ports, sockets, connections, and the way out for what they send."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from librats.testing.agenda import Agenda
from librats.testing.datagrams import SimDatagramSocket
from librats.testing.ends import StreamEnd
from librats.testing.interfaces import SimInterface
from librats.testing.journeys import unmissed
from librats.testing.packets import IPV4_HEADER, IPV6_HEADER, UDP_HEADER, Packet, PacketKind
from librats.testing.ports import EVERYWHERE, PortBook, version_of
from librats.testing.selecting import SimSelector
from librats.testing.sockets import Listening, SimSocket
from librats.types import Address

if TYPE_CHECKING:
    from librats.testing.hosts import SimHost
    from librats.testing.network import SimNetwork

__all__ = ["LOOPBACK", "HostStack"]

LOOPBACK = ("127.0.0.1", "::1")
REST_TIME = 60.0
MAX_DATAGRAM = {4: 65_507, 6: 65_527}


class HostStack:
    """The sockets of a host.

    Args:
        network: The simulation.
        host: Whose they are.
    """

    def __init__(self, network: SimNetwork, host: SimHost) -> None:
        self._network = network
        self._host = host
        self.name = host.name
        """The name of the host."""
        self._listening: dict[Address, Listening] = {}
        self._ends: dict[tuple[Address, Address], StreamEnd] = {}
        self._resting: dict[tuple[Address, Address], StreamEnd] = {}
        self._datagrams: dict[Address, list[SimDatagramSocket]] = {}
        self._tcp_ports = PortBook(lambda port: any(local.port == port for local, _ in self._ends))
        self._udp_ports = PortBook(lambda _: False)
        self._by_address: dict[str, SimInterface] = {}
        self._sources: dict[str, str] = {}

    @property
    def agenda(self) -> Agenda:
        """The clock of the simulation."""
        return self._network.agenda

    @property
    def selector(self) -> SimSelector:
        """Who tells the loop about sockets."""
        return self._network.selector

    # Where it is

    @property
    def addresses(self) -> tuple[str, ...]:
        """The IP addresses of the interfaces that are up."""
        return tuple(self._by_address)

    def readdressed(self, interfaces: Iterable[SimInterface]) -> None:
        """Take note of what the interfaces are now, the preferred ones first."""
        self._sources.clear()
        self._by_address = {}
        for interface in interfaces:
            for address in interface.addresses if interface.is_up else ():
                self._by_address.setdefault(address, interface)

    def interface_of(self, address: str) -> SimInterface | None:
        """Return the interface that is up and has an address."""
        return self._by_address.get(address)

    def owns(self, address: str) -> bool:
        """Whether an address is its own, or that of the loopback."""
        return address in self._by_address or address == "::1" or address.startswith("127.")

    # Sockets

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

    def lay_to_rest(self, end: StreamEnd) -> None:
        """Keep the end of a connection that is over for what comes late or twice, as TCP's TIME-WAIT does."""
        key = end.local, end.remote
        self._resting[key] = end
        self.agenda.after(REST_TIME, self._wake, key, end)

    def _wake(self, key: tuple[Address, Address], end: StreamEnd) -> None:
        if self._resting.get(key) is end:
            del self._resting[key]

    def forget(self, end: StreamEnd) -> None:
        """Let go of a connection."""
        self._ends.pop((end.local, end.remote), None)

    @property
    def connections(self) -> int:
        """Connections that have an end here."""
        return len(self._ends)

    # Packets

    def send(self, packet: Packet, lost: Callable[[], None]) -> None:
        """Send a packet; a function is called where it does not arrive."""
        self._network.transport.send(self._host, packet, lost)

    def send_once(self, packet: Packet) -> None:
        """Send a packet that nobody misses."""
        self._network.transport.send(self._host, packet, unmissed)

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
        packet = Packet(PacketKind.UDP, source, remote, 0, 0, payload, sock.whole, sock.ecn, sock.hops)
        self._network.transport.send(self._host, packet, unmissed)

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
        if not self._host.is_up:
            return
        source = packet.source
        everywhere = Address(EVERYWHERE[version_of(source.host)], source.port)
        for sock in (*self._datagrams.get(source, ()), *self._datagrams.get(everywhere, ())):
            sock.take_icmp(packet.destination, error)

    def receive(self, packet: Packet) -> bool:
        """Take a packet; False where it is dropped."""
        key = packet.destination, packet.source
        end = self._ends.get(key)
        if end is None and packet.kind is not PacketKind.SYN and self._resting:
            end = self._resting.get(key)
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
