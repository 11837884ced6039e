"""The names that users of the C++ API know, for code that blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from librats.blocking.peer import Peer
from librats.ice.candidates import IceCandidate
from librats.peers.keeping.config_file import read_config, write_config
from librats.types import ConnectionAttemptResult, ConnectionStrategy, NatType, NatTypeInfo

if TYPE_CHECKING:
    from typing import TypeVar

    from librats.blocking.bridge import Bridge
    from librats.client import RatsClient as AsyncClient

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["FamiliarNames"]


class FamiliarNames:
    """Mixed into :class:`~librats.blocking.RatsClient`."""

    if TYPE_CHECKING:
        _client: AsyncClient
        _bridge: Bridge

        def _running(self) -> AsyncClient:
            """See the client."""

        def _listen(self, verb: Callable[..., Any], handler: F, what: str) -> F:
            """See the client."""

    def connect_to_peer(
        self,
        host: str,
        port: int,
        strategy: ConnectionStrategy | str = ConnectionStrategy.AUTO_ADAPTIVE,
        *,
        peer_id: str | None = None,
    ) -> ConnectionAttemptResult:
        """Connect, and tell what came of it instead of raising; see :meth:`librats.RatsClient.connect_to_peer`."""
        return self._bridge.wait(self._running().connect_to_peer, host, port, strategy, peer_id=peer_id)

    def test_connection_strategies(
        self, host: str, port: int, strategies: Sequence[ConnectionStrategy | str], *, peer_id: str | None = None
    ) -> dict[ConnectionStrategy, ConnectionAttemptResult]:
        """Try several strategies one after the other, and tell what came of each.

        See :meth:`librats.RatsClient.test_connection_strategies`.
        """
        return self._bridge.wait(self._running().test_connection_strategies, host, port, strategies, peer_id=peer_id)

    def detect_nat_type(self) -> NatType:
        """Find out what NAT or firewall stands in front of this client, in one word.

        See :meth:`librats.RatsClient.detect_nat_type`.
        """
        return self._bridge.wait(self._running().detect_nat_type)

    def get_nat_characteristics(self) -> NatTypeInfo:
        """Return what :meth:`detect_nat_type` has found last, in full; find it out where it was not called yet.

        See :meth:`librats.RatsClient.get_nat_characteristics`.
        """
        return self._bridge.wait(self._running().get_nat_characteristics)

    def discover_and_ignore_public_ip(self, stun_server: str = "", stun_port: int = 3478) -> bool:
        """Learn the address that this client is seen at from outside, and never dial it.

        See :meth:`librats.RatsClient.discover_and_ignore_public_ip`.
        """
        return self._bridge.wait(self._running().discover_and_ignore_public_ip, stun_server, stun_port)

    def set_connection_callback(self, callback: Callable[[Peer], Any] | None) -> None:
        """Call a function with each peer that connects, instead of the one set before; None for no function.

        Functions that were added with :meth:`on_connect` are called as well.
        """
        self._set_callback(self._client.set_connection_callback, callback)

    def set_advanced_connection_callback(self, callback: Callable[[Peer, ConnectionAttemptResult], Any] | None) -> None:
        """Call a function with each peer that connects and an account of how, instead of the one set before."""
        self._set_callback(self._client.set_advanced_connection_callback, callback)

    def set_nat_traversal_progress_callback(self, callback: Callable[[str, str], Any] | None) -> None:
        """Call a function at each step of a way to a peer that somebody introduces.

        See :meth:`librats.RatsClient.set_nat_traversal_progress_callback`.
        """
        self._set_callback(self._client.set_nat_traversal_progress_callback, callback, "progress")

    def set_ice_candidate_callback(self, callback: Callable[[str, IceCandidate], Any] | None) -> None:
        """Call a function with each address of this side's that a peer will be told.

        See :meth:`librats.RatsClient.set_ice_candidate_callback`.
        """
        self._set_callback(self._client.set_ice_candidate_callback, callback, "candidate")

    def _set_callback(
        self, verb: Callable[..., Any], callback: Callable[..., Any] | None, what: str = "connect"
    ) -> None:
        if callback is None:
            self._bridge.call(verb, None)
        else:
            self._listen(verb, callback, what)

    def set_protocol_name(self, name: str) -> None:
        """Name the application's network; only peers of the same name can connect. Before ``start()``.

        Raises:
            UsageError: The client is running.
        """
        self._bridge.call(self._client.set_protocol_name, name)

    def set_protocol_version(self, version: str) -> None:
        """Set the version of the application's network; only peers of the same version can connect. Before ``start()``.

        Raises:
            UsageError: The client is running.
        """
        self._bridge.call(self._client.set_protocol_version, version)

    def set_encryption_enabled(self, enabled: bool) -> None:
        """Encrypt sessions, as is the default, or do without. Before ``start()``.

        Peers can connect only where both sides set the same. Without encryption no peer's id is proven, and everybody
        on the path can read and change what is sent.

        Raises:
            UsageError: The client is running.
        """
        self._bridge.call(self._client.set_encryption_enabled, enabled)

    @property
    def is_encryption_enabled(self) -> bool:
        """True where sessions are encrypted."""
        return self._bridge.call(lambda: self._client.is_encryption_enabled)

    def set_data_directory(self, path: str | Path) -> None:
        """Keep identity and state in that directory. Before ``start()``.

        Raises:
            UsageError: The client is running, or has used its identity already.
        """
        self._bridge.call(self._client.set_data_directory, path)

    def load_configuration(self, path: str | Path | None = None) -> bool:
        """Take configuration and port from a file that :meth:`save_configuration` has written. Before ``start()``.

        See :meth:`librats.RatsClient.load_configuration`.
        """
        self._bridge.call(self._client._refuse_while_running)
        stored = read_config(self._client._config_path(path))
        return self._bridge.call(self._client._adopt_configuration, stored)

    def save_configuration(self, path: str | Path | None = None) -> None:
        """Write configuration and port to a file; see :meth:`librats.RatsClient.save_configuration`."""
        write_config(self._bridge.call(self._client._configuration), self._client._config_path(path))

    def get_discovery_hash(self, *, topic: str = "") -> str:
        """Return the 20-byte info-hash, in hex, under which peers of this application find each other in the DHT."""
        return self._bridge.call(self._client.get_discovery_hash, topic=topic)
