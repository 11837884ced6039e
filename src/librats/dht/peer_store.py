"""Peers that announced themselves (BEP 5), kept for half an hour, as many as there is room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from librats.dht.addresses import PORT_SIZE, network_of
from librats.dht.scrape import scrape_filter
from librats.errors import UsageError
from librats.types import Entropy

__all__ = ["PeerStore"]

SECONDS = 1800.0
MOST_OF_NETWORK = 8


@dataclass(slots=True)
class _Peer:
    at: float
    is_seed: bool


class _Peers:
    """The peers of one hash."""

    __slots__ = ("by_host_size", "networks")

    def __init__(self) -> None:
        # By compact address, in the order in which they were announced.
        self.by_host_size: dict[int, dict[bytes, _Peer]] = {4: {}, 16: {}}
        self.networks: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self.by_host_size.values()))

    def add(self, address: bytes, peer: _Peer) -> None:
        """Add a peer as the newest one; where its network has too many, the oldest of these goes."""
        self.remove(address)
        peers = self.by_host_size[len(address) - PORT_SIZE]
        network = network_of(address)
        if self.networks[network] >= MOST_OF_NETWORK:
            self.remove(next(one for one in peers if network_of(one) == network))
        peers[address] = peer
        self.networks[network] += 1

    def remove(self, address: bytes) -> None:
        if self.by_host_size[len(address) - PORT_SIZE].pop(address, None) is None:
            return
        network = network_of(address)
        self.networks[network] -= 1
        if not self.networks[network]:
            del self.networks[network]

    def remove_oldest(self) -> None:
        """Remove the peer that announced itself longest ago."""
        oldest = [next(iter(peers.items())) for peers in self.by_host_size.values() if peers]
        self.remove(min(oldest, key=lambda one: one[1].at)[0])

    def expire(self, now: float) -> None:
        """Remove those that announced themselves longer ago than half an hour."""
        for peers in self.by_host_size.values():
            while peers:
                address, peer = next(iter(peers.items()))
                if now - peer.at < SECONDS:
                    break
                self.remove(address)

    def hosts(self, is_seed: bool) -> Iterator[bytes]:
        """Yield the hosts of those that have everything, or of the others."""
        for peers in self.by_host_size.values():
            yield from (address[:-PORT_SIZE] for address, peer in peers.items() if peer.is_seed == is_seed)


class PeerStore:
    """Who announced what: compact addresses under hashes.

    A network (an address of IPv4, the first 64 bits of one of IPv6) has eight places under a hash: there may be several
    peers behind a NAT, and whoever has one address does not take all places.

    Args:
        entropy: What decides who is told of, where there are more than asked for.
        max_hashes: How many hashes there may be; then the one that was announced longest ago goes.
        max_peers: How many peers of a hash there may be; then the one that announced itself longest ago goes.
    """

    def __init__(self, entropy: Entropy, *, max_hashes: int = 2000, max_peers: int = 500) -> None:
        if max_hashes < 1 or max_peers < 1:
            raise UsageError("a store has room for one peer at the least")
        self._entropy = entropy
        self._max_hashes = max_hashes
        self._max_peers = max_peers
        # In the order in which they were announced.
        self._hashes: dict[bytes, _Peers] = {}

    def __len__(self) -> int:
        """Return how many hashes there are."""
        return len(self._hashes)

    def announce(self, info_hash: bytes, address: bytes, *, now: float, is_seed: bool = False) -> None:
        """Keep a peer, or keep it for longer.

        Args:
            info_hash: 20 bytes.
            address: Its compact address: 4 or 16 bytes, and a port.
            now: Seconds.
            is_seed: Whether it has everything (BEP 33).
        """
        peers = self._hashes.pop(info_hash, None) or _Peers()
        self._hashes[info_hash] = peers
        peers.add(address, _Peer(now, is_seed))
        if len(peers) > self._max_peers:
            peers.remove_oldest()
        if len(self._hashes) > self._max_hashes:
            del self._hashes[next(iter(self._hashes))]

    def _live(self, info_hash: bytes, now: float) -> _Peers | None:
        """Return the peers of a hash that announced themselves within the last half hour, and forget the others."""
        peers = self._hashes.get(info_hash)
        if peers is not None:
            peers.expire(now)
            if not len(peers):
                del self._hashes[info_hash]
                return None
        return peers

    def peers(
        self, info_hash: bytes, *, now: float, host_size: int = 4, count: int = 50, without_seeds: bool = False
    ) -> list[bytes]:
        """Return compact addresses of peers; where there are more, others each time.

        Args:
            info_hash: 20 bytes.
            now: Seconds.
            host_size: 4 for those of IPv4, 16 for those of IPv6.
            count: How many at the most.
            without_seeds: Leave those out that have everything (BEP 33).
        """
        live = self._live(info_hash, now)
        if live is None:
            return []
        peers = live.by_host_size[host_size]
        found = [address for address, peer in peers.items() if not peer.is_seed] if without_seeds else list(peers)
        if len(found) <= count:
            return found
        first = self._entropy.randbelow(len(found))
        return (found[first:] + found[:first])[:count]

    def knows(self, info_hash: bytes, *, now: float) -> bool:
        """Whether anybody announced a hash within the last half hour.

        Args:
            info_hash: 20 bytes.
            now: Seconds.
        """
        return self._live(info_hash, now) is not None

    def scrape(self, info_hash: bytes, *, now: float) -> tuple[bytes, bytes]:
        """Return the filters of those that have everything and of the others (BEP 33).

        Args:
            info_hash: 20 bytes.
            now: Seconds.
        """
        peers = self._live(info_hash, now) or _Peers()
        return scrape_filter(peers.hosts(is_seed=True)), scrape_filter(peers.hosts(is_seed=False))

    def sample(self, count: int) -> tuple[bytes, ...]:
        """Return hashes that somebody announced, others each time where there are more (BEP 51).

        Args:
            count: How many at the most.
        """
        hashes = tuple(self._hashes)
        if len(hashes) <= count:
            return hashes
        first = self._entropy.randbelow(len(hashes))
        return (hashes[first:] + hashes[:first])[:count]

    def expire(self, *, now: float) -> None:
        """Forget who announced himself longer ago than half an hour.

        Args:
            now: Seconds.
        """
        for info_hash in list(self._hashes):
            self._live(info_hash, now)
