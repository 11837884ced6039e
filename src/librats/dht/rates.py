"""How many queries a host may send, and how many bytes are sent to hosts that have not proven themselves."""

from __future__ import annotations

from dataclasses import dataclass

from librats.errors import UsageError
from librats.session.pace import Budget

__all__ = ["Limits", "Rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What others may have of our node.

    Example:
        >>> from librats.dht.rates import Limits
        >>> Limits(queries=5).most_queries
        100
    """

    queries: float = 20
    """Queries that a host may send each second, in the long run."""

    most_queries: float = 100
    """Queries that a host may send at once."""

    byte_rate: float = 8_000
    """Bytes that are sent each second to a host that has not proven itself, in the long run."""

    most_bytes: float = 16_000
    """Bytes that are sent at once to a host that has not proven itself."""

    all_bytes: float = 200_000
    """Bytes that are sent each second to all hosts together that have not proven themselves."""

    proof: float = 1800
    """Seconds for which a host is believed that it is where it seems to be."""

    hosts: int = 20_000
    """Hosts that are kept in mind; then the one that was first seen longest ago is forgotten."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: One of them makes no sense.
        """
        rates = (self.queries, self.most_queries, self.byte_rate, self.most_bytes, self.all_bytes, self.proof)
        if min(rates) <= 0 or self.hosts < 1:
            raise UsageError(f"limits are above 0, unlike {self!r}")


class _Host:
    """What a host has used up: the times at which all of it will be made good again."""

    __slots__ = ("bytes_until", "queries_until")

    def __init__(self, now: float) -> None:
        self.queries_until = now
        self.bytes_until = now


class Rates:
    """Counts what hosts send and are sent.

    Args:
        limits: What they may.

    Example:
        >>> from librats.dht.rates import Limits, Rates
        >>> rates = Rates(Limits(queries=1, most_queries=2))
        >>> [rates.may_ask(b"host", now=now) for now in (0.0, 0.0, 0.0, 1.0)]
        [True, True, False, True]
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queries = Budget(limits.queries, limits.most_queries)
        self._bytes = Budget(limits.byte_rate, limits.most_bytes)
        self._all_bytes = Budget(limits.all_bytes, limits.all_bytes)
        self._hosts: dict[bytes, _Host] = {}
        self._proven: dict[bytes, float] = {}
        self._bytes_until = 0.0

    def __len__(self) -> int:
        """Return how many hosts are kept in mind."""
        return len(self._hosts)

    def _host(self, network: bytes, now: float) -> _Host:
        host = self._hosts.get(network)
        if host is None:
            host = self._hosts[network] = _Host(now)
            if len(self._hosts) > self._limits.hosts:
                del self._hosts[next(iter(self._hosts))]
        return host

    def may_ask(self, network: bytes, *, now: float) -> bool:
        """Count a query, and tell whether it may be answered.

        Args:
            network: What counts as one host.
            now: Seconds.
        """
        host = self._host(network, now)
        until = self._queries.taken(host.queries_until, 1, now)
        if until is None:
            return False
        host.queries_until = until
        return True

    def may_be_sent(self, network: bytes, size: int, *, now: float) -> bool:
        """Count bytes to a host that has not proven itself, and tell whether they may be sent: both to it and to all.

        Args:
            network: What counts as one host.
            size: How many bytes.
            now: Seconds.
        """
        host = self._host(network, now)
        until = self._bytes.taken(host.bytes_until, size, now)
        of_all = self._all_bytes.taken(self._bytes_until, size, now)
        if until is None or of_all is None:
            return False
        host.bytes_until = until
        self._bytes_until = of_all
        return True

    def expire(self, *, now: float) -> None:
        """Forget hosts that have made good all that they used up, and proofs that count no more.

        Args:
            now: Seconds.
        """
        for network in [
            network for network, host in self._hosts.items() if max(host.queries_until, host.bytes_until) <= now
        ]:
            del self._hosts[network]
        for address in [address for address, until in self._proven.items() if until <= now]:
            del self._proven[address]

    def prove(self, address: bytes, *, now: float) -> None:
        """Take note that an address hears what is sent to it.

        Args:
            address: The compact address.
            now: Seconds.
        """
        self._proven.pop(address, None)
        self._proven[address] = now + self._limits.proof
        if len(self._proven) > self._limits.hosts:
            del self._proven[next(iter(self._proven))]

    def is_proven(self, address: bytes, *, now: float) -> bool:
        """Whether an address was heard to hear what is sent to it, not long ago.

        Args:
            address: The compact address.
            now: Seconds.
        """
        return self._proven.get(address, now) > now
