"""Sessions over UDP at a relay: what its threads receive of them goes to the introducer, and its answers go back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from librats._core.relay import pack_address, unpack_address
from librats.runtime.datagrams import Origin
from librats.runtime.rudp import RudpPort
from librats.types import Address, Entropy

if TYPE_CHECKING:
    from librats._core.rudp import RudpTable
    from librats.runtime.datagrams import Streams

__all__ = ["MOST_A_SECOND", "Answers", "DatagramSessions", "Heard"]

MOST_A_SECOND = 8e6
"""Bytes that one thread hands over in a second, of which a packet counts for 256 more than it has: a flood takes no
more of the loop's time than that."""

MOST_WAITING = 64
"""Rounds of a thread's that wait for the loop before more is dropped: sessions repeat what is lost."""

MAX_DATAGRAM = 1220
"""Bytes of a packet: what every path of IPv6 carries whole, so that none has to be tried."""

SILENCE = 20.0
"""Seconds after which a session is spoken on for the sake of NATs; clients, who know theirs, mostly do so before."""

KNOWN = 8192

Heard = tuple[int, bytes, bytes, bytes]
"""A listener's number, the packed addresses that a packet came from and to, and the packet."""

Answers = Callable[[Sequence[Heard]], object]
"""Sends packets from listeners, to where the first of the addresses says and from the second. Safe in every thread."""


class _Client(Origin):
    """Where a session's packets come from."""

    way: tuple[bytes, Answers]
    """The packed address that the last one came to, and what answers from there."""


class _Listener:
    """Carries the packets of one listener's streams (:class:`~librats.runtime.rudp.Carrier`)."""

    def __init__(self, number: int, address: Address) -> None:
        self.local_address = address
        """Where it listens."""
        self.local_addresses = (address,)
        """The same."""
        self.is_closed = False
        """True once nothing is carried any more."""
        self._number = number
        self._known: dict[bytes, _Client] = {}
        self._streams: Streams | None = None
        self._way: tuple[bytes, Answers] | None = None

    def share(self, streams: Streams, buffer_size: int) -> None:
        """Give what comes to streams; the kernel's buffers are the relay's."""
        del buffer_size
        self._streams = streams

    def set_dont_fragment(self, whole: bool) -> bool:
        """Leave the listener, which is the relay's, as it is."""
        return not whole

    def came(self, packets: Sequence[tuple[bytes, bytes, bytes]], answers: Answers) -> None:
        """Take packets, each with the packed addresses that it came from and to."""
        items = []
        for client, local, data in packets:
            origin = self._known.get(client)
            if origin is None:
                origin = self._new_client(client, local)
            self._way = origin.way = (local, answers)
            items.append((data, origin))
        if self._streams is not None and not self.is_closed:
            self._streams.receive(items)

    def _new_client(self, client: bytes, local: bytes) -> _Client:
        if len(self._known) >= KNOWN:
            self._known.clear()
        made = self._known[client] = _Client(*unpack_address(client))
        made.local = Address(unpack_address(local)[0] if local else self.local_address.host, self.local_address.port)
        return made

    def transmit(self, table: RudpTable, now: float) -> bool:
        """Send what streams have to say."""
        by_way: dict[Answers, list[Heard]] = {}
        for data, address in table.transmit(now):
            there = pack_address(*address)
            # The table keeps so many addresses, too, and gives another object for one that it has forgotten.
            origin = address if isinstance(address, _Client) else self._known.get(there)
            way = self._way if origin is None else origin.way
            if way is not None:
                local, answers = way
                by_way.setdefault(answers, []).append((self._number, there, local, data))
        for answers, packets in by_way.items():
            answers(packets)
        return True

    async def wait_for_room(self) -> None:
        """Return at once: threads take everything, and streams send no more than their windows let them."""

    def close(self) -> None:
        """Carry nothing any more."""
        self.is_closed = True
        self._known.clear()


class DatagramSessions:
    """The sessions over UDP of one relay.

    Args:
        listeners: Where it listens, by the numbers of its listeners.
        accept: Makes the protocol of each.
        most: How many each listener has at a time.
        entropy: Where numbers and secrets come from.
    """

    def __init__(
        self,
        listeners: Sequence[Address],
        accept: Callable[[], asyncio.BaseProtocol],
        *,
        most: int,
        entropy: Entropy,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = [_Listener(number, address) for number, address in enumerate(listeners)]
        self._ports = [
            RudpPort.adopt(
                listener,
                accept=accept,
                entropy=entropy,
                max_streams=most,
                max_datagram=MAX_DATAGRAM,
                keep_alive=SILENCE,
            )
            for listener in self._listeners
        ]
        self._waiting: deque[tuple[Sequence[Heard], Answers]] = deque()
        self.counters = {"dropped_events": 0}
        """Packets for which the loop had no time, by the name that data planes have for it."""

    def hand_in(self, packets: Sequence[Heard], answers: Answers) -> None:
        """Take packets from another thread.

        Args:
            packets: What has come.
            answers: What sends in the same thread.
        """
        if len(self._waiting) >= MOST_WAITING:
            self.counters["dropped_events"] += len(packets)
            return
        self._waiting.append((packets, answers))
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self.came(*self._waiting.popleft())

    def came(self, packets: Sequence[Heard], answers: Answers) -> None:
        """Take packets, in the loop's own thread."""
        by_listener: dict[int, list[tuple[bytes, bytes, bytes]]] = {}
        for number, *packet in packets:
            by_listener.setdefault(number, []).append((packet[0], packet[1], packet[2]))
        for number, its in by_listener.items():
            self._listeners[number].came(its, answers)

    def close(self) -> None:
        """End them all at once."""
        for port in self._ports:
            port.close()
