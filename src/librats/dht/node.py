"""A node of the DHT (BEP 5): answers queries, runs lookups, and keeps its table fresh. Datagrams and the time go in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from librats._core import krpc, krpc_writer
from librats._core.krpc import KrpcMessage
from librats.dht.addresses import IPV4_SIZE, IPV6_SIZE
from librats.dht.answering import ANNOUNCE_PEER, FIND_NODE, GET, GET_PEERS, PING, PUT, Answerer
from librats.dht.beginning import LONGEST_PAUSE, Beginning
from librats.dht.items import Item
from librats.dht.lookup import Lookup, Wanted
from librats.dht.node_ids import ID_SIZE
from librats.dht.operations import Finished, Operation
from librats.dht.own_address import OwnAddresses
from librats.dht.rates import Limits
from librats.dht.refreshing import REFRESH, Refreshing
from librats.dht.siblings import FEW_NODES, Siblings
from librats.dht.tables import Tables
from librats.dht.transactions import Query, Transactions
from librats.errors import BencodeError, KrpcError, UsageError
from librats.types import Entropy

__all__ = ["DhtNode"]

KNOWN_TO_BEGIN = 16
EXPIRE = 60.0
TICK = 5.0
HIGHEST_SEQUENCE = (1 << 63) - 1
BOTH_FAMILIES = (b"n4", b"n6")
METHODS = {Wanted.NODES: FIND_NODE, Wanted.PEERS: GET_PEERS, Wanted.ITEM: GET, Wanted.PLACES: GET}


class DhtNode:
    """A node of the DHT, as a machine: it touches no network, no clock and no randomness of its own.

    Give it every datagram with :meth:`receive_datagram`, call :meth:`handle_timer` when :meth:`next_timer` says so, and
    after each of both send what :meth:`datagrams_to_send` returns. Addresses are compact ones: see
    :func:`librats.dht.addresses.compact`.

    It has an id for each family of addresses. Where the nodes of enough networks say that others see us at an address
    to which that id is not bound, it takes another one that is (BEP 42), and what is under way goes on.

    Args:
        entropy: Where ids, tokens and targets come from.
        now: Seconds.
        saved: What :meth:`save` returned, our ids among it; what is not right in it is left out.
        bootstrap: Addresses of nodes to begin with.
        families: Sizes of the addresses that we have: 6 for IPv4, 18 for IPv6.
        read_only: Whether to answer no queries, and say so (BEP 43): for nodes that others cannot reach.
        require_bound: Whether only nodes count whose id is bound to their address (BEP 42).
        limits: What others may have of us.
        version: Our software, as messages tell it: two letters and two bytes.
        siblings: The nodes of this host, where it has one at each of several addresses (BEP 45).

    Raises:
        UsageError: There is no such family.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.node import DhtNode
        >>> from librats.testing.entropy import SeededEntropy
        >>> one, other = compact("192.0.2.1", 6881), compact("198.51.100.1", 6881)
        >>> asking = DhtNode(SeededEntropy(1), now=0.0, bootstrap=[other])
        >>> asked = DhtNode(SeededEntropy(2), now=0.0)
        >>> for data, _ in asking.datagrams_to_send():
        ...     asked.receive_datagram(data, one, now=0.1)
        >>> for data, _ in asked.datagrams_to_send():
        ...     asking.receive_datagram(data, other, now=0.2)
        >>> len(asking.tables)
        1
    """

    def __init__(
        self,
        entropy: Entropy,
        *,
        now: float,
        saved: object = None,
        bootstrap: Iterable[bytes] = (),
        families: tuple[int, ...] = (IPV4_SIZE,),
        read_only: bool = False,
        require_bound: bool = False,
        limits: Limits | None = None,
        version: bytes | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        if not families or not set(families) <= {IPV4_SIZE, IPV6_SIZE}:
            raise UsageError(f"families are {IPV4_SIZE} and {IPV6_SIZE}, not {families!r}")
        own_ids, self._saved_nodes = Tables.load(saved)
        own_id, own_id6 = (own_ids.get(size) or entropy.token_bytes(ID_SIZE) for size in (IPV4_SIZE, IPV6_SIZE))
        self.tables = Tables(own_id, own_id6=own_id6, require_bound=require_bound, siblings=siblings)
        self.answerer = Answerer(self.tables, entropy, now=now, limits=limits, version=version, siblings=siblings)
        self.transactions = Transactions(self.tables, entropy)
        self._own_addresses = OwnAddresses(families, entropy)
        self._refreshing = Refreshing(self.tables, families)
        self._entropy = entropy
        self._bootstrap = list(bootstrap)
        self._families = families
        self._siblings = siblings
        if siblings is not None:
            siblings.join(self.tables, families)
        self._read_only = read_only
        self._require_bound = require_bound
        self._version = version
        self._out: list[tuple[bytes, bytes]] = []
        self._events: deque[Finished] = deque()
        self._operations: dict[int, Operation] = {}
        self._next_number = 1
        self._pinged: set[bytes] = set()
        self._next_tick = now + TICK
        self._next_expiry = now + EXPIRE
        self._beginning = Beginning(now=now)
        self._beginnings: list[int] = []
        for saved_node, address in self._saved_nodes:
            if len(address) in families:
                self.tables.heard(saved_node, address, now=now, answered=False)
        self._begin(now)

    @property
    def node_id(self) -> bytes:
        """Our id in the first family."""
        return self.tables.own_ids[self._families[0]]

    @property
    def node_ids(self) -> dict[int, bytes]:
        """Our id in each family, by the size of its addresses."""
        return {size: self.tables.own_ids[size] for size in self._families}

    @property
    def external_addresses(self) -> dict[int, bytes]:
        """The compact address that others see us at, by its size; without families where it is not known yet."""
        return self._own_addresses.known

    def add_bootstrap(self, addresses: Iterable[bytes], *, now: float) -> None:
        """Add nodes to begin with; where no node is known, they are asked at once.

        Args:
            addresses: Compact addresses.
            now: Seconds.
        """
        self._bootstrap += [address for address in addresses if address not in self._bootstrap]
        if not len(self.tables):
            self._begin(now)

    def find_nodes(self, target: bytes, *, now: float) -> int:
        """Look for the nodes nearest to a target; return the number that ``Finished`` will have.

        Args:
            target: 20 bytes.
            now: Seconds.

        Raises:
            UsageError: The target has not 20 bytes.
        """
        return self._start(target, Wanted.NODES, now)

    def find_peers(self, info_hash: bytes, *, now: float, enough: int | None = None) -> int:
        """Look for peers that announced a hash; return the number that ``Finished`` will have.

        Args:
            info_hash: 20 bytes.
            now: Seconds.
            enough: End when that many were found; None looks for as many as there are.

        Raises:
            UsageError: The hash has not 20 bytes, or enough is below 1.
        """
        return self._start(info_hash, Wanted.PEERS, now, enough_peers=enough)

    def announce(
        self,
        info_hash: bytes,
        port: int | None,
        *,
        now: float,
        is_seed: bool = False,
        known: Iterable[tuple[bytes, bytes]] = (),
    ) -> int:
        """Look for the nodes nearest to a hash, and announce ourselves to them.

        Args:
            info_hash: 20 bytes.
            port: The port to announce, 1 to 65535; None for the one that others see our datagrams come from.
            now: Seconds.
            is_seed: Whether we have everything (BEP 33).
            known: Id and compact address of nodes to ask first, which are near to the hash as far as is known.

        Returns:
            The number that ``Finished`` will have; its ``peers`` are those that were announced before.

        Raises:
            UsageError: The hash has not 20 bytes, or there is no such port.
        """
        if port is not None and not 1 <= port <= 0xFFFF:  # noqa: PLR2004 - the last port
            raise UsageError(f"ports are 1 to 65535, not {port}")
        fields: dict[str, object] = {"info_hash": info_hash, "port": port or 1, "seed": is_seed}
        store = (ANNOUNCE_PEER, fields | {"implied_port": port is None})
        return self._start(info_hash, Wanted.PEERS, now, store=store, known=known)

    def get(self, target: bytes, *, now: float, salt: bytes = b"") -> int:
        """Look for an item (BEP 44); return the number that ``Finished`` will have.

        Args:
            target: 20 bytes: :attr:`librats.dht.items.Item.target`.
            now: Seconds.
            salt: Salt of a mutable item.

        Raises:
            UsageError: The target has not 20 bytes.
        """
        return self._start(target, Wanted.ITEM, now, salt=salt)

    def put(self, item: Item, *, now: float, compare: int | None = None) -> int:
        """Look for the nodes nearest to where an item belongs, and put it there (BEP 44).

        Args:
            item: What to put.
            now: Seconds.
            compare: The sequence number that is to be replaced (``cas``); None for any.

        Returns:
            The number that ``Finished`` will have.

        Raises:
            KrpcError: The item breaks a rule: those of :meth:`librats.dht.items.Item.check`.
        """
        item.check()
        return self._start(item.target, Wanted.PLACES, now, store=(PUT, item.fields(compare)))

    def ping(self, address: bytes, *, now: float) -> int:
        """Ask a node whether it is there; return the number that ``Finished`` will have, with the node or none.

        Args:
            address: Its compact address.
            now: Seconds.
        """
        operation = Operation(self._next_number, b"", [], is_ours=False, is_storing=True, storing=1)
        self._operations[operation.number] = operation
        self._next_number += 1
        self._ask(PING, address, None, operation, now)
        return operation.number

    def cancel(self, number: int) -> None:
        """Give up what was begun; there will be no ``Finished``. Of one that is not there, nothing happens.

        Args:
            number: What the method returned that began it.
        """
        self._operations.pop(number, None)

    def receive_datagram(self, data: bytes, source: bytes, *, now: float) -> None:
        """Take a datagram; what is none of the DHT is counted and dropped.

        Args:
            data: The datagram.
            source: Compact address that it came from.
            now: Seconds.
        """
        try:
            message = krpc.parse(data)
        except (BencodeError, KrpcError):
            self.answerer.counts["malformed"] += 1
            return
        if message.kind == krpc.QUERY:
            if not self._read_only:
                self._send(self.answerer.answer(message, len(data), source, now=now), source)
                for address in self.answerer.take_to_prove():
                    self._ping(address, None, now)
            return
        query = self.transactions.answered(message, source, now=now)
        if query is None:
            return
        self._pinged.discard(source)
        if message.seen_as is not None:
            self._own_addresses.told(message.seen_as, source, now=now)
        self._send(self.answerer.prove(source, now=now), source)
        self._settle(query, message, now)

    def handle_timer(self, *, now: float) -> None:
        """Do what is due: give up on nodes that do not answer, ping, refresh, forget.

        Args:
            now: Seconds.
        """
        for query in self.transactions.handle_timer(now=now):
            if self.transactions.is_under_way(query):
                if isinstance(query.context, tuple):
                    query.context[1].late(query.address)
                    self._advance(query.context[0], now)
            else:
                self._pinged.discard(query.address)
                self._settle(query, None, now)
        if now >= self._next_tick:
            self._next_tick = now + TICK
            self._keep_fresh(now)

    def next_timer(self) -> float:
        """Return when :meth:`handle_timer` is due, in seconds."""
        due = self.transactions.next_timer()
        return self._next_tick if due is None else min(due, self._next_tick)

    def datagrams_to_send(self) -> list[tuple[bytes, bytes]]:
        """Return datagrams and the compact addresses that they go to; each once."""
        out, self._out = self._out, []
        return out

    def next_event(self) -> Finished | None:
        """Return what has come to its end, or None."""
        return self._events.popleft() if self._events else None

    def save(self) -> dict[str, object]:
        """Return our id and the nodes that we know, for ``saved``; bencode can write it."""
        return self.tables.save()

    def statistics(self) -> dict[str, int]:
        """Return numbers: nodes, spares, what is kept and under way, and how often what happened."""
        tables = self.tables.by_size
        return {
            "nodes": len(tables[IPV4_SIZE]),
            "nodes6": len(tables[IPV6_SIZE]),
            "spares": sum(table.spares for table in tables.values()),
            "hashes": len(self.answerer.peers),
            "items": len(self.answerer.items),
            "operations": len(self._operations),
            "under way": len(self.transactions),
            **{f"answering: {name}": count for name, count in self.answerer.counts.items()},
            **{f"asking: {name}": count for name, count in self.transactions.counts.items()},
        }

    def _send(self, data: bytes | None, address: bytes) -> None:
        if data is not None:
            self._out.append((data, address))

    def _ask(
        self, method: int, address: bytes, node_id: bytes | None, context: object, now: float, **fields: object
    ) -> None:
        query = self.transactions.begin(address, now=now, node_id=node_id, context=context)
        written = krpc_writer.query(
            method,
            query.transaction_id,
            self.tables.own_ids[len(address)],
            read_only=self._read_only,
            version=self._version,
            **fields,  # type: ignore[arg-type] # fields of several types, by name
        )
        self._out.append((written, address))

    def _ping(self, address: bytes, node_id: bytes | None, now: float) -> None:
        if address not in self._pinged:
            self._pinged.add(address)
            self._ask(PING, address, node_id, None, now)

    def _start(
        self,
        target: bytes,
        wanted: Wanted,
        now: float,
        *,
        salt: bytes = b"",
        enough_peers: int | None = None,
        store: tuple[int, dict[str, object]] | None = None,
        known: Iterable[tuple[bytes, bytes]] = (),
        family: int | None = None,
    ) -> int:
        """Begin what is asked of us, or, in one family, what we do for ourselves."""
        lookups = []
        for size in self._families if family is None else (family,):
            lookup = Lookup(
                target,
                wanted,
                address_size=size,
                enough_peers=enough_peers,
                salt=salt,
                require_bound=self._require_bound,
                is_ours=self.tables.is_ours,
            )
            nearest = self.tables.nearest(target, size, KNOWN_TO_BEGIN)
            lookup.add_known([*known, *nearest])
            if len(nearest) < FEW_NODES:
                lookup.add_known(node for node in self._saved_nodes if len(node[1]) == size)
                lookup.add_known((None, address) for address in self._bootstrap if len(address) == size)
            lookups.append(lookup)
        operation = Operation(self._next_number, target, lookups, family is not None)
        if store is not None:
            operation.store_method, operation.store = store
        self._operations[operation.number] = operation
        self._next_number += 1
        self._advance(operation, now)
        return operation.number

    def _advance(self, operation: Operation, now: float) -> None:
        """Ask whom a lookup wants asked, or go on to what comes after it."""
        if operation.number not in self._operations or operation.is_storing:
            return
        asked = [self._ask_next(operation, lookup, now) for lookup in operation.lookups]
        if any(asked) or not all(lookup.is_done for lookup in operation.lookups):
            return
        operation.is_storing = True
        if operation.store is not None:
            for lookup in operation.lookups:
                for node in lookup.closest():
                    if node.token is not None:
                        operation.storing += 1
                        fields = {**operation.store, "token": node.token}
                        self._ask(operation.store_method, node.address, node.node_id, operation, now, **fields)
        self._finish_if_stored(operation)

    def _ask_next(self, operation: Operation, lookup: Lookup, now: float) -> int:
        """Ask whom a lookup wants asked; return how many."""
        chosen = lookup.to_ask()
        if not chosen:
            return 0
        name = "info_hash" if lookup.wanted is Wanted.PEERS else "target"
        fields: dict[str, object] = {name: lookup.target}
        if lookup.wanted is Wanted.PLACES:
            # Of a mutable item only the number is told then, which nobody has to prove himself for.
            fields["sequence"] = HIGHEST_SEQUENCE
        others = [self.tables.by_size[size] for size in self._families if size != lookup.address_size]
        lacking = self._siblings is not None and self._siblings.lack(self._families)
        if lacking or any(len(table) < FEW_NODES for table in others):
            fields["want"] = BOTH_FAMILIES
        for asked in chosen:
            self._ask(METHODS[lookup.wanted], asked.address, asked.node_id, (operation, lookup), now, **fields)
        return len(chosen)

    def _settle(self, query: Query, message: KrpcMessage | None, now: float) -> None:
        """Hand an answer, or that there will be none, to whoever asked."""
        context = query.context
        if isinstance(context, Operation):
            context.settle(query.address, message)
            self._finish_if_stored(context)
        elif isinstance(context, tuple):
            operation, lookup = context
            if message is not None and message.kind == krpc.RESPONSE:
                lookup.answered(query.address, message)
                for size, told in ((IPV4_SIZE, message.nodes), (IPV6_SIZE, message.nodes6)):
                    if told is not None and size in self._families:
                        self.tables.told(told, size, query.address, now=now)
                    elif told is not None and self._siblings is not None:
                        self._siblings.told(told, size, query.address, now=now)
            else:
                lookup.failed(query.address)
            self._advance(operation, now)

    def _finish_if_stored(self, operation: Operation) -> None:
        is_over = not operation.storing and self._operations.pop(operation.number, None) is not None
        if is_over and not operation.is_ours:
            self._events.append(operation.outcome())

    def _begin(self, now: float) -> None:
        """Ask for ourselves: so we learn who is near us, and they of us; again and again, after longer pauses.

        Once somebody is known, those in the other half are asked for, too.
        """
        if any(number in self._operations for number in self._beginnings):
            return
        self._beginning.begun(now=now, most=REFRESH if len(self.tables) else LONGEST_PAUSE)
        if len(self.tables) or self._bootstrap or self._saved_nodes:
            own_ids = self.node_ids.items()
            self._beginnings = [self._start(own_id, Wanted.NODES, now, family=size) for size, own_id in own_ids]
        for size in self._families:
            if len(self.tables.by_size[size]):
                self._look_into(size, 0, now)

    def _look_into(self, size: int, number: int, now: float) -> None:
        """Look for the nodes of a bucket."""
        target = self.tables.by_size[size].target_in(number, self._entropy.token_bytes(ID_SIZE))
        self._start(target, Wanted.NODES, now, family=size)

    def _take_bound_ids(self, now: float) -> None:
        """Take another id where ours is not bound to our address, and look who is near to it."""
        if self._siblings is not None:
            self._siblings.seen_at(self.tables, self.external_addresses.values())
        for size, own_id in self.node_ids.items():
            bound = self._own_addresses.id_to_take(own_id, size, now=now)
            if bound is not None:
                self.tables.take_id(bound, size)
                self._refreshing.begin_anew(size)
                self._beginning.anew(now=now)

    def _keep_fresh(self, now: float) -> None:
        self._take_bound_ids(now)
        if self._beginning.is_due(len(self.tables), now=now):
            self._begin(now)
        for node_id, address in self._refreshing.to_ping(now=now):
            self._ping(address, node_id, now)
        for size, number in self._refreshing.to_look_into(now=now):
            self._look_into(size, number, now)
        if now >= self._next_expiry:
            self._next_expiry = now + EXPIRE
            self.answerer.expire(now=now)
