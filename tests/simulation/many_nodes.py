"""Thousands of nodes of the DHT in one process: their datagrams, their timers and their coming and going are events."""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from librats.dht.addresses import may_be_told
from librats.dht.node import DhtNode
from librats.dht.operations import Finished

PORT = 6881
INTERNET = bytes([8, 8, 8, 8, 0, 1])


class Chance:
    """Random values from a seed, quickly: they are drawn for every packet."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self.token_bytes = self._random.randbytes
        self.randbelow = self._random.randrange
        self.uniform = self._random.uniform
        self.fraction = self._random.random
        self.choice = self._random.choice

    def address(self) -> bytes:
        """Return a compact address of the internet."""
        while True:
            address = self._random.randbytes(4) + PORT.to_bytes(2)
            if may_be_told(address, INTERNET):
                return address


class Manners(Protocol):
    """What a node does otherwise than its machine says."""

    def sends(self, data: bytes, to: bytes, asked: bytes | None) -> bytes | None:
        """Return what is sent instead of a datagram, or None.

        Args:
            data: What the machine would send.
            to: Where it goes.
            asked: The datagram that has just come from there, if any.
        """


@dataclass(slots=True, eq=False)
class Member:
    """A node, and what the simulation knows of it."""

    address: bytes
    node: DhtNode
    joined: float
    kind: str = "honest"
    manners: Manners | None = None
    deaf_from: float = float("inf")
    """When it begins to hear answers only, as behind a NAT."""
    place: int = 0
    """Where it is in the list of all."""
    woken: float = float("inf")
    watched: dict[int, Callable[[Finished | None], None]] = field(default_factory=dict)
    """What is to be done with the outcome of what it asked for, or with None where it leaves before."""
    glimpses: list[Callable[[], bool]] = field(default_factory=list)
    """Called after each event, until they return True."""


class ManyNodes:
    """A network of members.

    Args:
        seed: What decides by chance.
        delay: Seconds that a datagram takes from one to another in the mean: half as much to half as much more.
        loss: Part of the datagrams that are lost.
    """

    def __init__(self, seed: int, *, delay: float, loss: float) -> None:
        self.now = 0.0
        self.chance = Chance(seed)
        self.members: dict[bytes, Member] = {}
        self._all: list[Member] = []
        self.sent = 0
        self.events = 0
        self.victims: dict[bytes, list[int]] = {}
        """Datagrams and bytes to addresses of nobody that liars tell of."""
        self._delay = delay
        self._loss = loss
        self._order = count()
        self._due: list[tuple[float, int, Any, bytes | None, bytes]] = []

    def add(self, address: bytes, kind: str = "honest", manners: Manners | None = None, **settings: Any) -> Member:
        node = DhtNode(self.chance, now=self.now, **settings)
        member = self.members[address] = Member(address, node, self.now, kind, manners)
        member.place = len(self._all)
        self._all.append(member)
        self.look_after(member)
        return member

    def remove(self, member: Member) -> None:
        del self.members[member.address]
        last = self._all.pop()
        if last is not member:
            self._all[member.place] = last
            last.place = member.place
        for then in member.watched.values():
            then(None)
        member.watched.clear()

    def anybody(self) -> Member:
        """Draw a member."""
        return self._all[self.chance.randbelow(len(self._all))]

    def call(self, after: float, then: Callable[[], object]) -> None:
        """Do something later."""
        heapq.heappush(self._due, (self.now + after, next(self._order), then, None, b""))

    def look_after(self, member: Member, asked: bytes | None = None, source: bytes = b"") -> None:
        """Send what a node has to send, take note of what it has found, and of when it wants to be called."""
        node = member.node
        if member.glimpses:
            member.glimpses = [glimpse for glimpse in member.glimpses if not glimpse()]
        for data, to in node.datagrams_to_send():
            self._send(member, data, to, asked if to == source else None)
        while (event := node.next_event()) is not None:
            then = member.watched.pop(event.number, None)
            if then is not None:
                then(event)
        timer = node.next_timer()
        if timer < member.woken:
            member.woken = timer
            heapq.heappush(self._due, (timer, next(self._order), member, None, b""))

    def _send(self, member: Member, data: bytes, to: bytes, asked: bytes | None) -> None:
        if member.manners is not None:
            changed = member.manners.sends(data, to, asked)
            if changed is None:
                return
            data = changed
        self.sent += 1
        victim = self.victims.get(to)
        if victim is not None:
            victim[0] += 1
            victim[1] += len(data)
        if to not in self.members or self.chance.fraction() < self._loss:
            return
        heapq.heappush(
            self._due, (self.now + self.delay(member.address, to), next(self._order), to, data, member.address)
        )

    def delay(self, one: bytes, other: bytes) -> float:
        """Return how long a datagram takes between two: always the same, both ways."""
        pair = zlib.crc32(min(one, other) + max(one, other))
        return self._delay * (0.5 + pair / (1 << 32))

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        due, members = self._due, self.members
        while due and due[0][0] <= end:
            self.now, _, whom, data, source = heapq.heappop(due)
            self.events += 1
            if data is not None:
                member = members.get(whom)
                if member is not None and (self.now < member.deaf_from or b"1:y1:q" not in data):
                    member.node.receive_datagram(data, source, now=self.now)
                    self.look_after(member, data, source)
            elif isinstance(whom, Member):
                if members.get(whom.address) is whom and whom.woken <= self.now:
                    whom.woken = float("inf")
                    whom.node.handle_timer(now=self.now)
                    self.look_after(whom)
            else:
                whom()
        self.now = end
