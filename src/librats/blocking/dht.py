"""The handle ``client.dht`` of the blocking client."""

from __future__ import annotations

from typing import Any

from librats.blocking.bridge import Bridge
from librats.services.dht_handle import DhtHandle as AsyncHandle
from librats.services.dht_results import DhtItem, DhtNodeInfo, DhtStored
from librats.types import Address

__all__ = ["DhtHandle"]


class DhtHandle:
    """The BitTorrent DHT; see :class:`librats.DhtHandle`. Comes from the client."""

    def __init__(self, handle: AsyncHandle, bridge: Bridge) -> None:
        self._handle = handle
        self._bridge = bridge

    def __repr__(self) -> str:
        """Show the id, and whether anybody answers."""
        return self._bridge.call(lambda: repr(self._handle))

    @property
    def is_running(self) -> bool:
        """True while the client has a node in the DHT, or is trying to get in."""
        return self._handle.is_running

    @property
    def is_reachable(self) -> bool:
        """True while a node is known that has answered."""
        return self._bridge.call(lambda: self._handle.is_reachable)

    @property
    def listen_port(self) -> int:
        """The UDP port that the client's node listens on; 0 while it does not run, or has one at each address."""
        return self._handle.listen_port

    @property
    def node_id(self) -> bytes:
        """The id of the client's node, 20 bytes. It has nothing to do with the peer id.

        Raises:
            UsageError: The DHT is not running.
        """
        return self._bridge.call(lambda: self._handle.node_id)

    def statistics(self) -> dict[str, Any]:
        """Return numbers: how many nodes are known, what is kept for others, what was asked and answered how often.

        Raises:
            UsageError: The DHT is not running.
        """
        return self._bridge.call(self._handle.statistics)

    def find_nodes(self, target: bytes | str, *, timeout: float | None = None) -> list[DhtNodeInfo]:
        """Return the nodes nearest to a target; see :meth:`librats.DhtHandle.find_nodes`."""
        return self._bridge.wait(self._handle.find_nodes, target, timeout=timeout)

    def find_peers(
        self, info_hash: bytes | str, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        """Return the addresses of peers that have announced themselves; see :meth:`librats.DhtHandle.find_peers`."""
        return self._bridge.wait(self._handle.find_peers, info_hash, enough=enough, timeout=timeout)

    def announce(self, info_hash: bytes | str, port: int | None = None, *, timeout: float | None = None) -> int:
        """Announce this client under a hash; see :meth:`librats.DhtHandle.announce`."""
        return self._bridge.wait(self._handle.announce, info_hash, port, timeout=timeout)

    def ping(self, address: Address | str, *, timeout: float | None = None) -> DhtNodeInfo:
        """Ask one node whether it is there; see :meth:`librats.DhtHandle.ping`."""
        return self._bridge.wait(self._handle.ping, address, timeout=timeout)

    def get(self, target: bytes | str, *, salt: bytes = b"", timeout: float | None = None) -> DhtItem | None:
        """Return the value that is kept at a target; see :meth:`librats.DhtHandle.get`."""
        return self._bridge.wait(self._handle.get, target, salt=salt, timeout=timeout)

    def put(
        self,
        value: Any,
        *,
        salt: bytes = b"",
        mutable: bool = False,
        sequence: int | None = None,
        compare: int | None = None,
        timeout: float | None = None,
    ) -> DhtStored:
        """Keep a value in the DHT; see :meth:`librats.DhtHandle.put`."""
        return self._bridge.wait(
            self._handle.put,
            value,
            salt=salt,
            mutable=mutable,
            sequence=sequence,
            compare=compare,
            timeout=timeout,
        )
