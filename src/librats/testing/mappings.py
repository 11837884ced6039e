"""The tables of a NAT or stateful firewall: who has which public address, and who may send to it."""

from __future__ import annotations

import math
from enum import IntFlag

from librats.testing.behaviors import RouterBehavior, Unsolicited
from librats.testing.entropy import SeededEntropy
from librats.testing.packets import Packet, PacketKind
from librats.types import Address, FilteringBehavior, MappingBehavior, PortAllocation

__all__ = ["Mapping", "MappingTable"]

FIRST_PORT, LAST_PORT = 1024, 65535
RANDOM_PORTS = range(32768, 57344)
FIRST_SEQUENTIAL = 40000
TRIES = 64
OWN_FLOW_TIMEOUT = 30.0
"""Seconds for which a router remembers a datagram that it took for its own."""

SWEEP_AT = 1024

_EVERYBODY = ""


class Progress(IntFlag):
    """How far a connection has come."""

    SENT = 1
    ANSWERED = 2
    ENDED_INSIDE = 4
    ENDED_OUTSIDE = 8
    BROKEN = 16


_ESTABLISHED = Progress.SENT | Progress.ANSWERED
_ENDED = Progress.ENDED_INSIDE | Progress.ENDED_OUTSIDE


class Mapping:
    """An address inside, what stands for it outside, and who may send to that."""

    __slots__ = ("dies_at", "expires", "inner", "is_flow", "is_forward", "key", "outer", "permits", "progress")

    def __init__(self, key: object, inner: Address, outer: Address, dies_at: float, *, is_flow: bool = False) -> None:
        self.key = key
        self.is_flow = is_flow
        """Whether it is for one other end alone, whatever the behavior of the router."""
        self.inner = inner
        self.outer = outer
        self.permits: dict[object, float] = {}
        """Until when it lets in whom: addresses, hosts or everybody."""
        self.progress: dict[Address, int] = {}
        """Of connections, by their other end."""
        self.expires = 0.0
        self.dies_at = dies_at
        """When it ends whatever it carries."""
        self.is_forward = False
        """Whether it was set up by hand, or leased, and lets in everybody."""


class MappingTable:
    """The mappings of one transport.

    Args:
        behavior: What kind of router it is.
        entropy: Decides about random ports.
        is_tcp: Of which transport.
        translates: Whether addresses are translated; else only whether they may pass is kept.
    """

    def __init__(
        self, behavior: RouterBehavior, entropy: SeededEntropy, *, is_tcp: bool, translates: bool = True
    ) -> None:
        self.host = ""
        """The public IP address."""
        self._behavior = behavior
        self._entropy = entropy
        self._is_tcp = is_tcp
        self._translates = translates
        self._filtering = (behavior.tcp_filtering if is_tcp else None) or behavior.filtering
        lifetime = behavior.tcp_lifetime if is_tcp else behavior.udp_lifetime
        self._lifetime = math.inf if lifetime is None else lifetime
        self._by_key: dict[object, Mapping] = {}
        self._by_outer: dict[Address, Mapping] = {}
        self._own: dict[tuple[Address, Address], float] = {}
        self._flows: dict[tuple[Address, Address], Mapping] = {}
        """What goes out through another mapping than the rule has it, by inner and remote address."""
        self._next_port = FIRST_SEQUENTIAL
        self._sweep_at = SWEEP_AT

    def __len__(self) -> int:
        """How many mappings there are, some of which may be over."""
        return len(self._by_outer)

    def clear(self, host: str = "") -> None:
        """Forget everything but what was set up by hand, as at a restart.

        Args:
            host: The public IP address from now on; empty for the same.
        """
        forwards = [
            (mapping.outer.port, mapping.inner)
            for mapping in self._by_outer.values()
            if mapping.is_forward and mapping.expires == math.inf
        ]
        self.host = host or self.host
        for table in (self._by_key, self._by_outer, self._flows, self._own):
            table.clear()
        for port, inner in forwards:
            self.forward(port, inner)

    def forward(self, port: int, inner: Address) -> None:
        """Hand everything that comes to a public port on to an address inside, from now on."""
        outer = Address(self.host, port)
        there = self._by_outer.get(outer)
        if there is not None:
            self._remove(there)
        mapping = self._by_outer[outer] = Mapping(inner, inner, outer, math.inf)
        mapping.is_forward = True
        mapping.expires = math.inf

    def lease(self, inner: Address, port: int, until: float, now: float, *, exact: bool) -> Address | None:
        """Hand everything that comes to a public port on to an address inside, for some time.

        Args:
            inner: The address inside.
            port: The public port that is wanted; 0 for any.
            until: When it is over.
            now: Current time.
            exact: Whether no other port will do.

        Returns:
            The public address; None where there is none to be had.
        """
        there = next((m for m in self._by_outer.values() if m.inner == inner and m.is_forward), None)
        if there is None and not self._translates:
            there = self._by_outer.get(inner)
        elif there is None:
            there = self._live(inner, now) if self._by_key.get(inner) is not None else None
        if there is None:
            outer = self._free_outer(inner, port, now, exact=exact)
            if outer is None:
                return None
            there = self._by_outer[outer] = Mapping(inner, inner, outer, math.inf)
            if self._behavior.mapping is MappingBehavior.ENDPOINT_INDEPENDENT:
                self._by_key[inner] = there  # what it sends goes out the same way
        there.is_forward, there.expires, there.dies_at = True, until, math.inf
        return there.outer

    def _free_outer(self, inner: Address, port: int, now: float, *, exact: bool) -> Address | None:
        if not self._translates:
            return inner
        nobody = Address("", 0)
        if port and self._is_free(port, nobody, now):
            return Address(self.host, port)
        free = None if exact else self._choose_port(port or inner.port, nobody, now)
        return None if free is None else Address(self.host, free)

    def end_lease(self, inner: Address) -> None:
        """Hand nothing on to an address inside any more that was not sent something from there."""
        for mapping in [each for each in self._by_outer.values() if each.is_forward and each.inner == inner]:
            self._remove(mapping)

    # What goes out

    def outbound(self, packet: Packet, now: float) -> Mapping | None:
        """Return the mapping that a packet goes out through, be it a new one; None where no port is free."""
        inner, remote = packet.source, packet.destination
        mapping = self._flow(inner, remote, now) if self._flows else None
        if mapping is None:
            key = self._key(inner, remote)
            mapping = self._live(key, now)
            # Where the router itself has the flow, this one gets another public port.
            is_flow = mapping is not None and bool(self._own) and self._own.get((remote, mapping.outer), now) > now
            if mapping is None or is_flow:
                mapping = self._new(key, inner, remote, now, is_flow=is_flow)
        if mapping is not None:
            self._note(mapping, packet, remote, now, is_out=True)
        return mapping

    def _flow(self, inner: Address, remote: Address, now: float) -> Mapping | None:
        mapping = self._flows.get((inner, remote))
        if mapping is not None and (mapping.expires <= now or self._by_outer.get(mapping.outer) is not mapping):
            del self._flows[inner, remote]
            return None
        return mapping

    def _key(self, inner: Address, remote: Address) -> object:
        mapping = self._behavior.mapping
        if not self._translates or mapping is MappingBehavior.ENDPOINT_INDEPENDENT:
            return inner
        return (inner, remote) if mapping is MappingBehavior.ADDRESS_AND_PORT_DEPENDENT else (inner, remote.host)

    def _live(self, key: object, now: float) -> Mapping | None:
        mapping = self._by_key.get(key)
        if mapping is not None and (mapping.expires <= now or mapping.dies_at <= now):
            self._remove(mapping)
            return None
        return mapping

    def _remove(self, mapping: Mapping) -> None:
        if self._by_key.get(mapping.key) is mapping:
            del self._by_key[mapping.key]
        self._by_outer.pop(mapping.outer, None)

    def _new(self, key: object, inner: Address, remote: Address, now: float, *, is_flow: bool) -> Mapping | None:
        if len(self._by_outer) >= self._sweep_at:
            self._sweep(now)
        outer = inner
        if self._translates:
            port = self._choose_port(inner.port, remote, now)
            if port is None:
                return None
            outer = Address(self.host, port)
        mapping = self._by_outer[outer] = Mapping(key, inner, outer, now + self._lifetime, is_flow=is_flow)
        if is_flow:
            self._flows[inner, remote] = mapping
        else:
            self._by_key[key] = mapping
        return mapping

    def _sweep(self, now: float) -> None:
        """Forget what is over, so that a table does not grow by what nobody asks for any more."""
        for mapping in [each for each in self._by_outer.values() if each.expires <= now or each.dies_at <= now]:
            self._remove(mapping)
        self._own = {flow: expires for flow, expires in self._own.items() if expires > now}
        alive = self._by_outer
        self._flows = {flow: each for flow, each in self._flows.items() if alive.get(each.outer) is each}
        self._sweep_at = max(SWEEP_AT, 2 * len(alive))

    def _choose_port(self, wanted: int, remote: Address, now: float) -> int | None:
        ports = self._behavior.ports
        if ports is PortAllocation.PRESERVING and self._is_free(wanted, remote, now):
            return wanted
        if ports is PortAllocation.SEQUENTIAL:
            for _ in range(LAST_PORT - FIRST_PORT):
                port = self._next_port
                self._next_port = port + 1 if port < LAST_PORT else FIRST_PORT
                if self._is_free(port, remote, now):
                    return port
            return None
        among = RANDOM_PORTS if ports is PortAllocation.RANDOM else range(FIRST_PORT, LAST_PORT + 1)
        for _ in range(TRIES):
            port = among[self._entropy.randbelow(len(among))]
            if self._is_free(port, remote, now):
                return port
        return next((port for port in range(FIRST_PORT, LAST_PORT + 1) if self._is_free(port, remote, now)), None)

    def _is_free(self, port: int, remote: Address, now: float) -> bool:
        outer = Address(self.host, port)
        there = self._by_outer.get(outer)
        if there is not None:
            if there.expires > now and there.dies_at > now:
                return False
            self._remove(there)
        return self._own.get((remote, outer), now) <= now

    # What comes in

    def inbound(self, packet: Packet, now: float) -> Mapping | None:
        """Return the mapping that a packet comes in through; None where it belongs to nothing, or may not come in."""
        mapping = self._by_outer.get(packet.destination)
        if mapping is None:
            return None
        if mapping.expires <= now or mapping.dies_at <= now:
            self._remove(mapping)
            return None
        remote = packet.source
        if not mapping.is_forward and mapping.permits.get(self._permit_key(mapping, remote), now) <= now:
            return None
        inner = mapping.inner
        if not mapping.is_flow and self._by_key.get(self._key(inner, remote)) is not mapping:
            self._flows[inner, remote] = mapping  # what answers it goes out the same way
        self._note(mapping, packet, remote, now, is_out=False)
        return mapping

    def _permit_key(self, mapping: Mapping, remote: Address) -> object:
        if mapping.is_flow or self._filtering is FilteringBehavior.ADDRESS_AND_PORT_DEPENDENT:
            return remote
        return remote.host if self._filtering is FilteringBehavior.ADDRESS_DEPENDENT else _EVERYBODY

    def take_for_own(self, packet: Packet, now: float) -> None:
        """Remember a datagram to the router itself, where it is one that does so."""
        if self._behavior.unsolicited is Unsolicited.OWN and not self._is_tcp:
            if len(self._own) >= self._sweep_at:
                self._sweep(now)
            self._own[packet.source, packet.destination] = now + OWN_FLOW_TIMEOUT

    # How long it stays

    def _note(self, mapping: Mapping, packet: Packet, remote: Address, now: float, *, is_out: bool) -> None:
        if mapping.is_forward:
            return
        key = self._permit_key(mapping, remote)
        behavior = self._behavior
        if not self._is_tcp:
            if is_out or behavior.refreshed_from_outside:
                mapping.expires = mapping.permits[key] = now + behavior.udp_timeout
                if is_out and len(mapping.permits) >= SWEEP_AT:
                    mapping.permits = {who: until for who, until in mapping.permits.items() if until > now}
            return
        progress = self._advance(mapping.progress.get(remote, 0), packet.kind, is_out=is_out)
        mapping.progress[remote] = progress
        is_over = progress & Progress.BROKEN or progress & _ENDED == _ENDED
        is_there = progress & _ESTABLISHED == _ESTABLISHED and not is_over
        mapping.permits[key] = now + (behavior.tcp_timeout if is_there else behavior.tcp_transitory_timeout)
        mapping.expires = max(mapping.permits.values())

    @staticmethod
    def _advance(progress: int, kind: PacketKind, *, is_out: bool) -> int:
        if kind is PacketKind.RST:
            return progress | Progress.BROKEN
        if kind is PacketKind.SYN:
            progress &= ~(Progress.BROKEN | _ENDED)
        if kind is PacketKind.FIN:
            progress |= Progress.ENDED_INSIDE if is_out else Progress.ENDED_OUTSIDE
        return progress | (Progress.SENT if is_out else Progress.ANSWERED)
