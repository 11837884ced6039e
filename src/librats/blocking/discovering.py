"""The blocking client's verbs for finding peers: in the DHT, and on the local network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from librats.blocking.dht import DhtHandle

if TYPE_CHECKING:
    from librats.blocking.bridge import Bridge
    from librats.client import RatsClient
    from librats.types import Address

__all__ = ["DiscoveringVerbs"]


class DiscoveringVerbs:
    """Mixed into :class:`librats.blocking.RatsClient`."""

    if TYPE_CHECKING:
        _client: RatsClient
        _bridge: Bridge

        def _running(self) -> RatsClient:
            """See the client."""

    @property
    def dht(self) -> DhtHandle:
        """The BitTorrent DHT, once it runs: see :meth:`start_dht_discovery`."""
        return DhtHandle(self._client.dht, self._bridge)

    def start_dht_discovery(
        self, *, bootstrap: Sequence[str] | None = None, connect: bool = True, meet: bool = True
    ) -> bool:
        """Take part in the BitTorrent DHT, announce this client there, and find others of the same protocol.

        See :meth:`librats.RatsClient.start_dht_discovery`.
        """
        start = self._running().start_dht_discovery
        return self._bridge.wait(start, bootstrap=bootstrap, connect=connect, meet=meet)

    def stop_dht_discovery(self) -> None:
        """Leave the DHT. What was announced there is forgotten within half an hour. Idempotent."""
        self._bridge.wait(self._client.stop_dht_discovery)

    def join_topic(self, topic: str, *, connect: bool = True) -> None:
        """Meet others of the same protocol and topic in the DHT; see :meth:`librats.RatsClient.join_topic`."""
        self._bridge.wait(self._running().join_topic, topic, connect=connect)

    def leave_topic(self, topic: str) -> None:
        """Meet nobody on a topic any more; sessions go on. Idempotent."""
        self._bridge.wait(self._client.leave_topic, topic)

    @property
    def topics(self) -> frozenset[str]:
        """The topics that this client is on, by :meth:`join_topic`."""
        return self._client.topics

    def announce_for_hash(self, info_hash: bytes | str, port: int | None = None) -> int:
        """Announce this client in the DHT under a hash; see :meth:`librats.DhtHandle.announce`."""
        return self._bridge.wait(self._client.announce_for_hash, info_hash, port)

    def find_peers(
        self, info_hash: bytes | str, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        """Return the addresses of peers that have announced themselves; see :meth:`librats.DhtHandle.find_peers`."""
        return self._bridge.wait(self._client.find_peers, info_hash, enough=enough, timeout=timeout)

    def start_mdns_discovery(
        self, name: str = "", *, interfaces: list[str] | None = None, connect: bool = True
    ) -> bool:
        """Announce this client on the local network by mDNS, and find others of the same protocol there.

        See :meth:`librats.RatsClient.start_mdns_discovery`.
        """
        return self._bridge.wait(self._running().start_mdns_discovery, name, interfaces=interfaces, connect=connect)

    def stop_mdns_discovery(self) -> None:
        """Stop announcing and finding on the local network. Idempotent."""
        self._bridge.wait(self._client.stop_mdns_discovery)
