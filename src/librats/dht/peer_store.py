"""Peers that announced themselves (BEP 5), kept for half an hour, as many as there is room for."""

from __future__ import annotations

from dataclasses import dataclass

from librats.dht.scrape import scrape_filter
from librats.errors import UsageError
from librats.types import Entropy

__all__ = ["PeerStore"]

SECONDS = 1800.0
PORT_SIZE = 2


@dataclass(slots=True)
class _Peer:
    at: float
    is_seed: bool


class PeerStore:
    """Who announced what: compact addresses under hashes.

    A host counts once under a hash: with another port it takes its own place. So whoever has one address has one place.

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
        # Both in the order in which they were announced; peers are kept by host, with the port beside it.
        self._hashes: dict[bytes, dict[bytes, tuple[bytes, _Peer]]] = {}

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
        peers = self._hashes.pop(info_hash, {})
        self._hashes[info_hash] = peers
        host = address[:-PORT_SIZE]
        peers.pop(host, None)
        peers[host] = (address, _Peer(now, is_seed))
        if len(peers) > self._max_peers:
            del peers[next(iter(peers))]
        if len(self._hashes) > self._max_hashes:
            del self._hashes[next(iter(self._hashes))]

    def _live(self, info_hash: bytes, now: float) -> dict[bytes, tuple[bytes, _Peer]]:
        """Return the peers of a hash that announced themselves within the last half hour, and forget the others."""
        peers = self._hashes.get(info_hash, {})
        while peers:
            host = next(iter(peers))
            if now - peers[host][1].at < SECONDS:
                return peers
            del peers[host]
        self._hashes.pop(info_hash, None)
        return {}

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
        found = [
            address
            for host, (address, peer) in self._live(info_hash, now).items()
            if len(host) == host_size and not (without_seeds and peer.is_seed)
        ]
        if len(found) <= count:
            return found
        first = self._entropy.randbelow(len(found))
        return (found[first:] + found[:first])[:count]

    def scrape(self, info_hash: bytes, *, now: float) -> tuple[bytes, bytes]:
        """Return the filters of those that have everything and of the others (BEP 33).

        Args:
            info_hash: 20 bytes.
            now: Seconds.
        """
        peers = self._live(info_hash, now)
        return (
            scrape_filter(host for host, (_, peer) in peers.items() if peer.is_seed),
            scrape_filter(host for host, (_, peer) in peers.items() if not peer.is_seed),
        )

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
