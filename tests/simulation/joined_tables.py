"""Tables of reliable streams joined by links in virtual time: delay, rate, queue, loss, order, copies; all seeded."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from librats._core.rudp import RudpTable
from librats._core.rudp_stream import RudpStream
from librats.types import Address

INCOMING, OPEN, READABLE, WRITABLE, END, CLOSED, MOVED, DATAGRAM = (1 << bit for bit in range(8))
IP_AND_UDP = 28
FILLER = bytes(range(256)) * 4096


def chances(seed: object) -> random.Random:
    """Return what is drawn alike each time."""
    return random.Random(str(seed))  # noqa: S311 - no secret


class Seeded:
    """Entropy that is the same every time."""

    def __init__(self, seed: object) -> None:
        self._random = chances(seed)

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def randbelow(self, limit: int) -> int:
        return self._random.randrange(limit)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


@dataclass
class Link:
    """One direction of a path, with a queue before it that drops what finds no room."""

    world: World
    rate: float = 1e9
    """Bytes a second, headers of IP and UDP included."""

    delay: float = 0.0
    queue: float = 1e9
    loss: float = 0.0
    jitter: float = 0.0
    reordered: float = 0.0
    """Share of the packets that are delayed by up to ``jitter`` more."""

    copied: float = 0.0
    mtu: int = 1 << 16
    random: random.Random = field(default_factory=lambda: chances(0))
    free_at: float = 0.0
    dropped: int = 0
    carried: int = 0

    def send(self, data: bytes, source: Address, target: Address) -> None:
        now = self.world.now
        size = len(data) + IP_AND_UDP
        if size > self.mtu or max(self.free_at - now, 0.0) * self.rate + size > self.queue:
            self.dropped += 1
            return
        self.free_at = max(self.free_at, now) + size / self.rate
        if self.random.random() < self.loss:
            self.dropped += 1
            return
        self.carried += size
        for _ in range(2 if self.copied and self.random.random() < self.copied else 1):
            late = self.random.uniform(0, self.jitter) if self.random.random() < self.reordered else 0.0
            self.world.at(self.free_at + self.delay + late, self.world.deliver, data, source, target)


class End:
    """A table, the links that it sends through, and an application above it."""

    def __init__(
        self, world: World, address: Address, *, kind: type[RudpTable] = RudpTable, ahead: float = 0, **settings: Any
    ) -> None:
        self.world = world
        self.ahead = ahead  # of its clock
        self.address = address
        self.table = kind(entropy=Seeded((world.seed, address)), **settings)
        self.links: dict[Address, Link] = {}
        self.streams: list[RudpStream] = []
        self.inbox: list[tuple[bytes, Address]] = []
        self.on_event: Callable[[RudpStream, int], object] = lambda _stream, _bits: None
        self.is_waiting = False
        self.timer = float("inf")
        self.sent: list[tuple[float, bytes]] = []
        self.keeps_sent = False
        self.is_up = True

    def dial(self, target: End, **options: Any) -> RudpStream:
        stream: RudpStream = self.table.dial(target.address, self.world.now + self.ahead, **options)
        self.streams.append(stream)
        self.wake()
        return stream

    def wake(self) -> None:
        if not self.is_waiting:
            self.is_waiting = True
            self.world.at(self.world.now, self.round)

    def round(self) -> None:
        self.is_waiting = False
        now = self.world.now + self.ahead
        if not self.is_up:
            return
        if self.inbox:
            arrived, self.inbox = self.inbox, []
            assert self.table.receive(arrived, now) == []
        due = self.table.next_timer()
        if due is not None and due <= now:
            self.table.handle_timer(now)
        for stream, bits in self.table.events():
            if bits & INCOMING:
                self.streams.append(stream)
            self.on_event(stream, bits)
        for data, target in self.table.transmit(now):
            if self.keeps_sent:
                self.sent.append((now, data))
            link = self.links.get(target)
            if link is not None:
                link.send(data, self.address, target)
        due = self.table.next_timer()
        if due is not None:
            now = self.world.now
            due = max(due - self.ahead, now + 1e-6)
            if due < self.timer or self.timer <= now:
                self.timer = due
                self.world.at(due, self.wake_by_timer, due)

    def wake_by_timer(self, due: float) -> None:
        if due == self.timer:
            self.timer = float("inf")
            self.wake()


class World:
    """Virtual time, and who is where."""

    def __init__(self, seed: object = 0) -> None:
        self.seed = seed
        self.random = chances(seed)
        self.now = 1000.0
        self.ends: dict[Address, End] = {}
        self._agenda: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def at(self, when: float, call: Callable[..., object], *args: Any) -> None:
        heapq.heappush(self._agenda, (when, next(self._order), call, args))

    def end(self, host: str, port: int = 4000, **settings: Any) -> End:
        address = Address(host, port)
        self.ends[address] = End(self, address, **settings)
        return self.ends[address]

    def link(self, **options: Any) -> Link:
        return Link(self, random=chances(self.random.random()), **options)

    def join(self, a: End, b: End, *, there: Link | None = None, back: Link | None = None, **options: Any) -> None:
        """Join two ends by links of their own, or by some that are shared."""
        a.links[b.address] = there or self.link(**options)
        b.links[a.address] = back or self.link(**options)

    def deliver(self, data: bytes, source: Address, target: Address) -> None:
        end = self.ends.get(target)
        if end is not None:
            end.inbox.append((data, source))
            end.wake()

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time go by, no further than to where the condition holds."""
        stop = self.now + seconds
        while self._agenda and self._agenda[0][0] <= stop:
            self.now, _, call, args = heapq.heappop(self._agenda)
            call(*args)
            if until():
                return
        self.now = stop


class Pump:
    """Writes without end as long as there is room, and counts what arrives at the other side."""

    def __init__(self, sender: End, receiver: End, size: int = 1 << 60, **options: Any) -> None:
        self.sender, self.receiver = sender, receiver
        self.left = size
        self.arrived = 0
        self.log: list[tuple[float, int]] = []
        self.stream = sender.dial(receiver, **options)
        self.far: RudpStream | None = None
        earlier, heard = sender.on_event, receiver.on_event

        def fill(stream: RudpStream, bits: int) -> None:
            earlier(stream, bits)
            self._fill(stream)

        def drain(stream: RudpStream, bits: int) -> None:
            heard(stream, bits)
            self._drain(stream)

        sender.on_event, receiver.on_event = fill, drain

    def _fill(self, stream: RudpStream) -> None:
        while stream is self.stream and self.left and stream.is_open:
            taken = stream.write(FILLER[: min(self.left, len(FILLER))])
            self.left -= taken
            if taken < len(FILLER):
                return

    def _drain(self, stream: RudpStream) -> None:
        # Ids are 16 bits in uTP, and beside them stands the peer.
        if self.far is None and (stream.number - self.stream.number) & 0xFFFF == 1:
            self.far = stream
        if stream is self.far:
            size = len(stream.take())
            self.arrived += size
            self.log.append((self.receiver.world.now, size))

    def rate(self, start: float, stop: float) -> float:
        """Bytes a second that arrived between two times."""
        return sum(size for when, size in self.log if start <= when < stop) / (stop - start)
