"""A node of the DHT at each of several addresses of this host (BEP 45), with the verbs of one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

from librats.config import DhtConfig
from librats.dht.addresses import IPV4_SIZE, compact, host_of
from librats.dht.events import DhtUnreachable
from librats.dht.items import Item
from librats.dht.siblings import Siblings
from librats.errors import ClosedError, ConfigError, DhtError, OperationTimeout, UsageError
from librats.runtime.datagrams import Origin
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet, end_all
from librats.runtime.udp import DatagramEndpoint
from librats.services.dht import STOPPED, DhtDriver
from librats.services.dht_driving.merging import merged, saved_ids, saved_nodes, together
from librats.services.dht_driving.reaching import Unanswered, family_of, resolved_within
from librats.services.dht_results import DhtNodeInfo
from librats.types import Address

__all__ = ["DhtAddresses"]

logger = logging.getLogger("librats.dht")

BETWEEN = 1.0
"""Seconds that one node has to get in, until the next of its family begins."""

GRACE = 1.0
"""Seconds for which those of one family are waited for that are still getting in, where those of the other are in."""

NODES_SHARED = 64
"""Nodes that one begins with which another one of this host knows."""

MOST_IDS = 512
"""Ids that are kept for addresses, also for those that this host has no more."""

Result = TypeVar("Result")


class _Place:
    """One address, its socket, and its node, which is None until it is its turn to begin."""

    def __init__(self, host: str) -> None:
        self.host = host_of(compact(host, 0))
        self.family = family_of(host)
        self.endpoint: DatagramEndpoint | None = None
        self.driver: DhtDriver | None = None

    def receive(self, batch: Sequence[tuple[bytes, Origin]]) -> None:
        if self.driver is not None:
            self.driver.receive(batch)


class DhtAddresses:
    """Several nodes of the DHT, each on a socket bound to an address of its own, used as one.

    To others they are nodes that have nothing to do with each other: see :class:`librats.dht.siblings.Siblings`. A
    lookup is done by one of them for each address family, by another one each time, since many at once would ask the
    same nodes for the same. An announcement is made from each, one after the other, and each begins with the nodes that
    the one before it has found.

    Args:
        network: Where the sockets are opened.
        tasks: Owner of its tasks.
        settings: How to take part, and at which addresses.
        saved: What :meth:`save`, or that of a :class:`librats.services.dht.DhtDriver`, has returned in an earlier run.
        on_event: Called with a :class:`~librats.DhtUnreachable` where no address reaches anybody.
    """

    def __init__(
        self,
        *,
        network: Network,
        tasks: TaskSet,
        settings: DhtConfig,
        saved: object = None,
        on_event: Callable[[DhtUnreachable], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._network = network
        self._tasks = tasks
        self._settings = settings
        self._saved: dict[Any, Any] = saved if isinstance(saved, dict) else {}
        self._ids = saved_ids(self._saved)
        self._on_event = on_event
        self._siblings = Siblings(network.entropy, count=len(settings.addresses))
        self._places: list[_Place] = []
        self._getting_in: list[asyncio.Task[None]] = []
        self._turn = 0
        self._is_told = False
        self._is_closed = False
        self.changed: Callable[[], object] = lambda: None
        """Called now and then while nodes are known, which may be others than before."""

    # Life

    async def start(self) -> bool:
        """Begin to get in, and wait until somebody has answered at one of the addresses.

        Returns:
            True once somebody has; False where nobody has in time at any of them. They go on trying.

        Raises:
            ClosedError: It was closed, before or meanwhile.
            ConfigError: There is a socket at none of the addresses.
        """
        await self.begin()
        waits = [self._loop.create_task(driver.start(), name="librats waits for the DHT") for driver in self._drivers()]
        try:
            while waits:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if any(wait.exception() is None and wait.result() for wait in done):
                    return True
                waits = [wait for wait in waits if wait not in done]
        finally:
            await end_all(waits)
        if self._is_closed:
            raise ClosedError(STOPPED)
        return self.is_reachable

    async def begin(self) -> None:
        """Open the sockets and begin to get in; wait for nobody. An address that cannot be had is told as a warning.

        Raises:
            ClosedError: It was closed, before or meanwhile.
            ConfigError: There is a socket at none of the addresses.
        """
        if self._places:
            return
        problems = []
        for host in self._settings.addresses:
            place = _Place(host)
            try:
                place.endpoint = await self._network.open_datagram(
                    host, self._settings.port or 0, receive=place.receive
                )
            except ConfigError as error:
                logger.warning("no node of the DHT at %s: %s", host, error)
                problems.append(str(error))
                continue
            self._siblings.bind(compact(host, place.endpoint.local_address.port))
            self._places.append(place)
            if self._is_closed:
                await self.close()
                raise ClosedError(STOPPED)
        if not self._places:
            raise ConfigError("dht.addresses", f"there is a socket at none of them: {'; '.join(problems)}")
        for places in self._by_family():
            await self._begin_at(places[0])
            self._getting_in.append(
                self._tasks.create(self._get_in(places), name=f"librats enters the DHT at {len(places)} addresses")
            )

    async def _begin_at(self, place: _Place) -> None:
        if place.endpoint is None:
            raise ClosedError(STOPPED)
        driver = DhtDriver(
            place.endpoint,
            network=self._network,
            tasks=self._tasks,
            settings=self._settings,
            saved=self._saved_for(place),
            on_event=self._unreachable,
            siblings=self._siblings,
        )
        driver.changed = self._known
        await driver.begin()
        if self._is_closed:
            await driver.close()
            raise ClosedError(STOPPED)
        place.driver = driver

    async def _get_in(self, places: Sequence[_Place]) -> None:
        """Begin at one address of a family after the other: at once they would all ask the same nodes."""
        for place in places:
            if place.driver is None:
                await self._begin_at(place)
            if place.driver is not None:
                await self._settled([place.driver], BETWEEN)

    async def _settled(self, drivers: Iterable[DhtDriver], seconds: float) -> None:
        """Wait until each has got in or has told that it cannot, or the time is up."""
        waits = [self._loop.create_task(driver.start(), name="librats waits for the DHT") for driver in drivers]
        try:
            if waits:
                await asyncio.wait(waits, timeout=seconds)
        finally:
            await end_all(waits)

    def _saved_for(self, place: _Place) -> dict[str, object]:
        """Return what a node begins with: its own id of an earlier run, and nodes."""
        ids = self._ids
        name = "id" if place.family == IPV4_SIZE else "id6"
        own_id = ids.get(place.host)
        if own_id is None and not any(each.driver for each in self._places if each.family == place.family):
            # The first one goes on as the only one did, before there were several.
            own_id = self._saved.get(name)
            own_id = None if own_id in ids.values() else own_id
        known = chain.from_iterable(saved_nodes(driver.save())[:NODES_SHARED] for driver in self._drivers())
        return {name: own_id, "nodes": list(dict.fromkeys([*known, *saved_nodes(self._saved)]))}

    def _known(self) -> None:
        """Take note that a node knows others."""
        self._is_told = False
        self.changed()

    def _unreachable(self, event: DhtUnreachable) -> None:
        """Tell that nobody answers, once that holds for every address."""
        have_begun = all(places[0].driver is not None for places in self._by_family())
        if have_begun and not self._is_told and all(driver.reason for driver in self._drivers()):
            self._is_told = True
            self._on_event(event)

    async def close(self) -> None:
        """Answer nobody any more, end every verb that waits, and close the sockets. Idempotent."""
        self._is_closed = True
        getting_in, self._getting_in = self._getting_in, []
        await end_all(getting_in)
        for place in self._places:
            if place.driver is not None:
                await place.driver.close()
            if place.endpoint is not None:
                place.endpoint.close()

    # Whom to ask

    def _drivers(self) -> list[DhtDriver]:
        return [place.driver for place in self._places if place.driver is not None]

    def _by_family(self) -> list[list[_Place]]:
        families = dict.fromkeys(place.family for place in self._places)
        return [[place for place in self._places if place.family == family] for family in families]

    def _running(self) -> list[DhtDriver]:
        if self._is_closed:
            raise ClosedError(STOPPED)
        drivers = self._drivers()
        if not drivers:
            raise UsageError("the DHT is not running: start it first")
        return drivers

    async def _in_turn(self) -> list[list[DhtDriver]]:
        """Return the nodes that can do something, by family, in the order in which it is their turn.

        Those that reach nobody are left out where others reach somebody.
        """
        self._running()
        self._turn += 1
        families = [[place.driver for place in places if place.driver] for places in self._by_family()]
        waiting = [drivers[:1] for drivers in families if not any(one.is_reachable or one.reason for one in drivers)]
        if waiting and self.is_reachable:
            await self._settled(chain.from_iterable(waiting), GRACE)
        if self.is_reachable:
            families = [[driver for driver in drivers if driver.is_reachable] for drivers in families]
        self._running()
        turns = [(drivers, self._turn % len(drivers)) for drivers in families if drivers]
        return [drivers[turn:] + drivers[:turn] for drivers, turn in turns]

    async def _by_one_of_each_family(self, verb: Callable[[DhtDriver], Awaitable[Result]]) -> list[Result]:
        """Have something done by one node of each family, and return what has come of it in those where it worked."""

        async def of_family(drivers: Sequence[DhtDriver]) -> Result:
            for driver in drivers[:-1]:
                try:
                    return await verb(driver)
                except Unanswered as error:
                    logger.debug("by another address: %s", error)
            return await verb(drivers[-1])

        return merged(
            await asyncio.gather(*[of_family(drivers) for drivers in await self._in_turn()], return_exceptions=True)
        )

    # Verbs

    async def find_nodes(self, target: bytes, *, timeout: float | None = None) -> list[DhtNodeInfo]:
        """Return the nodes nearest to a target; see :meth:`librats.services.dht.DhtDriver.find_nodes`."""
        found = await self._by_one_of_each_family(lambda driver: driver.find_nodes(target, timeout=timeout))
        return list(chain.from_iterable(found))

    async def find_peers(
        self, info_hash: bytes, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        """Return the peers that announced a hash; see :meth:`librats.services.dht.DhtDriver.find_peers`."""
        found = await self._by_one_of_each_family(
            lambda driver: driver.find_peers(info_hash, enough=enough, timeout=timeout)
        )
        return list(dict.fromkeys(chain.from_iterable(found)))

    async def get(self, target: bytes, *, salt: bytes = b"", timeout: float | None = None) -> Item | None:
        """Return the newest item at a target; see :meth:`librats.services.dht.DhtDriver.get`."""
        found = await self._by_one_of_each_family(lambda driver: driver.get(target, salt=salt, timeout=timeout))
        return max((item for item in found if item is not None), key=lambda item: item.sequence, default=None)

    async def put(self, item: Item, *, compare: int | None = None, timeout: float | None = None) -> int:
        """Store an item, and return how many nodes took it; see :meth:`librats.services.dht.DhtDriver.put`."""
        return sum(await self._by_one_of_each_family(lambda driver: driver.put(item, compare=compare, timeout=timeout)))

    async def announce(
        self, info_hash: bytes, port: int | None = None, *, is_seed: bool = False, timeout: float | None = None
    ) -> int:
        """Announce this host under a hash from each address, and return how many nodes have taken it, of all together.

        Args:
            info_hash: 20 bytes.
            port: The port to announce, 1 to 65535; None for the one that others see each socket at.
            is_seed: Whether we have everything (BEP 33).
            timeout: Seconds for everything; the configured ``lookup_timeout`` where it is None. Where they end before
                it was the turn of each address, the next announcement begins at another one.

        Raises:
            DhtError: No node has answered, or none has taken it, at any address.
            OperationTimeout: The time is up, and none has taken it so far.
            UsageError: The hash has not 20 bytes, there is no such port, or this is not running.
        """
        seconds = self._settings.lookup_timeout if timeout is None else timeout
        stored: list[int] = []

        async def from_each(drivers: Sequence[DhtDriver]) -> int:
            known: list[tuple[bytes, bytes]] = []
            problems: list[DhtError | OperationTimeout] = []
            taken = 0
            for driver in drivers:
                try:
                    finished = await driver.announce_near(known, info_hash, port, is_seed=is_seed, timeout=seconds)
                except (DhtError, OperationTimeout) as error:
                    problems.append(error)
                    continue
                known = [(node.node_id, node.address) for node in finished.nodes]
                taken += finished.stored
                stored.append(finished.stored)
            if not taken:
                raise problems[0]
            return taken

        try:
            async with asyncio.timeout(seconds):
                if self._getting_in:
                    # What is announced now is announced again only after minutes.
                    await asyncio.wait(self._getting_in, timeout=seconds / 2)
                families = await self._in_turn()
                return sum(merged(await asyncio.gather(*map(from_each, families), return_exceptions=True)))
        except TimeoutError:
            if not stored:
                raise OperationTimeout(f"announcing took longer than {seconds:g} s") from None
            return sum(stored)

    async def ping(self, address: Address, *, timeout: float | None = None) -> DhtNodeInfo:
        """Ask one node whether it is there; see :meth:`librats.services.dht.DhtDriver.ping`."""
        seconds = self._settings.lookup_timeout if timeout is None else timeout
        families = {drivers[0].families[0]: drivers[0] for drivers in await self._in_turn()}
        for resolved in await resolved_within(self._network, address, seconds):
            driver = families.get(family_of(resolved.host))
            if driver is not None:
                return await driver.ping(resolved, timeout=seconds)
        raise DhtError(f"there is no way from here to {address}")

    # How it is

    @property
    def node_id(self) -> bytes:
        """The id of the node at the first address, 20 bytes.

        Raises:
            UsageError: This is not running.
        """
        return self._running()[0].node_id

    @property
    def is_running(self) -> bool:
        """True once it has begun, until it is closed."""
        return not self._is_closed and any(driver.is_running for driver in self._drivers())

    @property
    def is_reachable(self) -> bool:
        """True while a node is known, at any address, that has answered."""
        return any(driver.is_reachable for driver in self._drivers())

    def save(self) -> dict[str, object]:
        """Return the id at each address and the nodes that are known, for ``saved`` of the next run.

        Raises:
            UsageError: This is not running.
        """
        saved = [driver.save() for driver in self._running()]
        known = chain.from_iterable(zip_longest(*map(saved_nodes, saved)))
        ids = {place.host: place.driver.node_id for place in self._places if place.driver is not None}
        for host, own_id in self._ids.items():
            if len(ids) < MOST_IDS and own_id not in ids.values():
                ids.setdefault(host, own_id)
        kept = {name: self._saved.get(name) or saved[0][name] for name in ("id", "id6")}
        return {**kept, "nodes": [node for node in dict.fromkeys(known) if node is not None], "addresses": ids}

    def statistics(self) -> dict[str, Any]:
        """Return numbers: those of all nodes together, and under ``addresses`` those of each.

        Raises:
            UsageError: This is not running.
        """
        self._running()
        each = {
            str(place.endpoint.local_address): {"node id": place.driver.node_id.hex(), **place.driver.statistics()}
            for place in self._places
            if place.driver is not None and place.endpoint is not None
        }
        return {**together(each.values()), "addresses": each}
