"""A NAT and servers in one process, around a machine whose datagrams they carry: no socket, no clock."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Protocol

from tests.reference.stun_server import Endpoint, binding_reply

from librats.types import Address

PUBLIC = "203.0.113.101"
PRIVATE = "192.168.1.11"
A1, A2 = "203.0.113.10", "198.51.100.10"
FOUR = [(host, port) for host in (A1, A2) for port in (3478, 3479)]
DELAY = 0.01


class SeededEntropy:
    """Random values from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)  # noqa: S311 - the same in every run

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def randbelow(self, limit: int) -> int:
        return self._random.randrange(limit)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


class Machine(Protocol):
    def receive_datagram(self, data: bytes, addr: Address, *, now: float, socket: int) -> None: ...
    def handle_timer(self, *, now: float) -> None: ...
    def next_timer(self) -> float | None: ...
    def datagrams_to_send(self) -> list[tuple[int, bytes, Address]]: ...


@dataclass
class Nat:
    """What a datagram meets on its way. Without NAT both kinds of address are the same."""

    mapping: str = "ei"
    filtering: str = "apd"
    ports: str = "preserve"
    hairpin: bool = False
    lifetime: float = float("inf")
    public: str = PUBLIC
    seed: int = 0
    _mapped: dict[tuple[int, object], int] = field(default_factory=dict)
    _owner: dict[int, int] = field(default_factory=dict)
    _sent_to: dict[int, set[Endpoint]] = field(default_factory=dict)
    _used: dict[int, float] = field(default_factory=dict)
    _next: int = 41000

    def out(self, own: int, to: Endpoint, now: float) -> Endpoint:
        key: object = {"ei": None, "ad": to[0], "apd": to}[self.mapping]
        port = self._mapped.get((own, key))
        if port is None or self._is_gone(port, now):
            port = self._mapped[own, key] = self._new_port(own)
            self._owner[port] = own
            self._sent_to[port] = set()
        self._sent_to[port].add(to)
        self._used[port] = now
        return self.public, port

    def _new_port(self, own: int) -> int:
        self._next += 1
        if self.ports == "preserve":
            return own if own not in self._owner else self._next
        return self._next if self.ports == "sequential" else 20000 + (own * 7919 + self._next * 104729) % 30000

    def _is_gone(self, port: int, now: float) -> bool:
        return now - self._used[port] > self.lifetime

    def inwards(self, port: int, source: Endpoint, now: float) -> int | None:
        """Return the port of the socket that it comes to; None where it does not."""
        if port not in self._owner or self._is_gone(port, now):
            return None
        sent_to = self._sent_to[port]
        let_in = {
            "ei": True,
            "ad": source[0] in {host for host, _ in sent_to},
            "apd": source in sent_to,
        }[self.filtering]
        return self._owner[port] if let_in else None


@dataclass
class World:
    """Runs one machine until it has nothing more to do.

    Servers are lists of endpoints: one or four of each server. What is in ``dead`` never answers.
    """

    nat: Nat = field(default_factory=Nat)
    servers: Sequence[Sequence[Endpoint]] = (FOUR,)
    dead: Sequence[Endpoint] = ()
    heeds_change: int | None = 6
    local_ports: Sequence[int] = tuple(range(50000, 50020))
    fate: Callable[[], Sequence[float]] = lambda: (DELAY,)
    """Delays of the copies of a datagram that arrive; none where it is lost."""
    now: float = 100.0
    sent: list[tuple[float, int, bytes, Address]] = field(default_factory=list)
    _under_way: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def run(self, machine: Machine, until: Callable[[], bool] = lambda: False, limit: float = 1000.0) -> None:
        end = self.now + limit
        self._carry(machine)
        while not until():
            due = machine.next_timer()
            arrives = self._under_way[0][0] if self._under_way else None
            if due is None and arrives is None:
                return
            if arrives is not None and (due is None or arrives <= due):
                self.now, _, deliver = heapq.heappop(self._under_way)
                deliver()
            else:
                assert due is not None
                self.now = max(self.now, due)
                machine.handle_timer(now=self.now)
            assert self.now < end, "the machine does not come to an end"
            self._carry(machine)

    def _carry(self, machine: Machine) -> None:
        for socket, data, to in machine.datagrams_to_send():
            self.sent.append((self.now, socket, data, to))
            source = self.nat.out(self.local_ports[socket], (to.host, to.port), self.now)
            self._later(partial(self._arrive, machine, data, source, (to.host, to.port)))

    def _later(self, do: Callable[[], None]) -> None:
        """Do something once for each copy of a datagram that arrives."""
        for delay in self.fate():
            heapq.heappush(self._under_way, (self.now + delay, next(self._count), do))

    def _arrive(self, machine: Machine, data: bytes, source: Endpoint, to: Endpoint) -> None:
        if to[0] == self.nat.public and self.nat.hairpin:
            self._come_in(machine, data, source, to)
        for endpoints in self.servers:
            if to not in endpoints or to in self.dead:
                continue
            asked = list(endpoints).index(to)
            reply = binding_reply(data, source, asked, endpoints, heeds_change=self.heeds_change)
            if reply is not None and endpoints[reply[0]] not in self.dead:
                number, answer, destination = reply
                self._later(partial(self._come_in, machine, answer, endpoints[number], destination))

    def _come_in(self, machine: Machine, data: bytes, source: Endpoint, to: Endpoint) -> None:
        own = self.nat.inwards(to[1], source, self.now)
        if own in self.local_ports:
            socket = self.local_ports.index(own)
            machine.receive_datagram(data, Address(*source), now=self.now, socket=socket)
