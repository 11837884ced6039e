"""Meeting others under one hash of the DHT: when to announce, to search, and whom of those that were found to dial.

Nothing is known of who is found but an address that somebody has announced. So each is dialled once, again only after
pauses that grow, never again where it was this client itself or somebody of another protocol, and all of it within
limits, however many a hostile node tells of.

Pauses end at moments that the clock of the day sets, the same ones for everybody on the topic. Two that are behind NATs
and were dialled in vain are then dialled by each other at the same time, and their NATs let them through.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import Counter, deque
from collections.abc import Collection, Iterable
from enum import StrEnum

from msgspec import Struct

from librats.session.dial_budget import DialBudget
from librats.types import Address, Entropy

__all__ = ["Deed", "Dialled", "ToDo", "Topic", "topic_hash"]

FIRST_PAUSE = 5.0
"""Seconds between the first two searches; each further pause is twice as long, up to the interval."""

LONGEST_SEARCH_PAUSE = 300.0
"""Seconds between two searches, at the most, while there are peers enough."""

REDIAL = 30.0
"""Seconds of the first pause between two dials of one endpoint."""

MOST_DOUBLINGS = 5
"""The longest one is 16 minutes."""

AFTER_SESSION = 300.0
"""Seconds since a dial that has led to a peer: a session that is lost is somebody else's business for as long."""

FORGOTTEN_AFTER = 3600.0
"""Seconds for which an endpoint that nobody tells of any more is remembered."""

MOST_ENDPOINTS = 1024
MOST_PER_HOST = 8
"""Endpoints of one IPv4 address or one IPv6 network of /64: nobody has us scan the ports of a host."""

STRANGE_TWICE = 2
"""After as many handshakes that failed it is somebody of another protocol."""

PREFIX = 64
JITTER = 0.1


def topic_hash(protocol: str, topic: str = "") -> bytes:
    """Return the hash under which peers of one protocol, or of one topic of it, announce themselves.

    Without a topic it is the SHA-1 of the protocol string, as in the C++ library. With one it is the SHA-1 of the
    protocol string, a zero byte, and the topic, all in UTF-8.

    Args:
        protocol: Name and version, ``"librats/1.0"`` for example.
        topic: What to meet about; empty for everybody of the protocol.

    Returns:
        20 bytes.

    Example:
        >>> topic_hash("librats/1.0").hex()[:8], topic_hash("librats/1.0", "garden").hex()[:8]
        ('930ae231', '650ed287')
    """
    named = f"{protocol}\0{topic}" if topic else protocol
    return hashlib.sha1(named.encode(), usedforsecurity=False).digest()


class Deed(StrEnum):
    """What there is to do."""

    ANNOUNCE = "announce"
    """Announce this client under the hash; then call ``announced``."""

    SEARCH = "search"
    """Look for others under the hash; then call ``found`` or ``search_failed``."""

    DIAL = "dial"
    """Connect to an address; then call ``dialled``."""


class ToDo(Struct, frozen=True):
    """One thing to do."""

    deed: Deed
    """What."""

    address: Address | None = None
    """Whom to dial."""


class Dialled(StrEnum):
    """What has come of a dial."""

    MET = "met"
    """A peer is there."""

    FAILED = "failed"
    """Nobody has answered, or not now."""

    STRANGE = "strange"
    """Somebody has answered who is none of ours, as it seems."""

    OURSELVES = "ourselves"
    """It was this client itself."""


class _Endpoint(Struct, eq=False):
    network: str
    seen: float
    due: float
    order: int
    known: bool = False
    peer_id: str = ""
    failures: int = 0
    strange: int = 0
    is_dialled: bool = False
    never: bool = False

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        """By what endpoints are sorted, best first."""
        return self.never, not (self.known or self.peer_id), self.failures, self.order


class Topic:
    """One hash, and who was found under it.

    Args:
        entropy: Random values.
        info_hash: The hash, 20 bytes.
        now: Monotonic seconds.
        budget: How many dials there may be.
        announce_interval: Seconds after which this client is announced again.
        search_interval: Seconds between two searches while there are too few peers.
        peer_target: Peers up to which others are dialled.
        dials: Whether anybody is dialled at all.

    Example:
        >>> from random import Random
        >>> class Chance(Random):
        ...     def token_bytes(self, size): return self.randbytes(size)
        ...     def randbelow(self, limit): return self.randrange(limit)
        >>> topic = Topic(Chance(1), bytes(20), now=0.0, budget=DialBudget(at_once=8, per_minute=30))
        >>> topic.handle_timer(now=0.0, connected=[])
        >>> topic.next_event()
        ToDo(deed=<Deed.ANNOUNCE: 'announce'>, address=None)
        >>> topic.announced(5, now=1.0)
        >>> topic.handle_timer(now=1.0, connected=[])
        >>> topic.next_event()
        ToDo(deed=<Deed.SEARCH: 'search'>, address=None)
        >>> topic.found([Address("192.0.2.7", 8080)], now=2.0)
        [Address(host='192.0.2.7', port=8080)]
        >>> topic.handle_timer(now=2.0, connected=[])
        >>> topic.next_event()
        ToDo(deed=<Deed.DIAL: 'dial'>, address=Address(host='192.0.2.7', port=8080))
    """

    def __init__(
        self,
        entropy: Entropy,
        info_hash: bytes,
        *,
        now: float,
        budget: DialBudget,
        announce_interval: float = 600.0,
        search_interval: float = 30.0,
        peer_target: int = 16,
        dials: bool = True,
    ) -> None:
        self._entropy = entropy
        self._phase = int.from_bytes(info_hash[:4])
        self._budget = budget
        self._announce_interval = announce_interval
        self._search_interval = search_interval
        self._peer_target = peer_target
        self._dials = dials
        self._endpoints: dict[Address, _Endpoint] = {}
        self._networks: Counter[str] = Counter()
        self._events: deque[ToDo] = deque()
        self._announce_at = now
        self._announcing = False
        self._was_announced = False
        self._search_at = now
        self._searching = False
        self._pause = min(FIRST_PAUSE, search_interval)
        self._has_enough = False
        self._dial_at: float | None = None
        self.counters = dict.fromkeys(
            ("announced", "searches", "found", "refused", "dials", "dials failed", "met", "forgotten"), 0
        )
        """What has happened so far."""

    # What comes of what was to be done

    def announced(self, nodes: int, *, now: float) -> None:
        """Take that the announcement has come to its end.

        Args:
            nodes: How many nodes have taken it; 0 where it has failed.
            now: Monotonic seconds.
        """
        self._announcing = False
        self._was_announced = True
        self.counters["announced"] += nodes > 0
        self._announce_at = now + (self._announce_interval if nodes else self._search_interval)

    def found(self, addresses: Iterable[Address], *, now: float, known: Collection[Address] = ()) -> list[Address]:
        """Take what a search has found.

        Args:
            addresses: Who was found, the one first that most nodes tell of.
            now: Monotonic seconds.
            known: Addresses where peers were met in earlier runs.

        Returns:
            Those of them that were not known before.
        """
        self._searched(now)
        self._forget(now)
        new = []
        for order, address in enumerate(addresses):
            there = self._endpoints.get(address)
            if there is None:
                network = network_of(address.host)
                if not self._has_room(address, network):
                    self.counters["refused"] += 1
                    continue
                there = self._endpoints[address] = _Endpoint(network, now, now, order)
                self._networks[network] += 1
                new.append(address)
            there.seen, there.order, there.known = now, order, address in known
        self.counters["found"] += len(new)
        return new

    def search_failed(self, *, now: float) -> None:
        """Take that a search has failed: no node has answered.

        Args:
            now: Monotonic seconds.
        """
        self._searched(now)

    def _searched(self, now: float) -> None:
        self._searching = False
        self.counters["searches"] += 1
        jitter = self._entropy.uniform(1.0 - JITTER, 1.0 + JITTER)
        self._search_at = now + self._pause * jitter
        longest = max(LONGEST_SEARCH_PAUSE, self._search_interval) if self._has_enough else self._search_interval
        self._pause = min(2 * self._pause, longest)

    def _has_room(self, address: Address, network: str) -> bool:
        if not address.port or self._networks[network] >= MOST_PER_HOST:
            return False
        if len(self._endpoints) < MOST_ENDPOINTS:
            return True
        failed = [one for one, there in self._endpoints.items() if there.failures and not there.is_dialled]
        if not failed:
            return False
        self._drop(max(failed, key=lambda one: self._endpoints[one].rank))
        return True

    def _drop(self, address: Address) -> None:
        network = self._endpoints.pop(address).network
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]
        self.counters["forgotten"] += 1

    def _forget(self, now: float) -> None:
        oldest = now - FORGOTTEN_AFTER
        for address in [one for one, there in self._endpoints.items() if there.seen <= oldest and not there.is_dialled]:
            self._drop(address)

    def dialled(self, address: Address, what: Dialled, *, now: float, wall: float, peer_id: str = "") -> None:
        """Take what has come of a dial.

        Args:
            address: Who was dialled.
            what: What has come of it.
            now: Monotonic seconds.
            wall: Seconds since 1970.
            peer_id: Who is there.
        """
        self._budget.give_back()
        there = self._endpoints[address]
        there.is_dialled = False
        if what is Dialled.MET:
            self.counters["met"] += 1
            there.peer_id, there.failures, there.strange = peer_id, 0, 0
            there.due = now + AFTER_SESSION
            return
        self.counters["dials failed"] += 1
        there.failures += 1
        there.strange += what is Dialled.STRANGE
        there.never = there.never or what is Dialled.OURSELVES or there.strange >= STRANGE_TWICE
        pause = REDIAL * 2 ** min(there.failures - 1, MOST_DOUBLINGS)
        remaining = pause - (wall + self._phase) % pause
        there.due = now + remaining + (pause if remaining < pause / 2 else 0.0)

    # What is to be done

    def handle_timer(self, *, now: float, connected: Collection[str], met: int | None = None) -> None:
        """Look what there is to do.

        Args:
            now: Monotonic seconds.
            connected: Ids of the peers that are connected.
            met: How many of them are on the topic; None for those that were found under the hash.
        """
        if not self._announcing and now >= self._announce_at:
            self._announcing = True
            self._events.append(ToDo(Deed.ANNOUNCE))
        met = self.met(connected) if met is None else met
        self._look_at(met, now)
        # Whoever has announced itself is found by everybody who looks after that: of any two, one finds the other.
        if self._was_announced and not self._searching and now >= self._search_at:
            self._searching = True
            self._events.append(ToDo(Deed.SEARCH))
        self._dial_at = None
        if self._dials and not self._has_enough:
            under_way = sum(there.is_dialled for there in self._endpoints.values())
            self._choose(now, connected, self._peer_target - met - under_way)

    def _look_at(self, met: int, now: float) -> None:
        """See whether there are peers enough."""
        has_enough = met >= self._peer_target
        if self._has_enough and not has_enough:
            self._pause = self._search_interval
            self._search_at = min(self._search_at, now + self._search_interval)
        self._has_enough = has_enough

    def _choose(self, now: float, connected: Collection[str], wanted: int) -> None:
        waiting = [
            (address, there)
            for address, there in self._endpoints.items()
            if not (there.never or there.is_dialled or (there.peer_id and there.peer_id in connected))
        ]
        times = []
        for address, there in sorted(waiting, key=lambda item: item[1].rank):
            if there.due > now:
                times.append(there.due)
            elif wanted <= 0:
                break
            elif self._budget.take(now=now):
                there.is_dialled = True
                self.counters["dials"] += 1
                self._events.append(ToDo(Deed.DIAL, address))
                wanted -= 1
            else:
                free = self._budget.free_at(now=now)
                times += [] if free is None else [free]
                break
        self._dial_at = min(times, default=None)

    def next_event(self) -> ToDo | None:
        """Return the next thing to do, or None."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float:
        """Return when ``handle_timer`` is to be called, in monotonic seconds, if nothing comes to its end before."""
        times = [self._dial_at] if self._dial_at is not None else []
        times += [] if self._announcing else [self._announce_at]
        times += [] if self._searching or not self._was_announced else [self._search_at]
        return min(times, default=float("inf"))

    # How it is

    def met(self, connected: Collection[str]) -> int:
        """Return how many of the connected peers were found under the hash.

        Args:
            connected: Ids of the peers that are connected.
        """
        return len({there.peer_id for there in self._endpoints.values() if there.peer_id} & set(connected))

    def statistics(self) -> dict[str, int]:
        """Return numbers: how many endpoints are known and of how many peers, and what has happened so far."""
        peers = {there.peer_id for there in self._endpoints.values() if there.peer_id}
        return {"endpoints": len(self._endpoints), "peers": len(peers), **self.counters}


def network_of(host: str) -> str:
    """Return the IPv4 address, or the network of an IPv6 one, under which endpoints are counted.

    Example:
        >>> network_of("192.0.2.7"), network_of("2001:db8:1:2:3::7")
        ('192.0.2.7', '2001:db8:1:2::/64')
    """
    if ":" not in host:
        return host
    return str(ipaddress.ip_network((ipaddress.ip_address(host.partition("%")[0]), PREFIX), strict=False))
