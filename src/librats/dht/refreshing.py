"""What keeps the tables of a node fresh (BEP 5): whom to ping, and which buckets to look into."""

from __future__ import annotations

from collections.abc import Iterator

from librats.dht.tables import Tables

__all__ = ["REFRESH", "Refreshing"]

REFRESH = 900.0


class Refreshing:
    """Tells whom to ask so that what the tables say is no older than a quarter of an hour.

    Args:
        tables: The nodes that we know.
        families: Sizes of the addresses that we have: 6 for IPv4, 18 for IPv6.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.refreshing import Refreshing
        >>> from librats.dht.tables import Tables
        >>> tables = Tables(bytes(20))
        >>> tables.heard(b"a" * 20, compact("192.0.2.7", 6881), now=0.0)
        1
        >>> [node_id for node_id, _ in Refreshing(tables, (6,)).to_ping(now=900.0)]
        [b'aaaaaaaaaaaaaaaaaaaa']
    """

    def __init__(self, tables: Tables, families: tuple[int, ...]) -> None:
        self._tables = tables
        self._families = families
        self._looked_into: dict[tuple[int, int], float] = {}

    def to_ping(self, *, now: float) -> Iterator[tuple[bytes, bytes]]:
        """Yield id and address of nodes that were not heard of for long, and of spares for which there is a place.

        Args:
            now: Seconds.
        """
        for size in self._families:
            table = self._tables.by_size[size]
            yield from table.quiet(now=now, seconds=REFRESH)
            yield from table.waiting(now=now, seconds=REFRESH)

    def to_look_into(self, *, now: float) -> Iterator[tuple[int, int]]:
        """Yield a bucket in which nobody answered for long, of each family that has one: its size, and the number.

        Args:
            now: Seconds.
        """
        for size in self._families:
            for number in self._tables.by_size[size].stale(now=now, seconds=REFRESH):
                if now - self._looked_into.get((size, number), now - REFRESH) >= REFRESH:
                    self._looked_into[size, number] = now
                    yield size, number
                    break

    def begin_anew(self, address_size: int) -> None:
        """Forget what was looked into in a family: its table is another one.

        Args:
            address_size: Size of its addresses: 6 or 18.
        """
        self._looked_into = {bucket: at for bucket, at in self._looked_into.items() if bucket[0] != address_size}
