"""The client half of a node of the DHT: queries under way, and how long an answer to each is waited for."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass

from librats._core import krpc
from librats._core.krpc import KrpcMessage
from librats.dht.tables import Tables
from librats.types import Entropy

__all__ = ["Query", "Transactions", "Wait"]

TRANSACTION_SIZE = 4
NODES_TIMED = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long answers are waited for.

    Example:
        >>> from librats.dht.transactions import Wait
        >>> Wait(most=5.0).first
        1.0
    """

    first: float = 1.0
    """Seconds until a query is late, before any has been answered."""

    least: float = 0.1
    """Seconds until a query is late, at the least."""

    most: float = 3.0
    """Seconds until a query is late, at the most."""

    patience: float = 3.0
    """How many times as long a late query is waited for until its node has failed."""


class _RoundTrips:
    """An estimate of how long answers take (RFC 6298)."""

    __slots__ = ("deviation", "smoothed")

    def __init__(self, first: float) -> None:
        self.smoothed = first
        self.deviation = first / 2

    def add(self, seconds: float) -> None:
        self.deviation += (abs(self.smoothed - seconds) - self.deviation) / 4
        self.smoothed += (seconds - self.smoothed) / 8

    @property
    def timeout(self) -> float:
        # Of ten answers nine or so come sooner: one that comes later still counts, and others are asked meanwhile.
        return self.smoothed + 2 * self.deviation


@dataclass(slots=True, eq=False)
class Query:
    """A query that is under way, or was."""

    transaction_id: bytes
    """What its answer is told by."""

    address: bytes
    """Compact address of the node that is asked."""

    node_id: bytes | None
    """Id that the node should have; None where it is not known."""

    context: object
    """What whoever asked gave along."""

    sent: float
    """When it was sent, in seconds."""

    fails_at: float
    """When its node will have failed, in seconds."""

    late: bool = False
    """Whether it takes longer than answers do."""


class Transactions:
    """Keeps queries until they are answered or have failed, and tells the tables who answers.

    Args:
        tables: The nodes that we know.
        entropy: Where transaction ids come from.
        wait: How long answers are waited for.

    Example:
        >>> from librats._core import krpc, krpc_writer
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.tables import Tables
        >>> from librats.dht.transactions import Transactions
        >>> from librats.testing.entropy import SeededEntropy
        >>> transactions = Transactions(Tables(bytes(20)), SeededEntropy(1))
        >>> query = transactions.begin(compact("192.0.2.7", 6881), now=0.0)
        >>> answer = krpc.parse(krpc_writer.response(query.transaction_id, b"a" * 20))
        >>> transactions.answered(answer, compact("192.0.2.7", 6881), now=0.1) is query
        True
    """

    def __init__(self, tables: Tables, entropy: Entropy, *, wait: Wait | None = None) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        """How often what happened: answers, errors, late ones, those that nobody asked for, nodes that failed."""
        self._tables = tables
        self._entropy = entropy
        self._wait = Wait() if wait is None else wait
        self._under_way: dict[bytes, Query] = {}
        self._timers: list[tuple[float, bytes]] = []
        self._all: _RoundTrips | None = None
        self._by_address: dict[bytes, _RoundTrips] = {}

    def __len__(self) -> int:
        """Return how many queries are under way."""
        return len(self._under_way)

    def late_after(self, address: bytes) -> float:
        """Return after how many seconds a query to an address is late.

        What that node took before decides; for one that was not asked before, what all others took.

        Args:
            address: Compact address.
        """
        wait = self._wait
        known = self._by_address.get(address) or self._all
        return wait.first if known is None else min(max(known.timeout, wait.least), wait.most)

    def begin(self, address: bytes, *, now: float, node_id: bytes | None = None, context: object = None) -> Query:
        """Begin a query; whoever calls sends it, with its transaction id.

        Args:
            address: Compact address of the node that is asked.
            now: Seconds.
            node_id: Id that the node should have.
            context: What is given back with the query.
        """
        transaction_id = self._entropy.token_bytes(TRANSACTION_SIZE)
        while transaction_id in self._under_way:
            transaction_id = self._entropy.token_bytes(TRANSACTION_SIZE)
        late_after = self.late_after(address)
        fails_at = now + late_after * (1 + self._wait.patience)
        query = Query(transaction_id, address, node_id, context, now, fails_at)
        self._under_way[transaction_id] = query
        heapq.heappush(self._timers, (now + late_after, transaction_id))
        return query

    def answered(self, message: KrpcMessage, source: bytes, *, now: float) -> Query | None:
        """Find the query of a response or an error.

        The node gets a place in the table, or keeps it, with a response that has an id. Under another id than it should
        have it is another node, and the one that was asked has failed.

        Args:
            message: The response or error.
            source: Compact address that it came from.
            now: Seconds.

        Returns:
            The query, under way no more; None where there is none to that address, or what came is malformed.
        """
        query = self._under_way.get(message.transaction_id or b"")
        if query is None:
            self.counts["not asked for"] += 1
            return None
        if query.address != source:
            self.counts["from another address"] += 1
            return None
        if message.kind == krpc.RESPONSE and message.id is None:
            # The node will have failed when the time is up.
            self.counts["without an id"] += 1
            return None
        del self._under_way[query.transaction_id]
        self._measure(source, now - query.sent)
        self.counts["late answers" if query.late else "answers"] += 1
        if message.kind == krpc.ERROR:
            self.counts["errors"] += 1
        elif message.id is not None:
            if query.node_id is not None and query.node_id != message.id:
                self.counts["another id"] += 1
                self._tables.failed(query.node_id, source)
            self._tables.heard(message.id, source, now=now)
        return query

    def _measure(self, address: bytes, seconds: float) -> None:
        if self._all is None:
            self._all = _RoundTrips(seconds)
        else:
            self._all.add(seconds)
        known = self._by_address.get(address)
        if known is not None:
            known.add(seconds)
            return
        self._by_address[address] = _RoundTrips(seconds)
        if len(self._by_address) > NODES_TIMED:
            del self._by_address[next(iter(self._by_address))]

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is due, in seconds, or None where no query is under way."""
        while self._timers and self._timers[0][1] not in self._under_way:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def handle_timer(self, *, now: float) -> list[Query]:
        """Return queries that have become late (``late`` is set, and an answer still counts) or have failed.

        One that has failed is under way no more; the table is told.

        Args:
            now: Seconds.
        """
        due = []
        while self._timers and self._timers[0][0] <= now:
            _, transaction_id = heapq.heappop(self._timers)
            query = self._under_way.get(transaction_id)
            if query is None:
                continue
            if query.fails_at > now:
                query.late = True
                heapq.heappush(self._timers, (query.fails_at, transaction_id))
            else:
                del self._under_way[transaction_id]
                self.counts["failed"] += 1
                if query.node_id is not None:
                    self._tables.failed(query.node_id, query.address)
            due.append(query)
        return due

    def is_under_way(self, query: Query) -> bool:
        """Whether an answer to a query is still waited for.

        Args:
            query: The query.
        """
        return self._under_way.get(query.transaction_id) is query
