"""Routers: what stands between a network and the internet, and what it lets through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from librats.errors import UsageError
from librats.portmap.pcp_wire import PCP_PORT
from librats.testing.behaviors import LAST_PORT, Ipv6, RouterBehavior, Unsolicited
from librats.testing.entropy import SeededEntropy
from librats.testing.gateways import PortMappingServer
from librats.testing.interfaces import Segment, SimInterface
from librats.testing.journeys import Journey, unmissed
from librats.testing.mappings import MappingTable
from librats.testing.packets import Packet, PacketKind
from librats.types import Address, FilteringBehavior, MappedTransport, PortMappingProtocol

if TYPE_CHECKING:
    from librats.testing.hosts import SimHost
    from librats.testing.network import SimNetwork

__all__ = ["SimRouter"]

INNER_ADDRESS, INNER_IPV6 = "192.168.1.1", "fe80::1"
EVERYBODY = FilteringBehavior.ENDPOINT_INDEPENDENT


class SimRouter:
    """A router of a simulation: a NAT, a firewall, or both. Comes from :meth:`SimNetwork.router`.

    Example:
        .. code-block:: python

            home = net.router("home", "port_restricted")
            alice = net.host("alice", behind=home)
    """

    is_router: Literal[True] = True

    def __init__(
        self, network: SimNetwork, name: str, behavior: RouterBehavior, behind: Segment, addresses: Sequence[str]
    ) -> None:
        self._network = network
        self.name = name
        """Its name, which stands for its public address where others can reach that."""
        self.behavior = behavior
        """What it does with packets."""
        self.is_up = True
        """False where nothing gets through."""
        self.inside = Segment(self)
        entropy = SeededEntropy(network.seed, "router", name)
        self._nat = {
            is_tcp: MappingTable(behavior, entropy, is_tcp=is_tcp, translates=behavior.translates)
            for is_tcp in (False, True)
        }
        self._firewall6 = {
            is_tcp: MappingTable(RouterBehavior(), entropy, is_tcp=is_tcp, translates=False) for is_tcp in (False, True)
        }
        protocols = frozenset(map(PortMappingProtocol, behavior.port_mapping))
        self.port_mapping = PortMappingServer(protocols, self._grant, self._revoke)
        """Who answers those who ask for mappings."""
        self.outside = SimInterface(network, self, "wan", behind, addresses or self.free_addresses(behind))
        """Its outer interface: where it is, and its access to that."""
        self.readdressed()

    def __repr__(self) -> str:
        """Show name, addresses and state."""
        return f"<SimRouter {self.name} {' '.join(self.outside.addresses)}{'' if self.is_up else ' down'}>"

    @property
    def address(self) -> str:
        """Its public IPv4 address, or what it takes for that behind another router.

        Raises:
            UsageError: It has none.
        """
        for address in self.outside.addresses:
            if ":" not in address:
                return address
        raise UsageError(f"{self.name} has no IPv4")

    @property
    def outer(self) -> SimRouter | None:
        """The router that it is behind; None at the internet."""
        return self.outside.segment.router

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Where it is: outside first."""
        return self.outside.segment, self.inside

    # What a user does with it

    def down(self) -> None:
        """Pull the plug: nothing gets through, and nobody is told. It keeps its mappings."""
        self.is_up = False
        self._network.note(f"{self.name} is down")

    def up(self) -> None:
        """Plug it in again."""
        self.is_up = True
        self._network.note(f"{self.name} is up")

    def restart(self) -> None:
        """Forget every mapping but those of :meth:`forward`."""
        for table in (*self._nat.values(), *self._firewall6.values()):
            table.clear()
        self.port_mapping.restart(self._network.time)
        self._network.note(f"{self.name} has restarted")

    def forward(self, port: int, host: SimHost, inner_port: int | None = None, *, transport: str = "tcp") -> Address:
        """Hand what comes to a public port on to a host behind it, as its owner sets it up by hand.

        Args:
            port: The public port.
            host: A host directly behind it.
            inner_port: The port there; the same where it is None.
            transport: ``"tcp"`` or ``"udp"``.

        Returns:
            The public address.

        Raises:
            UsageError: It is no NAT, or the host has no IPv4 address behind it.
        """
        if not self.behavior.translates or transport not in ("tcp", "udp") or not 0 < port <= LAST_PORT:
            raise UsageError(f"{self.name} cannot forward {transport} port {port}")
        for address in host.addresses:
            there = self.inside.members.get(address)
            if there is not None and there.owner is host and ":" not in address:
                self._nat[transport == "tcp"].forward(port, Address(address, inner_port or port))
                self._network.note(f"{self.name} forwards {transport} port {port} to {host.name}")
                return Address(self.address, port)
        raise UsageError(f"{host.name} has no IPv4 address behind {self.name}")

    def mappings(self, transport: str = "udp") -> int:
        """Return how many mappings of a transport, ``"udp"`` or ``"tcp"``, it has; some of them may be over."""
        return len(self._nat[transport == "tcp"])

    # Where it stands

    def routes(self, address: str) -> bool:
        """Whether what has an address behind it can be addressed from outside."""
        if ":" in address:
            return self.behavior.ipv6 is not Ipv6.NONE
        return self.behavior.ipv4 and not self.behavior.translates

    @property
    def routed_addresses(self) -> Iterator[str]:
        """The addresses behind it that can be addressed from outside."""
        return (address for address in self.inside.members if self.routes(address))

    def free_addresses(self, segment: Segment) -> Sequence[str]:
        """Return addresses that its outer side may have somewhere."""
        return self._network.plan.for_router(segment, ipv4=self.behavior.ipv4)

    def readdressed(self) -> None:
        """Take note of other addresses of its outer side."""
        for table in (*self._nat.values(), *self._firewall6.values()):
            table.clear(next((host for host in self.outside.addresses if ":" not in host), ""))
        self.port_mapping.restart(self._network.time)

    # Port mapping

    @property
    def gateways(self) -> Sequence[str]:
        """Its inner addresses, where hosts behind it may ask for mappings: of each family at most one."""
        if not self.behavior.port_mapping:
            return ()
        inner = (INNER_ADDRESS,) if self.behavior.translates else ()
        return (*inner, *((INNER_IPV6,) if self.behavior.ipv6 is Ipv6.FIREWALL else ()))

    def _grant(
        self, transport: MappedTransport, inner: Address, port: int, exact: bool, until: float
    ) -> Address | None:
        tables = self._firewall6 if ":" in inner.host else self._nat
        table = tables[transport is MappedTransport.TCP]
        return table.lease(inner, port, until, self._network.time, exact=exact)

    def _revoke(self, transport: MappedTransport, inner: Address) -> None:
        tables = self._firewall6 if ":" in inner.host else self._nat
        tables[transport is MappedTransport.TCP].end_lease(inner)

    def _answer(self, packet: Packet) -> None:
        """Answer a request for a mapping."""
        now = self._network.time
        outside = next((host for host in self.outside.addresses if ":" not in host), "")
        data = self.port_mapping.answer(packet.payload, packet.source, outside, now)
        if data is not None:
            answer = Packet(PacketKind.UDP, packet.destination, packet.source, payload=data)
            self._network.transport.hop(Journey(None, answer, now, unmissed), answer, None, self.inside)

    # Packets

    def from_inside(self, journey: Journey, packet: Packet) -> None:
        """Take a packet from behind it."""
        destination = packet.destination
        if destination.port == PCP_PORT and self.is_up and destination.host in self.gateways:
            self._answer(packet)
            return
        transport = self._network.transport
        behavior, is_udp = self.behavior, packet.kind is PacketKind.UDP
        is_ipv6 = ":" in packet.destination.host
        if not self.is_up or not (behavior.ipv6 is not Ipv6.NONE if is_ipv6 else behavior.ipv4):
            transport.drop(journey, packet, self, "no way through")
            return
        if (is_udp and not behavior.udp) or (
            not is_udp and behavior.tcp_ports and packet.destination.port not in behavior.tcp_ports
        ):
            transport.drop(journey, packet, self, "blocked")
            return
        mine = packet.destination.host in self.outside.addresses
        if mine and not (behavior.hairpin and not is_ipv6):
            transport.refuse(journey, packet, self, self.inside)
            return
        if packet.hops:
            forwarded = transport.forwarded(journey, packet, self)
            if forwarded is None:
                return
            packet = forwarded
        table = self._table(is_ipv6=is_ipv6, is_udp=is_udp)
        if table is not None:
            mapping = table.outbound(packet, self._network.time)
            if mapping is None:
                transport.drop(journey, packet, self, "no port left")
                return
            if mapping.outer is not packet.source:
                packet = packet.translated(mapping.outer, packet.destination)
        if mine:
            self._let_in(journey, packet, from_inside=True)
        else:
            transport.hop(journey, packet, self.outside, self.outside.segment)

    def from_outside(self, journey: Journey, packet: Packet) -> None:
        """Take a packet that is for its address, or for one behind it."""
        behavior = self.behavior
        if packet.kind is PacketKind.UDP and not behavior.udp:
            self._network.transport.drop(journey, packet, self, "blocked")
        else:
            self._let_in(journey, packet, from_inside=False)

    def _table(self, *, is_ipv6: bool, is_udp: bool) -> MappingTable | None:
        """Return who decides about a packet; None where everything passes as it is."""
        behavior = self.behavior
        if is_ipv6:
            return self._firewall6[not is_udp] if behavior.ipv6 is Ipv6.FIREWALL else None
        passes = not behavior.translates and behavior.filtering is EVERYBODY
        return None if passes else self._nat[not is_udp]

    def _let_in(self, journey: Journey, packet: Packet, *, from_inside: bool) -> None:
        is_udp, destination = packet.kind is PacketKind.UDP, packet.destination
        transport, is_mine = self._network.transport, destination.host in self.outside.addresses
        table = self._table(is_ipv6=":" in destination.host, is_udp=is_udp)
        if table is not None:
            mapping = table.inbound(packet, self._network.time)
            if mapping is None:
                self._reject(journey, packet, table, from_inside=from_inside, is_mine=is_mine)
                return
            if mapping.inner is not destination:
                packet = packet.translated(packet.source, mapping.inner)
        elif is_mine:
            transport.refuse(journey, packet, self, self.outside.segment, interface=self.outside)
            return
        if packet.hops:
            forwarded = transport.forwarded(journey, packet, self)
            if forwarded is None:
                return
            packet = forwarded
        transport.hop(journey, packet, None, self.inside)

    def _reject(
        self, journey: Journey, packet: Packet, table: MappingTable, *, from_inside: bool, is_mine: bool
    ) -> None:
        """Do with a packet what is done with those that belong to nothing."""
        transport = self._network.transport
        if self.behavior.unsolicited is Unsolicited.DROP or not is_mine:
            transport.drop(journey, packet, self, "filtered")
            return
        if self.behavior.translates:
            table.take_for_own(packet, self._network.time)
        if from_inside:
            transport.refuse(journey, packet, self, self.inside)
        else:
            transport.refuse(journey, packet, self, self.outside.segment, interface=self.outside)
