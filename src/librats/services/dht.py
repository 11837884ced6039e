"""The driver of a node of the DHT: its verbs as coroutines, over a socket that it shares or has for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from librats.config import DhtConfig
from librats.dht.addresses import PORT_SIZE, address_of, compact
from librats.dht.events import DhtUnreachable
from librats.dht.items import Item
from librats.dht.lookup import Found
from librats.dht.node import DhtNode
from librats.dht.node_ids import ID_SIZE
from librats.dht.operations import Finished
from librats.dht.siblings import Siblings
from librats.dht.tables import Tables
from librats.errors import ClosedError, DhtError, OperationTimeout, UsageError
from librats.runtime.datagrams import Origin
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.services.dht_driving.bootstrap import Bootstrap
from librats.services.dht_driving.merging import saved_nodes
from librats.services.dht_driving.reaching import Unanswered, families_of, resolved_within
from librats.services.dht_driving.traffic import DatagramSender, DhtTraffic
from librats.services.dht_results import DhtNodeInfo
from librats.types import Address

__all__ = ["DhtDriver"]

VERSION = b"RP\0\1"
"""Our software, as messages tell it (BEP 5)."""

REMEMBERED = 16
"""Nodes that are asked again once all are lost."""

SAVED_AT_LEAST = 64
"""Nodes that are saved, those of earlier runs among them where no more are known now."""

OWN_PEERS = 200
"""Peers of one hash that are taken from what this node keeps for others."""

STOPPED = "the DHT was stopped"

Begin = Callable[[DhtNode, float], int]


class DhtDriver:
    """A node of the DHT on a socket: it gets in by itself, and back in when it has lost everybody.

    It knows nothing of peers or sessions. Every verb begins when the node has got in, or when it was told that it
    cannot; cancelling one cancels what it has begun.

    Args:
        endpoint: The socket, which stays its owner's; hand what comes to :meth:`receive`.
        network: Where names are looked up, and where random values come from.
        tasks: Owner of its tasks.
        settings: How to take part.
        saved: What :meth:`save` has returned in an earlier run; what is not right in it is left out.
        on_event: Called with each :class:`~librats.DhtUnreachable`.
        siblings: The nodes of this host, where it has one at each of several addresses.
    """

    def __init__(
        self,
        endpoint: DatagramSender,
        *,
        network: Network,
        tasks: TaskSet,
        settings: DhtConfig,
        saved: object = None,
        on_event: Callable[[DhtUnreachable], object],
        siblings: Siblings | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._network = network
        self._tasks = tasks
        self._settings = settings
        self._saved = saved
        self._saved_nodes = Tables.load(saved)[1]
        self._on_event = on_event
        self._siblings = siblings
        self._families: tuple[int, ...] = ()
        self._node: DhtNode | None = None
        self._traffic: DhtTraffic | None = None
        self._bootstrap: Bootstrap | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._outcomes: dict[int, asyncio.Future[Finished]] = {}
        self._starting = asyncio.Lock()
        self._is_closed = False
        self.changed: Callable[[], object] = lambda: None
        """Called now and then while the node knows others, who may be others than before."""

    async def start(self) -> bool:
        """Begin to get in, and wait until somebody has answered.

        Returns:
            True once somebody has; False where nobody has in time, which an event has told with the reason. It goes on
            trying by itself.

        Raises:
            ClosedError: It was closed, before or meanwhile.
        """
        await self.begin()
        bootstrap = self._bootstrap
        return bootstrap is not None and await bootstrap.first()

    async def begin(self) -> None:
        """Begin to get in, and wait for nobody.

        Raises:
            ClosedError: It was closed, before or meanwhile.
        """
        async with self._starting:
            if self._node is None:
                hosts = await self._network.interface_addresses()
                if self._is_closed:
                    raise ClosedError(STOPPED)
                self._begin(hosts)

    def _begin(self, hosts: Sequence[str]) -> None:
        settings = self._settings
        self._families = families_of(self._endpoint.local_addresses, hosts)
        node = self._node = DhtNode(
            self._network.entropy,
            now=self._loop.time(),
            saved=self._saved,
            families=self._families,
            read_only=settings.read_only,
            require_bound=settings.require_bound,
            version=VERSION,
            siblings=self._siblings,
        )
        bootstrap = self._bootstrap = Bootstrap(
            settings.bootstrap_addresses,
            self._network,
            saved=sum(len(address) in self._families for _, address in self._saved_nodes),
            ask=self._ask,
            is_in=lambda: len(node.tables) > 0,
            remember=self._remember,
            unreachable=lambda reason: self._on_event(DhtUnreachable(reason)),
            place="" if self._siblings is None else self._endpoint.local_addresses[0].host,
        )
        self._traffic = DhtTraffic(node, self._endpoint, self._tasks, self._stepped)
        self._keeper = self._tasks.create(bootstrap.run(), name="librats stays in the DHT")
        self._traffic.flush()

    def _ask(self, addresses: Sequence[Address]) -> list[Address]:
        """Have nodes asked to begin with; return those of the families that there are."""
        if self._is_closed:
            return []
        node, traffic = self._running()
        compacted = {self._reachable(address): address for address in addresses}
        compacted.pop(b"", None)
        node.add_bootstrap(compacted, now=self._loop.time())
        traffic.flush_soon()
        return list(compacted.values())

    def _reachable(self, address: Address) -> bytes:
        """Return the compact form of an address; empty where it is of a family that there is not."""
        compacted = compact(address.host, address.port)
        return compacted if len(compacted) in self._families else b""

    def _remember(self) -> list[Address]:
        nodes = self._known()[:REMEMBERED]
        self.changed()
        return [address_of(node[ID_SIZE:]) for node in nodes]

    def _known(self) -> list[bytes]:
        return saved_nodes(self._running()[0].save())

    def _running(self) -> tuple[DhtNode, DhtTraffic]:
        if self._is_closed:
            raise ClosedError(STOPPED)
        if self._node is None or self._traffic is None:
            raise UsageError("the DHT is not running: start it first")
        return self._node, self._traffic

    # What comes

    def receive(self, batch: Sequence[tuple[bytes, Origin]]) -> None:
        """Take datagrams that have come to the socket and are of the DHT."""
        if self._traffic is not None:
            self._traffic.receive(batch)

    def _stepped(self) -> None:
        node, bootstrap = self._node, self._bootstrap
        if node is None or bootstrap is None:
            return
        while (finished := node.next_event()) is not None:
            waiting = self._outcomes.pop(finished.number, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(finished)
        bootstrap.changed()

    # Verbs

    async def _outcome(self, begin: Begin, timeout: float | None, what: str) -> Finished:
        """Begin something, and wait until it has come to its end.

        Raises:
            OperationTimeout: That takes too long.
            ClosedError: The driver was closed meanwhile.
        """
        node, traffic = self._running()
        seconds = self._settings.lookup_timeout if timeout is None else timeout
        number = 0
        try:
            async with asyncio.timeout(seconds):
                if self._bootstrap is not None:
                    await self._bootstrap.first()
                node, traffic = self._running()
                number = begin(node, self._loop.time())
                outcome: asyncio.Future[Finished] = self._loop.create_future()
                self._outcomes[number] = outcome
                traffic.flush_soon()
                return await outcome
        except TimeoutError:
            raise OperationTimeout(f"{what} took longer than {seconds:g} s") from None
        finally:
            self._outcomes.pop(number, None)
            node.cancel(number)

    async def _answered(self, begin: Begin, timeout: float | None, what: str) -> Finished:
        """The same, of a lookup.

        Raises:
            DhtError: No node has answered.
        """
        finished = await self._outcome(begin, timeout, what)
        if not finished.nodes:
            reason = self._bootstrap.reason if self._bootstrap is not None else ""
            asked = f"none of {finished.asked} nodes that were asked" if finished.asked else "no node is known that can"
            raise Unanswered(f"{what}: {reason or asked + ' answer'}")
        return finished

    async def find_nodes(self, target: bytes, *, timeout: float | None = None) -> list[DhtNodeInfo]:
        """Return the nodes nearest to a target.

        Args:
            target: 20 bytes.
            timeout: Seconds for everything; the configured ``lookup_timeout`` where it is None.

        Raises:
            DhtError: No node has answered.
            OperationTimeout: The time is up.
            UsageError: The target has not 20 bytes, or the driver is not running.
        """
        finished = await self._answered(lambda node, now: node.find_nodes(target, now=now), timeout, "finding nodes")
        return [_info(found) for found in finished.nodes]

    async def find_peers(
        self, info_hash: bytes, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        """Return the peers that announced a hash, those included that this node keeps for others.

        Args:
            info_hash: 20 bytes.
            enough: End when that many were found; None looks for as many as there are.
            timeout: Seconds for everything; the configured ``lookup_timeout`` where it is None.

        Raises:
            DhtError: No node has answered, and this one knows of nobody.
            OperationTimeout: The time is up.
            UsageError: The hash has not 20 bytes, ``enough`` is below 1, or the driver is not running.
        """
        try:
            finished = await self._answered(
                lambda node, now: node.find_peers(info_hash, now=now, enough=enough), timeout, "finding peers"
            )
        except DhtError:
            own = self._own_peers(info_hash)
            if not own:
                raise
            return own
        found = [address_of(peer) for peer in finished.peers]
        return list(dict.fromkeys([*found, *self._own_peers(info_hash)]))

    def _own_peers(self, info_hash: bytes) -> list[Address]:
        """Return the peers that have announced themselves to this very node, which lookups do not ask."""
        kept, now = self._running()[0].answerer.peers, self._loop.time()
        return [
            address_of(peer)
            for size in self._families
            for peer in kept.peers(info_hash, now=now, host_size=size - PORT_SIZE, count=OWN_PEERS)
        ]

    async def announce(
        self, info_hash: bytes, port: int | None = None, *, is_seed: bool = False, timeout: float | None = None
    ) -> int:
        """Announce this host under a hash, and return how many nodes have taken it, one for each address family.

        Args:
            info_hash: 20 bytes.
            port: The port to announce, 1 to 65535; None for the one that others see the socket at.
            is_seed: Whether we have everything (BEP 33).
            timeout: Seconds for everything; the configured ``lookup_timeout`` where it is None.

        Raises:
            DhtError: No node has answered, or none has taken it.
            OperationTimeout: The time is up.
            UsageError: The hash has not 20 bytes, there is no such port, or the driver is not running.
        """
        return (await self.announce_near((), info_hash, port, is_seed=is_seed, timeout=timeout)).stored

    async def announce_near(
        self,
        known: Iterable[tuple[bytes, bytes]],
        info_hash: bytes,
        port: int | None = None,
        *,
        is_seed: bool = False,
        timeout: float | None = None,
    ) -> Finished:
        """Announce this host, as :meth:`announce` does, and return all that has come of it.

        Args:
            known: Id and compact address of nodes near to the hash, which are asked first.
            info_hash: See :meth:`announce`, also for the others, and for the errors.
            port: The port to announce.
            is_seed: Whether we have everything.
            timeout: Seconds for everything.
        """
        what = "announcing"
        finished = await self._answered(
            lambda node, now: node.announce(info_hash, port, now=now, is_seed=is_seed, known=known), timeout, what
        )
        return _taken(finished, what)

    async def get(self, target: bytes, *, salt: bytes = b"", timeout: float | None = None) -> Item | None:
        """Return the newest valid item that is kept at a target (BEP 44); None where there is none.

        Args:
            target: 20 bytes.
            salt: Salt of a mutable item.
            timeout: Seconds for everything; the configured ``lookup_timeout`` where it is None.

        Raises:
            DhtError: No node has answered, and this one does not keep it.
            OperationTimeout: The time is up.
            UsageError: The target has not 20 bytes, or the driver is not running.
        """
        try:
            finished = await self._answered(
                lambda node, now: node.get(target, now=now, salt=salt), timeout, "getting a value"
            )
        except DhtError:
            own = self._own_item(target)
            if own is None:
                raise
            return own
        items = [item for item in (finished.item, self._own_item(target)) if item is not None]
        return max(items, key=lambda item: item.sequence, default=None)

    def _own_item(self, target: bytes) -> Item | None:
        return self._running()[0].answerer.items.get(target, now=self._loop.time())

    async def put(self, item: Item, *, compare: int | None = None, timeout: float | None = None) -> int:
        """Store an item with the nodes nearest to its target (BEP 44), and return how many have taken it.

        Args:
            item: What to store.
            compare: The sequence number that is to be replaced; None for any.
            timeout: Seconds for everything; the configured ``lookup_timeout`` where it is None.

        Raises:
            DhtError: No node has answered, or none has taken it, because a newer one is there for example.
            KrpcError: The item breaks a rule: those of :meth:`librats.dht.items.Item.check`.
            OperationTimeout: The time is up.
            UsageError: The driver is not running.
        """
        what = "storing a value"
        finished = await self._answered(lambda node, now: node.put(item, now=now, compare=compare), timeout, what)
        return _taken(finished, what).stored

    async def ping(self, address: Address, *, timeout: float | None = None) -> DhtNodeInfo:
        """Ask one node whether it is there.

        Args:
            address: Its host name or IP address, and port.
            timeout: Seconds for everything; the configured ``lookup_timeout`` where it is None.

        Raises:
            OperationTimeout: It does not answer.
            DhtError: It answers with an error, or there is no way to such an address.
            UsageError: The driver is not running.
        """
        self._running()
        seconds = self._settings.lookup_timeout if timeout is None else timeout
        resolved = await resolved_within(self._network, address, seconds)
        target = next(filter(None, map(self._reachable, resolved)), b"")
        if not target:
            raise DhtError(f"there is no way from here to {address}")
        began = self._loop.time()
        finished = await self._outcome(lambda node, now: node.ping(target, now=now), seconds, f"a ping to {address}")
        if not finished.nodes:
            if finished.refusals:
                raise DhtError(f"{address} answers with an error: {_words(finished)}")
            raise OperationTimeout(f"no answer from {address}")
        return _info(finished.nodes[0], self._loop.time() - began)

    # How it is

    @property
    def node_id(self) -> bytes:
        """The node's id, 20 bytes.

        Raises:
            UsageError: The driver is not running.
        """
        return self._running()[0].node_id

    @property
    def is_running(self) -> bool:
        """True once it has begun, until it is closed."""
        return self._node is not None and not self._is_closed

    @property
    def is_reachable(self) -> bool:
        """True while a node is known that has answered."""
        return self._node is not None and not self._is_closed and len(self._node.tables) > 0

    @property
    def reason(self) -> str:
        """Why nobody answers; empty while somebody does, and before that was found out."""
        return "" if self._bootstrap is None else self._bootstrap.reason

    @property
    def families(self) -> tuple[int, ...]:
        """Sizes of the addresses that it can reach: 6 for IPv4, 18 for IPv6; none before it has begun."""
        return self._families

    def save(self) -> dict[str, object]:
        """Return the node's ids and the nodes that are known, for ``saved`` of the next run; bencode can write it.

        Raises:
            UsageError: The driver is not running.
        """
        node = self._running()[0]
        known = self._known()
        if len(known) < SAVED_AT_LEAST:
            # A run that found nobody is not to lose those of the run before.
            earlier = (node_id + address for node_id, address in self._saved_nodes)
            known = list(dict.fromkeys([*known, *earlier]))[:SAVED_AT_LEAST]
        return {**node.save(), "nodes": known}

    def statistics(self) -> dict[str, Any]:
        """Return numbers: those of the node, and of the datagrams that have come and gone.

        Raises:
            UsageError: The driver is not running.
        """
        node, traffic = self._running()
        return {
            "reachable": self.is_reachable,
            "datagrams received": traffic.received,
            "datagrams sent": traffic.sent,
            "dropped, too many at once": traffic.dropped_in,
            "dropped, no room to send": traffic.dropped_out,
            **node.statistics(),
        }

    async def close(self) -> None:
        """Answer nobody any more, and end every verb that waits. The socket stays open. Idempotent."""
        self._is_closed = True
        for outcome in self._outcomes.values():
            if not outcome.done():
                outcome.set_exception(ClosedError(STOPPED))
        self._outcomes.clear()
        if self._bootstrap is not None:
            self._bootstrap.settle()
        if self._traffic is not None:
            self._traffic.close()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])


def _info(found: Found, rtt: float | None = None) -> DhtNodeInfo:
    return DhtNodeInfo(node_id=found.node_id, address=address_of(found.address), rtt=rtt)


def _words(finished: Finished) -> str:
    return "; ".join(dict.fromkeys(f"{code} {words}" for code, words in finished.refusals))


def _taken(finished: Finished, what: str) -> Finished:
    """Return what has come of storing something.

    Raises:
        DhtError: None has.
    """
    if not finished.stored:
        raise DhtError(f"{what}: no node takes it: {_words(finished) or 'none has answered'}")
    return finished
