"""Streams from relayed addresses: one allocation on each TURN server and address family, for all peers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from librats.config import NatTraversalConfig
from librats.errors import ClosedError, RatsError, TurnError
from librats.runtime.datagrams import Receive, Streams
from librats.runtime.rudp import RudpPort
from librats.runtime.rudp_transport import RudpTransport
from librats.runtime.tasks import TaskSet
from librats.servers import TurnServer
from librats.services.ice.ports import LentRelayPort
from librats.services.turn.allocation import TurnAllocation
from librats.services.turn.keeping import TurnEvent
from librats.stun.mapping_habits import MappingHabits
from librats.turn.allocation_events import TurnAllocated
from librats.turn.client_settings import ClientSettings
from librats.types import Address, ConnectionMethod, Entropy

if TYPE_CHECKING:
    from librats._core.rudp import RudpTable

__all__ = ["Relays"]

logger = logging.getLogger("librats.relays")

MAX_DATAGRAM = 1220
"""Bytes of a stream's packet: with what TURN puts around it, it still fits into the least MTU of IPv6, 1280 bytes."""

CLOSING_TIME = 0.5
"""Seconds that a server has to confirm the end of an allocation."""

SUSPECT_AFTER = 1.5
"""Seconds without success from which on another server goes first the next time."""

PATIENCE = 0.4
"""Seconds after which the next server is asked, too, where one is silent."""

SIGN_OF_LIFE = 1.0
"""Seconds that a server has to show that it still hears us, where an allocation that moves is another one."""

Accept = Callable[[], asyncio.BaseProtocol]
Way = tuple[int, str]
"""Number of a server, and the address family."""


class RelayedCarrier:
    """An allocation as that which carries the packets of streams.

    Args:
        streams: Who takes what comes.
        others: Told of what is of no stream.
    """

    def __init__(
        self, streams: Streams, others: Callable[[TurnAllocation, list[tuple[bytes, Address]]], object]
    ) -> None:
        self._streams = streams
        self._others = others
        self._unsent: list[tuple[bytes, Address]] = []
        self.is_closed = False
        self.allocation: TurnAllocation

    def receive(self, batch: list[tuple[bytes, Address]]) -> None:
        """Take what peers have sent."""
        if not self.is_closed:
            others = self._streams.receive(batch)
            if others:
                self._others(self.allocation, others)

    @property
    def local_address(self) -> Address:
        """The relayed address."""
        return self.allocation.relayed_address

    @property
    def local_addresses(self) -> Sequence[Address]:
        """All of them."""
        return self.allocation.relayed_addresses

    def set_dont_fragment(self, whole: bool) -> bool:
        """Tell that it cannot be chosen: packets are short enough anyway."""
        return False

    def transmit(self, table: RudpTable, now: float) -> bool:
        """Send what streams have to say; in a gap it is lost, as any datagram may be."""
        while True:
            items, self._unsent = self._unsent or table.transmit(now), []
            if not items:
                return True
            if self.allocation.is_full:
                self._unsent = items
                return False
            self.allocation.send_many(items)

    async def wait_for_room(self) -> None:
        """Wait until the way to the server takes more."""
        await self.allocation.wait_for_room()

    def close(self) -> None:
        """Carry nothing any more."""
        self.is_closed = True


class Relays:
    """The TURN servers of one client, and its allocations on them.

    An allocation is made when it is needed first, and lives until the end. Whoever has an allocation on the same
    server may open streams to it, where the server lets whole hosts in.

    Args:
        settings: The configuration.
        tasks: Owner of the tasks in which allocations are made.
        habits: What is known of NATs on the way to the servers.
    """

    def __init__(self, settings: Callable[[], NatTraversalConfig], tasks: TaskSet, habits: MappingHabits) -> None:
        self._settings = settings
        self._tasks = tasks
        self._opening: dict[Way, asyncio.Task[RudpPort | RatsError]] = {}
        self._awaited: Counter[asyncio.Task[RudpPort | RatsError]] = Counter()
        self._open: dict[Way, tuple[RudpPort, TurnAllocation]] = {}
        self._failed: dict[int, None] = {}
        self._following: set[TurnAllocation] = set()
        self._lent: list[LentRelayPort] = []
        self._granted: list[TurnServer] = []
        self._patience: dict[TurnServer, float] = {}
        self._closed = False
        self._accept: Accept | None = None
        self._entropy: Entropy
        self._changed: Callable[[], object] = lambda: None
        self.habits = habits
        """What is known of NATs on the way to the servers."""

    def start(self, accept: Accept, entropy: Entropy, changed: Callable[[], object]) -> None:
        """Make allocations from now on where they are needed.

        Args:
            accept: Makes the protocol of a stream that a peer opens.
            entropy: Where numbers and secrets come from.
            changed: Called when the relayed addresses are others than before.
        """
        self._accept, self._entropy, self._changed = accept, entropy, changed
        self._closed = False

    @property
    def servers(self) -> tuple[TurnServer, ...]:
        """The servers as configured, and behind them those that introducers have granted; none where that is off."""
        settings = self._settings()
        return (*settings.relay_servers, *self._granted) if settings.enable_turn_relay else ()

    def grant(self, server: TurnServer, *, patience: float = PATIENCE) -> None:
        """Take one more server; those before it keep their places.

        Args:
            server: The server.
            patience: Seconds that it may take before the next one is asked, too.
        """
        self._granted.append(server)
        self._patience[server] = patience

    @property
    def addresses(self) -> list[Address]:
        """The relayed addresses there are now."""
        return [address for _, allocation in self._open.values() for address in allocation.relayed_addresses]

    async def open(self, family: str = "ipv4") -> RudpPort:
        """Make an allocation on the first server that gives one, or use that which is there.

        Args:
            family: ``"ipv4"`` or ``"ipv6"``.

        Raises:
            TurnError: The last of the servers refuses.
            ConnectError: It cannot be reached.
            OperationTimeout: It does not answer.
            ClosedError: The client is stopped.
        """
        number, port = await self._open_first(family)
        logger.debug("streams over %s, server %d", port.endpoint.local_address, number)
        return port

    async def _open_first(self, family: str) -> tuple[int, RudpPort]:
        # One that has failed is asked after those that have not.
        remaining = sorted(range(len(self.servers)), key=self._failed_before)
        for number in remaining:
            if (number, family) in self._open:
                return number, self._open[number, family][0]
        error: RatsError = ClosedError("no TURN server is configured")
        patience: float | None = None
        waiting: dict[asyncio.Task[RudpPort | RatsError], int] = {}
        try:
            while remaining or waiting:
                if remaining:
                    number = remaining.pop(0)
                    waiting[asyncio.ensure_future(self._port((number, family)))] = number
                    patience = self._patience.get(self.servers[number], PATIENCE) if remaining else None
                done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in waiting if task in done]:
                    number, made = waiting.pop(task), task.result()
                    if not isinstance(made, RatsError):
                        return number, made
                    self._note_failure(number)
                    error = made
        finally:
            for task in waiting:  # what was begun goes on, and is used the next time
                task.cancel()
        raise error

    def _failed_before(self, number: int) -> int:
        return list(self._failed).index(number) + 1 if number in self._failed else 0

    def _note_failure(self, number: int) -> None:
        self._failed.pop(number, None)
        self._failed[number] = None

    async def _port(self, way: Way) -> RudpPort | RatsError:
        if way in self._open:
            return self._open[way][0]
        if self._closed or self._accept is None:
            return ClosedError("the client is stopped")
        task = self._opening.get(way)
        if task is None:
            task = self._opening[way] = self._tasks.create(self._try_to_allocate(way), name="librats TURN allocation")
            task.add_done_callback(lambda done: self._opened(way, done))
        self._awaited[task] += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return ClosedError("the client is stopped")
            raise
        finally:
            self._awaited[task] -= 1

    def _opened(self, way: Way, task: asyncio.Task[RudpPort | RatsError]) -> None:
        self._opening.pop(way, None)
        self._awaited.pop(task, None)

    async def let_go_unused(self) -> None:
        """Give back the allocations that nobody uses, and make none that nobody waits for: who wanted them is gone."""
        for task in [task for task in self._opening.values() if not self._awaited[task]]:
            task.cancel()
        lent = {one.allocation for one in self._lent}
        unused = [way for way, (port, allocation) in self._open.items() if not len(port) and allocation not in lent]
        held = [self._open.pop(way) for way in unused]
        for port, _ in held:
            port.close()
        if held:
            self._changed()
        await asyncio.gather(*(self._give_back(allocation) for _, allocation in held))

    async def _try_to_allocate(self, way: Way) -> RudpPort | RatsError:
        try:
            return await self._allocate(way)
        except RatsError as error:  # told to those who wait
            logger.debug("no relayed address from %r: %s", self.servers[way[0]], error)
            return error

    async def _allocate(self, way: Way) -> RudpPort:
        number, family = way
        carriers: list[RelayedCarrier] = []

        class Opener:
            """Makes the allocation where a network would open a port."""

            @staticmethod
            async def open_datagram(host: str = "", port: int = 0, *, receive: Receive, **options: Any) -> Any:
                carrier = RelayedCarrier(options["streams"], self._take_others)
                carriers.append(carrier)
                carrier.allocation = await TurnAllocation.open_as(
                    self.servers[number].through(self._settings().proxy),
                    ClientSettings(family=family, mobility=True, habits=self.habits),
                    receive=carrier.receive,
                    on_event=self._on_event,
                    timeout=self._settings().turn_allocation_timeout,
                )
                return carrier

        def left(address: Address) -> None:
            allocation = carriers[0].allocation
            allocation.drop_channel(address)
            if address.host not in {relayed.host for relayed in allocation.relayed_addresses}:
                allocation.drop_permission(address)

        port = await RudpPort.open(
            Opener,
            "",
            0,
            accept=self._accept,
            entropy=self._entropy,
            method=ConnectionMethod.RELAY,
            left=left,
            max_datagram=MAX_DATAGRAM,
        )
        allocation = carriers[0].allocation
        try:
            async with asyncio.timeout(self._settings().turn_allocation_timeout):
                await self._let_neighbours_in(allocation)
        except TimeoutError:
            logger.debug("%r is silent again; neighbours are let in when it is not", allocation)
        except BaseException:
            await allocation.close()
            raise
        self.habits.keep(port)
        self._open[way] = (port, allocation)
        self._failed.pop(number, None)
        self._changed()
        return port

    @staticmethod
    async def _let_neighbours_in(allocation: TurnAllocation) -> None:
        """Let others on the same server dial us, where it allows that."""
        with contextlib.suppress(TurnError, ClosedError):
            await allocation.create_permission(*(address.host for address in allocation.relayed_addresses))

    def _on_event(self, event: TurnEvent) -> None:
        if isinstance(event, TurnAllocated) and event.again:
            for _, allocation in self._open.values():
                if allocation.relayed_addresses == event.relayed:
                    self._tasks.create(self._let_neighbours_in(allocation), name="librats TURN permission")
            self._changed()

    def suspect(self) -> None:
        """Hear that nothing comes through a relayed address: this host may have another address than the server knows.

        Allocations for which the server has given a ticket (RFC 8016) go on from where this host is now, with the same
        relayed addresses. Of the others, those are made again to which the server does not answer.
        """
        for _, allocation in self._open.values():
            if allocation not in self._following:
                self._following.add(allocation)
                self._tasks.create(self._follow(allocation), name="librats TURN move")

    async def _follow(self, allocation: TurnAllocation) -> None:
        try:
            if allocation.is_movable or not await self._is_heard(allocation):
                await allocation.move()
        except RatsError as error:
            logger.debug("%r stays where it is: %s", allocation, error)
        finally:
            self._following.discard(allocation)

    @staticmethod
    async def _is_heard(allocation: TurnAllocation) -> bool:
        try:
            async with asyncio.timeout(SIGN_OF_LIFE):
                await allocation.refresh()
        except TimeoutError:
            return False
        return True

    async def lend(self) -> LentRelayPort:
        """Let an ICE agent use a relayed address, beside the streams.

        Raises:
            RatsError: There is no allocation to be had.
        """
        port = await self.open()
        lent = LentRelayPort(self._allocation(port), self._take_back)
        self._lent.append(lent)
        return lent

    def _take_back(self, lent: LentRelayPort) -> None:
        if lent in self._lent:
            self._lent.remove(lent)

    def _take_others(self, allocation: TurnAllocation, batch: list[tuple[bytes, Address]]) -> None:
        for data, address in batch:
            for lent in list(self._lent):
                if lent.allocation is allocation and lent.take(data, address):
                    break

    async def permit(self, address: Address) -> None:
        """Let whoever is at an IP address open streams to our relayed addresses.

        Args:
            address: Port 0 stands for every port; servers take none but their own ports on themselves.

        Raises:
            TurnError: A server forbids it.
            ClosedError: There is no relayed address, or not any more.
            UsageError: That is no IP address.
        """
        if not self._open:
            raise ClosedError("there is no relayed address")
        for _, allocation in list(self._open.values()):
            if address.port:
                await allocation.bind_channel(address)
            else:
                await allocation.create_permission(address.host)

    async def dial(self, factory: Callable[[], asyncio.BaseProtocol], address: Address) -> RudpTransport:
        """Open a stream from a relayed address, and give it to a protocol.

        Args:
            factory: Makes the protocol, once the stream is there.
            address: IP address and UDP port of the peer.

        Raises:
            OSError: The peer refused, or did not answer.
            RatsError: There is no allocation to be had, or the server forbids the peer.
        """
        number, port = await self._open_first("ipv6" if ":" in address.host else "ipv4")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._allocation(port).bind_channel(address)
            return await port.dial(factory, address, punch=True)
        except BaseException:
            if loop.time() - begun > SUSPECT_AFTER:
                self._note_failure(number)
            raise

    def _allocation(self, port: RudpPort) -> TurnAllocation:
        for each, allocation in self._open.values():
            if each is port:
                return allocation
        raise ClosedError("the client is stopped")

    async def close(self) -> None:
        """Give every allocation back, and let everything go. Idempotent."""
        self._closed = True
        for task in list(self._opening.values()):
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        held, self._open = list(self._open.values()), {}
        for port, _ in held:
            port.close()
        await asyncio.gather(*(self._give_back(allocation) for _, allocation in held))

    @staticmethod
    async def _give_back(allocation: TurnAllocation) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_TIME):
                await allocation.close()
