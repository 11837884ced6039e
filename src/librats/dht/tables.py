"""The nodes that a node knows: a routing table for IPv4 and one for IPv6 (BEP 32), each under an id of its own."""

from __future__ import annotations

from librats._core.routing import REFUSED, RoutingTable
from librats.dht.addresses import IPV4_SIZE, IPV6_SIZE, may_be_told
from librats.dht.node_ids import ID_SIZE, is_bound_to
from librats.dht.siblings import Siblings

__all__ = ["Tables"]

MOST_TOLD = 8


class Tables:
    """A routing table of each family of addresses.

    A node has another id at each of its addresses (BEP 45), as ids are bound to them (BEP 42).

    Args:
        own_id: Id of our node: 20 bytes.
        own_id6: Its id at addresses of IPv6; None takes the same.
        size: Places of a bucket.
        require_bound: Whether only nodes come in whose id is bound to their address (BEP 42).
        siblings: The nodes of this host, ours among them, none of which comes in; None where there is but one.

    Raises:
        UsageError: The id has not 20 bytes, or the size cannot be.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.tables import Tables
        >>> tables = Tables(bytes(20))
        >>> tables.heard(b"a" * 20, compact("2001:db8::7", 6881), now=1.0)
        1
        >>> len(tables), tables.closest(b"b" * 20, 18)[:20]
        (1, b'aaaaaaaaaaaaaaaaaaaa')
    """

    def __init__(
        self,
        own_id: bytes,
        *,
        own_id6: bytes | None = None,
        size: int = 8,
        require_bound: bool = False,
        siblings: Siblings | None = None,
    ) -> None:
        self.own_ids = {IPV4_SIZE: own_id, IPV6_SIZE: own_id if own_id6 is None else own_id6}
        """Our id in each family, by the size of its addresses."""
        self.by_size = {
            address_size: RoutingTable(each, size=size, address_size=address_size)
            for address_size, each in self.own_ids.items()
        }
        """The table of each family."""
        self._size = size
        self._require_bound = require_bound
        self._siblings = siblings
        if siblings is not None:
            siblings.ids.update(self.own_ids.values())

    def __len__(self) -> int:
        """Return how many nodes have a place."""
        return sum(len(table) for table in self.by_size.values())

    def heard(self, node_id: bytes, address: bytes, *, now: float, answered: bool = True) -> int:
        """Take note of a node: see :meth:`librats._core.routing.RoutingTable.heard`.

        Args:
            node_id: Its id.
            address: Its compact address.
            now: Seconds.
            answered: Whether it answered a query of ours.
        """
        if self._require_bound and not is_bound_to(node_id, address):
            return REFUSED
        if self._siblings is not None and self._siblings.is_one(node_id, address):
            return REFUSED
        return self.by_size[len(address)].heard(node_id, address, now=now, answered=answered)

    def is_ours(self, node_id: bytes | None, address: bytes) -> bool:
        """Whether a node is our own, or another one of this host.

        Args:
            node_id: Its id; None where it is not known.
            address: Its compact address.
        """
        siblings = self._siblings
        return node_id == self.own_ids[len(address)] or (siblings is not None and siblings.is_one(node_id, address))

    def told(self, nodes: bytes, address_size: int, by: bytes, *, now: float) -> None:
        """Let nodes that another one tells of be spares, eight of them at the most.

        Args:
            nodes: Id and compact address of one behind the other.
            address_size: Size of their addresses: 6 or 18.
            by: Compact address of the node that tells of them.
            now: Seconds.
        """
        each = ID_SIZE + address_size
        for start in range(0, min(len(nodes) // each, MOST_TOLD) * each, each):
            address = nodes[start + ID_SIZE : start + each]
            if may_be_told(address, by):
                self.heard(nodes[start : start + ID_SIZE], address, now=now, answered=False)

    def failed(self, node_id: bytes, address: bytes) -> bool:
        """Take note that a node did not answer; return whether it has no place any more.

        Args:
            node_id: Its id.
            address: Its compact address.
        """
        return self.by_size[len(address)].failed(node_id, address)

    def closest(self, target: bytes, address_size: int, count: int = 8) -> bytes:
        """Return the nearest nodes of a family, as answers have them.

        Args:
            target: 20 bytes.
            address_size: Size of their addresses: 6 or 18.
            count: How many at the most.
        """
        return self.by_size[address_size].closest(target, count)

    def nearest(self, target: bytes, address_size: int, count: int) -> list[tuple[bytes, bytes]]:
        """Return id and compact address of the nearest nodes of a family.

        Args:
            target: 20 bytes.
            address_size: Size of their addresses: 6 or 18.
            count: How many at the most.
        """
        closest, each = self.closest(target, address_size, count), ID_SIZE + address_size
        nodes = (closest[start : start + each] for start in range(0, len(closest), each))
        return [(node[:ID_SIZE], node[ID_SIZE:]) for node in nodes]

    def take_id(self, own_id: bytes, address_size: int) -> None:
        """Take another id in a family: the nodes that have a place come into a new table, as far as there is room.

        Args:
            own_id: 20 bytes.
            address_size: Size of the addresses of the family: 6 or 18.

        Raises:
            UsageError: The id has not 20 bytes.
        """
        table = RoutingTable(own_id, size=self._size, address_size=address_size)
        for node_id, address, heard in sorted(self.by_size[address_size].nodes(), key=lambda node: -node[2]):
            table.heard(node_id, address, now=heard)
        if self._siblings is not None:
            self._siblings.ids.discard(self.own_ids[address_size])
            self._siblings.ids.add(own_id)
        self.own_ids[address_size] = own_id
        self.by_size[address_size] = table

    def save(self) -> dict[str, object]:
        """Return our ids and the nodes, most trustworthy first, for :meth:`load`; bencode can write it."""
        nodes = sorted((node for table in self.by_size.values() for node in table.nodes()), key=lambda node: -node[2])
        return {
            "id": self.own_ids[IPV4_SIZE],
            "id6": self.own_ids[IPV6_SIZE],
            "nodes": [node_id + address for node_id, address, _ in nodes],
        }

    @staticmethod
    def load(saved: object) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
        """Read what :meth:`save` returned, or what has become of it: what is not right is left out.

        Args:
            saved: A dictionary with keys of text or of bytes.

        Returns:
            Our ids, by the size of the addresses of their family, and id and address of the nodes, which are to be
            asked before they are believed.
        """
        if not isinstance(saved, dict):
            return {}, []
        own_ids = {IPV4_SIZE: saved.get("id", saved.get(b"id")), IPV6_SIZE: saved.get("id6", saved.get(b"id6"))}
        nodes = saved.get("nodes", saved.get(b"nodes"))
        sizes = (ID_SIZE + IPV4_SIZE, ID_SIZE + IPV6_SIZE)
        return (
            {size: each for size, each in own_ids.items() if isinstance(each, bytes) and len(each) == ID_SIZE},
            [
                (node[:ID_SIZE], node[ID_SIZE:])
                for node in (nodes if isinstance(nodes, list) else ())
                if isinstance(node, bytes) and len(node) in sizes
            ],
        )
