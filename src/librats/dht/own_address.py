"""The address that others see us at: answers tell it (BEP 42), and what most of them say is believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from librats.dht.addresses import PORT_SIZE, block_of, host_of, may_be_told
from librats.dht.node_ids import ID_SIZE, bound_node_id, is_bound_to
from librats.types import Entropy

__all__ = ["OwnAddress", "OwnAddresses"]

PAUSE = 600.0
MOST_VOTES = 64
FEWEST_VOTES = 5
SECONDS = 3600.0
FRESH = 60.0


class OwnAddress:
    """Counts what nodes that we asked say of our address, in one family of addresses.

    All nodes of a block (:func:`librats.dht.addresses.block_of`) have one vote together, the newest, so that many hosts
    in a few networks do not outvote others. An address is ours once five blocks say so and at least two thirds of those
    that were heard of within an hour; it stays so until as many say another.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.own_address import OwnAddress
        >>> own, seen = OwnAddress(), compact("203.0.113.9", 6881)
        >>> [own.told(seen, compact(f"192.{block}.2.7", 6881), now=1.0) for block in range(5)]
        [False, False, False, False, True]
        >>> own.address == seen
        True
    """

    def __init__(self) -> None:
        # By block, in the order in which they came.
        self._votes: dict[bytes, tuple[bytes, float]] = {}
        self._counts: Counter[bytes] = Counter()
        self._host: bytes | None = None
        self._address: bytes | None = None

    @property
    def host(self) -> bytes | None:
        """Our address without its port, 4 or 16 bytes; None while it is not known."""
        return self._host

    @property
    def address(self) -> bytes | None:
        """Our compact address, with the port that most see us at; None while it is not known."""
        seen = Counter(address for address, _ in self._votes.values() if address[:-PORT_SIZE] == self._host)
        if seen:
            self._address = seen.most_common(1)[0][0]
        return self._address

    def told(self, seen_as: bytes, by: bytes, *, now: float) -> bool:
        """Count a vote; return whether our host is another one now than before.

        Args:
            seen_as: Compact address that we are seen at.
            by: Compact address of the node that says so; whoever calls knows that it answered what we asked it.
            now: Seconds.
        """
        block = block_of(by)
        vote = self._votes.get(block)
        if vote is not None and vote[0] == seen_as and now - vote[1] < FRESH:
            return False
        if len(seen_as) != len(by) or not may_be_told(seen_as, by):
            return False
        self._take_back(block)
        self._votes[block] = (seen_as, now)
        host = seen_as[:-PORT_SIZE]
        self._counts[host] += 1
        oldest = next(iter(self._votes))
        while len(self._votes) > MOST_VOTES or now - self._votes[oldest][1] >= SECONDS:
            self._take_back(oldest)
            oldest = next(iter(self._votes))
        votes = self._counts[host]
        if host == self._host or votes < FEWEST_VOTES or 3 * votes < 2 * len(self._votes):
            return False
        self._host = host
        return True

    def _take_back(self, block: bytes) -> None:
        vote = self._votes.pop(block, None)
        if vote is None:
            return
        host = vote[0][:-PORT_SIZE]
        self._counts[host] -= 1
        if not self._counts[host]:
            del self._counts[host]


class OwnAddresses:
    """Our address in each family, and the id that we may have there (BEP 42, 45).

    Args:
        families: Sizes of the addresses that we have: 6 for IPv4, 18 for IPv6.
        entropy: Where ids come from.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.node_ids import is_bound
        >>> from librats.dht.own_address import OwnAddresses
        >>> from librats.testing.entropy import SeededEntropy
        >>> own = OwnAddresses([6], SeededEntropy(1))
        >>> for block in range(5):
        ...     own.told(compact("203.0.113.9", 6881), compact(f"192.{block}.2.7", 6881), now=1.0)
        >>> is_bound(own.id_to_take(bytes(20), 6, now=2.0), "203.0.113.9"), own.id_to_take(bytes(20), 6, now=3.0)
        (True, None)
    """

    def __init__(self, families: Iterable[int], entropy: Entropy) -> None:
        self._by_size = {size: OwnAddress() for size in families}
        self._taken: dict[int, float] = {}
        self._entropy = entropy

    @property
    def known(self) -> dict[int, bytes]:
        """Our compact address in each family where it is known, by the size of its addresses."""
        found = {size: own.address for size, own in self._by_size.items()}
        return {size: address for size, address in found.items() if address is not None}

    def told(self, seen_as: bytes, by: bytes, *, now: float) -> None:
        """Count a vote: see :meth:`OwnAddress.told`.

        Args:
            seen_as: Compact address that we are seen at.
            by: Compact address of the node that says so.
            now: Seconds.
        """
        self._by_size[len(by)].told(seen_as, by, now=now)

    def id_to_take(self, own_id: bytes, address_size: int, *, now: float) -> bytes | None:
        """Return an id that is bound to our address, where ours is not; at most one in ten minutes.

        Args:
            own_id: The id that we have.
            address_size: Size of the addresses of the family: 6 or 18.
            now: Seconds.
        """
        host = self._by_size[address_size].host
        if host is None or is_bound_to(own_id, host + bytes(PORT_SIZE)):
            return None
        if now - self._taken.get(address_size, now - PAUSE) < PAUSE:
            return None
        self._taken[address_size] = now
        return bound_node_id(host_of(host + bytes(PORT_SIZE)), self._entropy.token_bytes(ID_SIZE))
