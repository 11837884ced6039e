"""The nodes that a node knows: a routing table for IPv4 and one for IPv6 (BEP 32)."""

from __future__ import annotations

from librats._core.routing import REFUSED, RoutingTable
from librats.dht.addresses import IPV4_SIZE, IPV6_SIZE, host_of
from librats.dht.node_ids import ID_SIZE, is_bound

__all__ = ["Tables"]


class Tables:
    """A routing table of each family of addresses, under one id.

    Args:
        own_id: Id of our node: 20 bytes.
        size: Places of a bucket.
        require_bound: Whether only nodes come in whose id is bound to their address (BEP 42).

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

    def __init__(self, own_id: bytes, *, size: int = 8, require_bound: bool = False) -> None:
        self.own_id = own_id
        self.by_size = {each: RoutingTable(own_id, size=size, address_size=each) for each in (IPV4_SIZE, IPV6_SIZE)}
        self._require_bound = require_bound

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
        if self._require_bound and not is_bound(node_id, host_of(address)):
            return REFUSED
        return self.by_size[len(address)].heard(node_id, address, now=now, answered=answered)

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

    def save(self) -> dict[str, object]:
        """Return our id and the nodes, most trustworthy first, for :meth:`load`; bencode can write it."""
        nodes = sorted((node for table in self.by_size.values() for node in table.nodes()), key=lambda node: -node[2])
        return {"id": self.own_id, "nodes": [node_id + address for node_id, address, _ in nodes]}

    @staticmethod
    def load(saved: object) -> tuple[bytes | None, list[tuple[bytes, bytes]]]:
        """Read what :meth:`save` returned, or what has become of it: what is not right is left out.

        Args:
            saved: A dictionary with keys of text or of bytes.

        Returns:
            The id, and id and address of the nodes, which are to be asked before they are believed.
        """
        if not isinstance(saved, dict):
            return None, []
        own_id = saved.get("id", saved.get(b"id"))
        nodes = saved.get("nodes", saved.get(b"nodes"))
        sizes = (ID_SIZE + IPV4_SIZE, ID_SIZE + IPV6_SIZE)
        return (
            own_id if isinstance(own_id, bytes) and len(own_id) == ID_SIZE else None,
            [
                (node[:ID_SIZE], node[ID_SIZE:])
                for node in (nodes if isinstance(nodes, list) else ())
                if isinstance(node, bytes) and len(node) in sizes
            ],
        )
