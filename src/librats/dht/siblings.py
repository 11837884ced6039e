"""What the nodes of one host with several addresses have in common (BEP 45): a store, and that none asks another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from librats._core.routing import RoutingTable
from librats.dht.items import ItemStore
from librats.dht.peer_store import PeerStore
from librats.types import Entropy

__all__ = ["KnowsNodes", "Siblings"]

FEW_NODES = 8
MAX_HASHES = 2000
MAX_ITEMS = 1000


class KnowsNodes(Protocol):
    """The tables of one of the nodes: :class:`librats.dht.tables.Tables`."""

    by_size: dict[int, RoutingTable]
    """The table of each family."""

    def told(self, nodes: bytes, address_size: int, by: bytes, *, now: float) -> None:
        """Let nodes that another one tells of be spares."""


class Siblings:
    """The nodes of one host, each at an address of its own, under an id of its own and with tables of its own.

    To others they are nodes like any, that have nothing to do with each other. Among themselves they keep peers and
    items together, none has a place in the tables of another one or is asked in its lookups, and where a node learns of
    nodes of the other family, those siblings are told that know too few.

    Args:
        entropy: Where the order comes from in which kept peers are told.
        count: How many nodes there will be: the store has room for what so many are given.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.siblings import Siblings
        >>> from librats.dht.tables import Tables
        >>> from librats.testing.entropy import SeededEntropy
        >>> siblings = Siblings(SeededEntropy(1))
        >>> one = Tables(b"1" * 20, siblings=siblings)
        >>> other = Tables(b"2" * 20, siblings=siblings)
        >>> one.heard(b"2" * 20, compact("192.0.2.7", 6881), now=1.0), len(one)
        (0, 0)
    """

    def __init__(self, entropy: Entropy, *, count: int = 1) -> None:
        self.peers = PeerStore(entropy, max_hashes=MAX_HASHES * count)
        """Peers that announced themselves to any of the nodes."""
        self.items = ItemStore(max_items=MAX_ITEMS * count)
        """Items that were put to any of the nodes."""
        self.ids: set[bytes] = set()
        """The ids of the nodes."""
        self._bound: set[bytes] = set()
        self._seen: dict[KnowsNodes, frozenset[bytes]] = {}
        self._addresses: frozenset[bytes] = frozenset()
        self._tables: list[tuple[KnowsNodes, tuple[int, ...]]] = []

    def join(self, tables: KnowsNodes, families: tuple[int, ...]) -> None:
        """Have a node among us.

        Args:
            tables: The nodes that it knows.
            families: Sizes of the addresses that it has: 6 for IPv4, 18 for IPv6.
        """
        self._tables.append((tables, families))

    def bind(self, address: bytes) -> None:
        """Take note of an address that one of the nodes is bound to.

        Args:
            address: The compact address.
        """
        self._bound.add(address)
        self._gather()

    def seen_at(self, tables: KnowsNodes, addresses: Iterable[bytes]) -> None:
        """Take note of where others see one of the nodes.

        Args:
            tables: The tables of that node.
            addresses: Compact addresses, instead of those before.
        """
        seen = frozenset(addresses)
        if seen != self._seen.get(tables, frozenset()):
            self._seen[tables] = seen
            self._gather()

    def _gather(self) -> None:
        self._addresses = frozenset(self._bound).union(*self._seen.values())

    def is_one(self, node_id: bytes | None, address: bytes) -> bool:
        """Whether a node is one of ours.

        Args:
            node_id: Its id; None where it is not known.
            address: Its compact address.
        """
        return address in self._addresses or node_id in self.ids

    def lack(self, families: tuple[int, ...]) -> bool:
        """Whether one of us knows too few nodes of a family of its own, which is none of these.

        Args:
            families: Sizes of addresses: 6 or 18.
        """
        return any(
            len(tables.by_size[size]) < FEW_NODES
            for tables, own in self._tables
            for size in own
            if size not in families
        )

    def told(self, nodes: bytes, address_size: int, by: bytes, *, now: float) -> None:
        """Let those of us have nodes as spares that know too few of their family.

        Args:
            nodes: Id and compact address of one behind the other.
            address_size: Size of their addresses: 6 or 18.
            by: Compact address of the node that tells of them.
            now: Seconds.
        """
        for tables, own in self._tables:
            if address_size in own and len(tables.by_size[address_size]) < FEW_NODES:
                tables.told(nodes, address_size, by, now=now)
