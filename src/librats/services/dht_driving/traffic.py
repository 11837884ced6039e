"""Datagrams between a node of the DHT and the socket that it has or shares, and the node's timer."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from librats.dht.addresses import address_of, compact
from librats.dht.node import DhtNode
from librats.runtime.datagrams import Origin
from librats.runtime.tasks import TaskSet
from librats.types import Address

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["DatagramSender", "DhtTraffic"]

AT_ONCE = 64
"""Datagrams that are worked on in one turn of the loop: a millisecond or so."""

MOST_WAITING = 1024
"""Datagrams that wait for the next turns; more are dropped, as a full buffer of the kernel would."""

MOST_UNSENT = 1024
"""Datagrams that wait for room in the kernel; more are dropped."""

KNOWN = 8192
"""Addresses that are kept in both forms."""

EARLY = 0.002
"""Seconds by which a loop may call too early: the resolution of its clock."""


class DatagramSender(Protocol):
    """What is asked of the socket."""

    @property
    def local_addresses(self) -> Sequence[Address]:
        """Where it listens."""

    @property
    def is_closed(self) -> bool:
        """True once it is closed."""

    def send_many(self, items: Iterable[tuple[Buffer, Address]]) -> int:
        """Send datagrams, and return how many were dealt with before there was no room."""

    async def wait_for_room(self) -> None:
        """Wait until there is."""


class DhtTraffic:
    """Moves datagrams between a node and a socket: so many in each turn of the loop, and what they bring forth at once.

    Args:
        node: The node.
        endpoint: The socket, which stays its owner's.
        tasks: Owner of the task that waits for room.
        stepped: Called after whatever may have changed the node.
    """

    def __init__(self, node: DhtNode, endpoint: DatagramSender, tasks: TaskSet, stepped: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._node = node
        self._endpoint = endpoint
        self._tasks = tasks
        self._stepped = stepped
        self._waiting: deque[tuple[bytes, Origin]] = deque()
        self._unsent: deque[tuple[bytes, Address]] = deque()
        self._compact_of: dict[Address, bytes] = {}
        self._address_of: dict[bytes, Address] = {}
        self._working: asyncio.Handle | None = None
        self._flushing: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._room: asyncio.Task[None] | None = None
        self._is_closed = False
        self.received = 0
        """Datagrams that the node was given."""
        self.sent = 0
        """Datagrams that the kernel has taken, or the network has refused."""
        self.dropped_in = 0
        """Datagrams that came faster than they could be worked on."""
        self.dropped_out = 0
        """Datagrams for which there was no room for long."""

    # Coming in

    def receive(self, batch: Sequence[tuple[bytes, Origin]]) -> None:
        """Take datagrams; what is more than one turn's work waits for the next ones."""
        if self._is_closed:
            return
        room = MOST_WAITING - len(self._waiting)
        if len(batch) > room:
            self.dropped_in += len(batch) - room
            batch = batch[:room]
        self._waiting.extend(batch)
        if self._working is None:
            self._work()

    def _work(self) -> None:
        self._working = None
        waiting, node = self._waiting, self._node
        now = self._loop.time()
        for _ in range(min(AT_ONCE, len(waiting))):
            data, origin = waiting.popleft()
            source = self._compact_of.get(origin) or self._compacted(origin)
            if source:
                # What answers leaves from the address that was asked.
                self._address_of[source] = origin
                self.received += 1
                node.receive_datagram(data, source, now=now)
        if waiting:
            self._working = self._loop.call_soon(self._work)
        self.flush()

    def _compacted(self, origin: Address) -> bytes:
        """Return the compact form of where a datagram came from; empty where nobody can be answered there."""
        if not origin.port:
            return b""
        if len(self._compact_of) >= KNOWN or len(self._address_of) >= KNOWN:
            self._compact_of.clear()
            self._address_of.clear()
        source = self._compact_of[origin] = compact(origin.host, origin.port)
        return source

    # Going out

    def flush_soon(self) -> None:
        """Send what the node has to send in the next turn of the loop."""
        if self._flushing is None and not self._is_closed:
            self._flushing = self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = None
        self.flush()

    def flush(self) -> None:
        """Send what the node has to send, tell that it has changed, and set its timer."""
        if self._is_closed:
            return
        out = self._node.datagrams_to_send()
        if out:
            known = self._address_of
            self._send([(data, known.get(target) or address_of(target)) for data, target in out])
        self._stepped()
        self._arm_timer()

    def _send(self, items: list[tuple[bytes, Address]]) -> None:
        if self._endpoint.is_closed:
            return
        sent = 0 if self._unsent else self._endpoint.send_many(items)
        self.sent += sent
        if sent == len(items):
            return
        left = items[sent : sent + MOST_UNSENT - len(self._unsent)]
        self.dropped_out += len(items) - sent - len(left)
        self._unsent.extend(left)
        if self._room is None or self._room.done():
            self._room = self._tasks.create(self._send_when_there_is_room(), name="librats DHT waits for room")

    async def _send_when_there_is_room(self) -> None:
        while self._unsent and not self._endpoint.is_closed:
            await self._endpoint.wait_for_room()
            sent = self._endpoint.send_many(list(self._unsent))
            self.sent += sent
            for _ in range(sent):
                self._unsent.popleft()

    # The timer

    def _arm_timer(self) -> None:
        due = self._node.next_timer()
        if due < self._timer_at and not self._is_closed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._time_has_come)

    def _time_has_come(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now, due = self._loop.time(), self._node.next_timer()
        if due <= now + EARLY:
            self._node.handle_timer(now=max(now, due))
        self.flush()

    def close(self) -> None:
        """Move nothing any more; the socket stays open. Idempotent."""
        self._is_closed = True
        self._waiting.clear()
        self._unsent.clear()
        for handle in (self._working, self._flushing, self._timer, self._room):
            if handle is not None:
                handle.cancel()
        self._working = self._flushing = self._timer = self._room = None
