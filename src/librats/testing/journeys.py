"""How packets get from machine to machine: over links, through routers, or nowhere; and who is told."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from librats.testing.entropy import SeededEntropy
from librats.testing.interfaces import Segment, SimInterface
from librats.testing.links import LinkConditions, Path
from librats.testing.packets import Packet, PacketKind

if TYPE_CHECKING:
    from librats.testing.hosts import SimHost
    from librats.testing.network import SimNetwork
    from librats.testing.routers import SimRouter

__all__ = ["Journey", "Transport"]

LOOPBACK_DELAY = 0.00001
LAN_DELAY = 0.0005
MAX_HOPS = 32
UDP = PacketKind.UDP


class Journey:
    """What is known of a packet while it travels.

    Args:
        origin: The host that sent it; None where a router did.
        packet: As it was sent.
        began: When it was.
        lost: Called where it does not arrive.
    """

    __slots__ = ("began", "hops", "lost", "origin", "packet")

    def __init__(self, origin: SimHost | None, packet: Packet, began: float, lost: Callable[[], None]) -> None:
        self.origin = origin
        self.packet = packet
        self.began = began
        self.lost = lost
        self.hops = 0
        """How many links lie behind it."""


class Transport:
    """Carries packets.

    Args:
        network: The simulation.
        conditions: Those of the internet.
        traces: Whether packets are recorded.
    """

    def __init__(self, network: SimNetwork, conditions: LinkConditions, *, traces: bool) -> None:
        self._network = network
        self._agenda = network.agenda
        self._trace = network.trace
        self._conditions = conditions
        self._lan = LinkConditions(delay=LAN_DELAY)
        self._traces = traces
        self._paths: dict[tuple[SimHost | SimRouter, SimHost | SimRouter, Segment | None], Path] = {}
        self.severed: dict[tuple[SimHost | SimRouter, SimHost | SimRouter], None] = {}
        """Machines between which nothing gets through, whatever lies between them."""

    # Paths

    def path(self, source: SimHost | SimRouter, target: SimHost | SimRouter, segment: Segment | None) -> Path:
        """Return what lies between two machines in a segment, or within one machine, in one direction."""
        path = self._paths.get((source, target, segment))
        if path is None:
            place = "" if segment is None or segment.router is None else segment.router.name
            entropy = SeededEntropy(self._network.seed, "path", source.name, target.name, place)
            path = self._paths[source, target, segment] = Path(self.usual(segment), entropy)
        return path

    def usual(self, segment: Segment | None) -> LinkConditions:
        """Return the conditions where none were set: in a segment, or within a machine."""
        if segment is None:
            return LinkConditions(delay=LOOPBACK_DELAY, mtu=65_536)
        return self._conditions if segment.is_internet else self._lan

    def heal(self) -> None:
        """Let packets through everywhere."""
        for path in self._paths.values():
            path.is_cut = False
        self.severed.clear()

    # From hop to hop

    def send(self, host: SimHost, packet: Packet, lost: Callable[[], None]) -> None:
        """Carry a packet from a host to where it is addressed to; a function is called where it does not arrive."""
        journey = Journey(host, packet, self._agenda.now, lost)
        if host.stack.owns(packet.destination.host):
            path = self.path(host, host, None)
            if self._traces:
                self._record(host, "sent", packet)
            self._agenda.after(path.conditions.delay, self._deliver, journey, packet, host)
            return
        interface = host.stack.interface_of(packet.source.host)
        if interface is None or not interface.is_up or not host.is_up:
            self.drop(journey, packet, host, "no way out")
            return
        self.hop(journey, packet, interface, interface.segment)

    def hop(self, journey: Journey, packet: Packet, interface: SimInterface | None, segment: Segment) -> None:
        """Carry a packet on within a segment: to whom it is for, or to the router there.

        Args:
            journey: What is known of it.
            packet: As it is now.
            interface: What it leaves by; None for the inner side of the router there.
            segment: Where.
        """
        target = segment.members.get(packet.destination.host)
        sender = interface.owner if interface is not None else segment.router
        receiver = target.owner if target is not None else segment.router
        if receiver is None or sender is None or receiver is sender:
            self.drop(journey, packet, sender, "no such address")
            return
        if packet.hops and segment.is_internet:
            forwarded = self.forwarded(journey, packet, sender)  # by a router of the internet's
            if forwarded is None:
                return
            packet = forwarded
        when = self._agenda.now
        path = self.path(sender, receiver, segment)
        if interface is not None and interface.up_path is not None:
            leaves = self._carry(journey, packet, interface.up_path, when, sender)
            if leaves is None:
                return
            when = leaves
        arrives = self._carry(journey, packet, path, when, sender)
        if arrives is None:
            return
        when = arrives
        if self._traces:
            self._record(sender, "sent", packet)
        journey.hops += 1
        self._agenda.at(when, self._reach, journey, packet, path, target, segment)
        again = path.copy(when) if path.conditions.duplication else None
        if again is not None:
            twin = Journey(journey.origin, journey.packet, journey.began, unmissed)
            twin.hops = journey.hops
            self._agenda.at(again, self._reach, twin, packet, path, target, segment)

    def _carry(
        self, journey: Journey, packet: Packet, path: Path, when: float, where: SimHost | SimRouter
    ) -> float | None:
        """Return when a packet comes to the other end of a path; None where it does not."""
        size, pieces = packet.size, 1
        if packet.kind is UDP and size > path.conditions.mtu:
            if packet.whole:
                self.drop(journey, packet, where, "too long")
                self.tell(journey, errno.EMSGSIZE)
                return None
            pieces = path.conditions.pieces(size)
        arrives = path.carry(size, when, pieces)
        if arrives is None:
            self.drop(journey, packet, where, "on the way")
        return arrives

    def _reach(
        self, journey: Journey, packet: Packet, path: Path, target: SimInterface | None, segment: Segment
    ) -> None:
        """Let a packet come to the other end of a path; ``target`` is None for the inner side of the router there."""
        receiver = target.owner if target is not None else segment.router
        assert receiver is not None  # noqa: S101 - it was there when the packet left
        if path.is_cut:
            self.drop(journey, packet, receiver, "cut")
            return
        down = target.down_path if target is not None else None
        if down is None:
            self._enter(journey, packet, target, segment)
            return
        when = self._carry(journey, packet, down, self._agenda.now, receiver)
        if when is not None:
            self._agenda.at(when, self._enter, journey, packet, target, segment)

    def _enter(self, journey: Journey, packet: Packet, target: SimInterface | None, segment: Segment) -> None:
        if target is None:
            router = segment.router
            assert router is not None  # noqa: S101 - as above
            if self._traces:
                self._record(router, "received", packet)
            router.from_inside(journey, packet)
            return
        owner = target.owner
        if target.segment is not segment or not target.is_up or not owner.is_up or journey.hops > MAX_HOPS:
            self.drop(journey, packet, owner, "nobody there")
        elif owner.is_router:
            if self._traces:
                self._record(owner, "received", packet)
            owner.from_outside(journey, packet)
        elif packet.destination.host not in target.addresses:
            self.drop(journey, packet, owner, "nobody there")
        else:
            self._deliver(journey, packet, owner)

    def _deliver(self, journey: Journey, packet: Packet, host: SimHost) -> None:
        if self.severed and (journey.origin, host) in self.severed:
            self.drop(journey, packet, host, "cut")
            return
        if self._traces:
            self._record(host, "received", packet)
        if packet.kind is not UDP:
            if not host.stack.receive(packet):
                self.drop(journey, packet, host, "no room")
        elif not host.stack.receive_datagram(packet):
            self.refuse(journey, packet, host, None)

    def forwarded(self, journey: Journey, packet: Packet, where: SimHost | SimRouter) -> Packet | None:
        """Return a packet as a router passes it on; None where it has come too far and is dropped."""
        if packet.hops == 0:
            return packet
        if packet.hops == 1:
            self.drop(journey, packet, where, "too many hops")
            self.tell(journey, errno.EHOSTUNREACH)
            return None
        return packet._replace(hops=packet.hops - 1)

    # What does not arrive

    def drop(self, journey: Journey, packet: Packet, where: SimHost | SimRouter | None, why: str) -> None:
        """Lose a packet."""
        if self._traces:
            self._trace.packet(self._agenda.now, "" if where is None else where.name, "lost", packet, why)
        journey.lost()

    def refuse(
        self, journey: Journey, packet: Packet, where: SimHost | SimRouter, segment: Segment | None, *,
        interface: SimInterface | None = None,
    ) -> None:  # fmt: skip
        """Refuse a packet: a datagram with ICMP, what belongs to a connection with a reset.

        Args:
            journey: What is known of it.
            packet: As it came.
            where: Who refuses it.
            segment: Where a router sends the reset.
            interface: What it sends it by; None for its inner side.
        """
        if packet.kind is UDP:
            self.drop(journey, packet, where, "refused")
            self.tell(journey, errno.ECONNREFUSED)
        elif packet.kind is not PacketKind.RST and segment is not None:
            answer = Packet(PacketKind.RST, packet.destination, packet.source)
            self.hop(Journey(None, answer, self._agenda.now, unmissed), answer, interface, segment)

    def tell(self, journey: Journey, error: int) -> None:
        """Let the host that sent a datagram know by ICMP that it was in vain, as long after as it took to get here."""
        if journey.origin is not None and journey.packet.kind is UDP:
            now = self._agenda.now
            self._agenda.at(2 * now - journey.began, journey.origin.stack.take_icmp, journey.packet, error)

    def _record(self, where: SimHost | SimRouter, what: str, packet: Packet) -> None:
        self._trace.packet(self._agenda.now, where.name, what, packet)


def unmissed() -> None:
    """Do nothing for a packet that nobody misses."""
