"""Reliable streams on a UDP port that others share: what is not of a stream is handed on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from librats._core.datagram import BatchSocket
from librats._core.rudp import RudpTable
from librats.runtime.datagrams import Origin, Receive, Streams
from librats.runtime.rudp_transport import Happened, RudpTransport, error_of
from librats.runtime.udp import clock_of
from librats.stun.mapping_habits import MappingHabits
from librats.types import Address, ConnectionMethod, Entropy

if TYPE_CHECKING:
    from librats._core.rudp_stream import RudpStream

__all__ = ["Carrier", "RudpPort", "SharedCarrier"]

ProtocolFactory = Callable[[], asyncio.BaseProtocol]

PUNCH_TIME = 5.0
"""Seconds for which a stream is asked for on a way that is known: on one that loses half of what is sent, eight tries
are not enough for one in nine."""

PUNCH_WAIT = 0.06
"""Seconds between the Syns of a punch: they are short, and mostly the other NAT has dropped the one before."""

URGENT_TIME = 2.0
"""Seconds for which a stream is asked for where there is another way, which it is to outrun."""

DIAL_TRIES = 3
DIAL_WAIT = 0.5

FIRST_BYTE_TIMEOUT = 5.0
"""Seconds after which a stream that somebody else has opened, and has sent nothing on, is given up."""

BUFFER_SIZE = 4 << 20
"""Bytes that are asked of the kernel for each direction: as much as the window of a stream grows to."""

SILENCE, LONGEST_SILENCE = 10.0, 20.0
"""Seconds after which something is sent for the sake of NATs: while nothing is known of them, and at the most. A peer
takes 45 seconds of silence for the end of a stream: it has two chances to hear of it even so."""

BIG_BATCH = 4
"""From so many packets on they are acknowledged before they are worked on."""


class Carrier(Protocol):
    """What streams need of that which carries their packets: a UDP port, or an allocation on a relay."""

    @property
    def local_address(self) -> Address:
        """Where packets are sent to; the first of several."""

    @property
    def local_addresses(self) -> Sequence[Address]:
        """All of them."""

    @property
    def is_closed(self) -> bool:
        """True where nothing is carried any more."""

    def set_dont_fragment(self, whole: bool) -> bool:
        """Send in one IP packet or not at all, where that can be chosen."""

    def transmit(self, table: RudpTable, now: float) -> bool:
        """Send what streams have to say; False where there is no room now."""

    async def wait_for_room(self) -> None:
        """Wait until there is."""

    def close(self) -> None:
        """Carry nothing any more."""


class SharedCarrier(Carrier, Protocol):
    """One that is open already, whose packets others take, too."""

    def share(self, streams: Streams, buffer_size: int) -> None:
        """Let streams take what is theirs of all that comes from now on."""


class OpensDatagrams(Protocol):
    """The part of a network that opens what carries packets."""

    async def open_datagram(self, host: str = "", port: int = 0, *, receive: Receive, **options: Any) -> Carrier:
        """Open it; ``streams`` of the options takes what comes."""


class RudpPort:
    """A UDP port with streams on it. Comes from :meth:`open`.

    Args:
        accept: Makes the protocol of a stream that somebody else opens; None where nobody may.
        others: Called with what belongs to no stream; None drops it.
        entropy: Where numbers and secrets come from.
        method: How peers are reached from here.
        left: Called with a peer's address when no stream leads there any more.
        kind: What makes the table, and so says whose packets they are.
        options: For the table; see :class:`~librats._core.rudp.RudpTable`.
    """

    def __init__(
        self,
        accept: ProtocolFactory | None,
        others: Receive | None,
        *,
        entropy: Entropy,
        method: ConnectionMethod = ConnectionMethod.UDP,
        left: Callable[[Address], object] | None = None,
        kind: Callable[..., RudpTable] = RudpTable,
        **options: Any,
    ) -> None:
        self.method = method
        """How peers are reached from here."""
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._accept = accept
        self._others = others
        self._table = kind(entropy=entropy, accepts=accept is not None, **options)
        self._transports: dict[int, RudpTransport] = {}
        self._dials: dict[int, tuple[RudpStream, asyncio.Future[RudpStream]]] = {}
        self._silent: dict[int, tuple[RudpStream, float]] = {}
        self._endpoint: Carrier | None = None
        self._transmit: Callable[[float], bool] = lambda _now: True
        self._time = clock_of(self._loop)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._sending: asyncio.Handle | None = None
        self._in_round = False
        self._waits_for_room = False

    @classmethod
    async def open(
        cls,
        network: OpensDatagrams,
        host: str,
        port: int,
        *,
        accept: ProtocolFactory | None,
        others: Receive | None = None,
        entropy: Entropy,
        **options: Any,
    ) -> RudpPort:
        """Open a UDP port for streams.

        Args:
            network: Where to open it.
            host: IP address; empty for every interface.
            port: 0 picks one.
            accept: Makes the protocol of a stream that somebody else opens.
            others: Called with what belongs to no stream.
            entropy: Where numbers and secrets come from.
            options: For the port, and for the table of streams.

        Raises:
            ConfigError: The address is taken, not this machine's, or not an address at all.
        """
        made = cls(accept, others, entropy=entropy, **options)
        made._endpoint = await network.open_datagram(
            host, port, receive=made._foreign, streams=made, buffer_size=BUFFER_SIZE
        )
        made._endpoint.set_dont_fragment(True)
        made._transmit = made._transmitter(made._endpoint)
        return made

    @classmethod
    def adopt(
        cls, endpoint: SharedCarrier, *, accept: ProtocolFactory | None, entropy: Entropy, **options: Any
    ) -> RudpPort:
        """Put streams on a UDP port that is open, one that a NAT knows for example.

        Who has opened it goes on to be called with what belongs to no stream.

        Args:
            endpoint: The UDP port; :meth:`close` closes it.
            accept: Makes the protocol of a stream that somebody else opens.
            entropy: Where numbers and secrets come from.
            options: For the port, and for the table of streams.
        """
        made = cls(accept, None, entropy=entropy, **options)
        made._endpoint = endpoint
        endpoint.share(made, BUFFER_SIZE)
        endpoint.set_dont_fragment(True)
        made._transmit = made._transmitter(endpoint)
        return made

    def _transmitter(self, endpoint: Carrier) -> Callable[[float], bool]:
        """Return what sends, told the time, what streams have to say: the compiled one itself, where there is one."""
        batches = getattr(endpoint, "batches", None)
        if batches is None:
            return partial(endpoint.transmit, self._table)
        return partial(self._table.transmit_through, batches)

    @property
    def endpoint(self) -> Carrier:
        """The UDP port, for whoever shares it."""
        if self._endpoint is None:
            raise RuntimeError("the port is not open")
        return self._endpoint

    @property
    def counters(self) -> dict[str, int]:
        """What the streams have seen, in packets."""
        return self._table.counters

    def adjust(self, habits: MappingHabits) -> None:
        """Have streams be silent no longer than NATs on the way let them."""
        if not self.endpoint.is_closed:
            self._table.speak_within(habits.interval(SILENCE, most=LONGEST_SILENCE))
            self._arm_timer()

    def __len__(self) -> int:
        """Streams, those included that are finished and hand over their last bytes."""
        return len(self._table)

    @property
    def is_used(self) -> bool:
        """True while a stream on it has somebody who hears of it."""
        return bool(self._transports)

    def local_address_for(self, peer: Address) -> Address:
        """Return this side's address towards a peer, as far as the socket knows it."""
        local = getattr(peer, "local", None)
        if local is not None:
            return Address(local.host, local.port)
        is_ipv6 = ":" in peer.host
        for address in self.endpoint.local_addresses:
            if (":" in address.host) == is_ipv6:
                return address
        return self.endpoint.local_address

    # Dialling

    async def dial(
        self,
        factory: ProtocolFactory,
        address: Address,
        *,
        punch: bool = False,
        urgent: bool = False,
    ) -> RudpTransport:
        """Open a stream and give it to a protocol.

        Args:
            factory: Makes the protocol, once the stream is there.
            address: An IP address and a port.
            punch: Whether both sides dial each other at once, through NATs: more Syns, closer together.
            urgent: Whether Syns are as close together as in a punch, but not for as long.

        Raises:
            OSError: The peer refused, or did not answer.
            UsageError: That is no address, or there are too many streams.
        """
        if punch or urgent:
            tries = int((PUNCH_TIME if punch else URGENT_TIME) / PUNCH_WAIT)
            stream = self._table.dial(address, self._loop.time(), tries=tries, wait=PUNCH_WAIT, doubling=False)
        else:
            stream = self._table.dial(address, self._loop.time(), tries=DIAL_TRIES, wait=DIAL_WAIT)
        done: asyncio.Future[RudpStream] = self._loop.create_future()
        self._dials[id(stream)] = (stream, done)
        self.send_soon()
        try:
            await done
        except BaseException:
            stream.reset()
            self.send_soon()
            raise
        finally:
            self._dials.pop(id(stream), None)
        return self._begin(stream, factory())

    def _begin(self, stream: RudpStream, protocol: asyncio.BaseProtocol) -> RudpTransport:
        transport = RudpTransport(self, stream, protocol)
        self._transports[id(stream)] = transport
        stream.listener = transport.happened
        protocol.connection_made(transport)
        if stream.readable or stream.has_ended:
            self._loop.call_soon(transport.read_on)
        return transport

    def forget(self, stream: RudpStream) -> None:
        """Tell nobody of a stream any more."""
        self._transports.pop(id(stream), None)
        stream.listener = None
        if self._left is not None and not any(one.leads_to(stream.address) for one in self._transports.values()):
            self._left(stream.address)

    # Rounds

    def receive(self, items: list[tuple[bytes, Any]]) -> list[tuple[bytes, Any]]:
        """Take of what has come what belongs to streams, and return the rest."""
        now = self._time()
        others = self._table.receive(items, now)
        if len(items) - len(others) >= BIG_BATCH:
            self._send(now)
        self._go_on(now)
        return others

    def receive_from(self, batches: BatchSocket, family: int) -> list[tuple[bytes, Any]]:
        """Receive from the socket of a family, without an object for what belongs to streams."""
        now = self._time()
        table = self._table
        before = batches.received
        others = table.receive_from(batches, family, now)
        if batches.received - before >= BIG_BATCH:
            self._send(now)
        self._in_round = True
        try:
            table.tell(self._happened, self._protocol_failed)
        finally:
            self._in_round = False
        self._send(now)
        return others

    def _go_on(self, now: float) -> None:
        self._in_round = True
        try:
            self._table.tell(self._happened, self._protocol_failed)
        finally:
            self._in_round = False
        self._send(now)

    def _round(self) -> None:
        self._go_on(self._time())

    def _foreign(self, batch: list[tuple[bytes, Origin]]) -> None:
        if self._others is not None:
            self._others(batch)

    def _happened(self, stream: RudpStream, what: int) -> None:
        """Take what is told of a stream that is no transport yet, or not any more."""
        if id(stream) in self._dials:
            self._dial_answered(stream, what)
        else:
            self._incoming(stream, what)

    def _protocol_failed(self, listener: Callable[[int], object], error: Exception) -> None:
        """End a transport whose protocol has raised, as those of asyncio do."""
        transport: RudpTransport = listener.__self__  # type: ignore[attr-defined]
        context = {"message": "a protocol over UDP failed", "exception": error, "transport": transport}
        self._loop.call_exception_handler(context)
        transport.abort()

    def _incoming(self, stream: RudpStream, what: int) -> None:
        """Take a stream that somebody else has opened: it is worth a protocol once something has come on it."""
        if id(stream) not in self._silent and not what & Happened.INCOMING:
            return  # one that this side has let go in this very round
        if what & Happened.CLOSED:
            self._silent.pop(id(stream), None)
        elif stream.readable or stream.has_ended:
            self._silent.pop(id(stream), None)
            if self._accept is not None:
                self._begin(stream, self._accept())
        elif id(stream) not in self._silent:
            self._silent[id(stream)] = (stream, self._loop.time() + FIRST_BYTE_TIMEOUT)

    def _part_with_silent(self) -> None:
        now = self._loop.time()
        while self._silent:
            key, (stream, until) = next(iter(self._silent.items()))
            if until > now:
                break
            del self._silent[key]
            stream.reset()

    def _dial_answered(self, stream: RudpStream, what: int) -> None:
        _, done = self._dials[id(stream)]
        if done.done():
            return
        if what & Happened.CLOSED:
            done.set_exception(error_of(stream.cause) or ConnectionResetError())
        elif what & Happened.OPEN:
            done.set_result(stream)

    def send_now(self, *, in_round: bool = False) -> None:
        """Send what streams have to say.

        Args:
            in_round: Whether to do that within a round, too, which does it at its end anyhow.
        """
        if in_round or not self._in_round:
            self._send(self._time())

    def send_soon(self) -> None:
        """Send what streams have to say in the next turn of the loop, or when the round at hand is over."""
        if not self._in_round and self._sending is None:
            self._sending = self._loop.call_soon(self._send_now)

    def _send_now(self) -> None:
        self._sending = None
        self._round()

    def _send(self, now: float) -> None:
        endpoint = self._endpoint
        if endpoint is None or endpoint.is_closed or self._waits_for_room:
            return
        if not self._transmit(now):
            self._waits_for_room = True
            self._loop.create_task(self._send_when_there_is_room(), name="librats UDP room")
        if self._table.due < self._timer_at or self._silent:
            self._arm_timer()

    async def _send_when_there_is_room(self) -> None:
        await self.endpoint.wait_for_room()
        self._waits_for_room = False
        self._send(self._loop.time())

    def _arm_timer(self) -> None:
        due = self._table.due
        if self._silent:
            due = min(due, next(iter(self._silent.values()))[1])
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self._table.handle_timer(self._time())
        self._part_with_silent()
        self._round()

    # The end

    def close(self) -> None:
        """End every stream at once and let the port go. Idempotent."""
        for transport in list(self._transports.values()):
            transport.abort()
        for _, done in self._dials.values():
            if not done.done():
                done.set_exception(ConnectionAbortedError())
        self._silent.clear()
        self._table.reset_all()
        self._send(self._loop.time())
        for handle in (self._timer, self._sending):
            if handle is not None:
                handle.cancel()
        self._timer = self._sending = None
        if self._endpoint is not None:
            self._endpoint.close()
