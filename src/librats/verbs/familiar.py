"""The names that users of the C++ API know, with its meaning, over the public verbs of the client."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from librats.attempts.accounts import already_there, failure_of, success_of
from librats.attempts.strategies import strategy_of
from librats.config import RatsConfig
from librats.dht.topic import topic_hash
from librats.errors import RatsError, UsageError
from librats.ice.candidates import IceCandidate
from librats.peers.entry.access import Access
from librats.peers.events import IceCandidateFound, NatTraversalProgress
from librats.peers.keeping.config_file import CONFIG_FILE, StoredConfig, read_config, write_config
from librats.peers.peer import Peer
from librats.runtime.offload import run_in_thread
from librats.services.nat import NatHandle
from librats.types import (
    Address,
    ConnectionAttemptResult,
    ConnectionStrategy,
    Encryption,
    NatType,
    NatTypeInfo,
)

if TYPE_CHECKING:
    from librats.peers.handling.handlers import HandlerTable

__all__ = ["FamiliarNames"]


class FamiliarNames:
    """Mixed into :class:`~librats.RatsClient`."""

    _on_connection: Callable[..., Any] | None = None
    _on_connection_in_detail: Callable[..., Any] | None = None
    _on_progress: Callable[..., Any] | None = None
    _on_candidate: Callable[..., Any] | None = None
    _stored: StoredConfig | None = None

    if TYPE_CHECKING:
        _config: RatsConfig
        _wanted_port: int
        _handlers: HandlerTable
        _access: Access

        @property
        def is_running(self) -> bool:
            """See the client."""

        @property
        def nat(self) -> NatHandle:
            """See the client."""

        @property
        def peers(self) -> Mapping[str, Peer]:
            """See the client."""

        async def connect(
            self,
            target: str | Address | tuple[str, int],
            *,
            strategy: ConnectionStrategy | str = ...,
            expect_id: str | None = ...,
            timeout: float | None = ...,
        ) -> Peer:
            """See the client."""

        @property
        def data_dir(self) -> Path:
            """See the client."""

        def _move_data_dir(self, data_dir: Path) -> None:
            """See the client."""

    async def connect_to_peer(
        self,
        host: str,
        port: int,
        strategy: ConnectionStrategy | str = ConnectionStrategy.AUTO_ADAPTIVE,
        *,
        peer_id: str | None = None,
    ) -> ConnectionAttemptResult:
        """Connect, and tell what came of it instead of raising.

        Args:
            host: Host name or IP address; empty where only the id is known.
            port: Its port; 0 where only the id is known.
            strategy: How to reach the peer.
            peer_id: Who it has to be, by which introducers find it; None for anybody.

        Returns:
            The result; ``success`` is False where the peer cannot be reached, and ``reason`` and ``error`` say why.

        Raises:
            UsageError: The client is not running, or the arguments make no sense.
        """
        loop = asyncio.get_running_loop()
        target = (host, port) if host or port or peer_id is None else peer_id
        started = loop.time()
        try:
            peer = await self.connect(target, strategy=strategy, expect_id=peer_id)
        except UsageError:
            raise
        except RatsError as error:
            return failure_of(error, duration=loop.time() - started, nat_type=self.nat.type)
        return success_of(peer, duration=loop.time() - started, nat_type=self.nat.type)

    async def test_connection_strategies(
        self, host: str, port: int, strategies: Sequence[ConnectionStrategy | str], *, peer_id: str | None = None
    ) -> dict[ConnectionStrategy, ConnectionAttemptResult]:
        """Try several strategies one after the other, and tell what came of each.

        The peer is disconnected again after each try. One that is connected already stays so, nothing is tried, and
        each strategy is told to work that could have gone the way which the session goes.

        Args:
            host: Host name or IP address; empty where only the id is known.
            port: Its port; 0 where only the id is known.
            strategies: What to try, in this order.
            peer_id: Who it has to be, by which introducers find it; None for anybody.

        Raises:
            UsageError: The client is not running, or the arguments make no sense.
        """
        chosen = [strategy_of(strategy) for strategy in strategies]
        results = {}
        for strategy in chosen:
            before = set(self.peers)
            result = await self.connect_to_peer(host, port, strategy, peer_id=peer_id)
            results[strategy] = result
            peer = self.peers.get(result.peer_id)
            if result.success and result.peer_id in before:
                results[strategy] = already_there(result, strategy)
            elif result.success and peer is not None:
                await peer.close("the test is over")
        return results

    async def detect_nat_type(self) -> NatType:
        """Find out what NAT or firewall stands in front of this client, in one word; see :meth:`NatHandle.detect`.

        Raises:
            UsageError: The client is not running.
        """
        return (await self.nat.detect()).type

    async def get_nat_characteristics(self) -> NatTypeInfo:
        """Return what :meth:`detect_nat_type` has found last, in full; find it out where it was not called yet.

        Raises:
            UsageError: The client is not running.
        """
        return self.nat.last or await self.nat.detect()

    async def discover_and_ignore_public_ip(self, stun_server: str = "", stun_port: int = 3478) -> bool:
        """Learn the address that this client is seen at from outside, and never dial it.

        Peers learn of each other from others, and so of themselves. Dialling the address raises
        :class:`~librats.PeerDenied` from now on, also any further one that a STUN server tells later on; who comes from
        there, another host behind the same NAT for example, is let in.

        Args:
            stun_server: Host name or IP address of the server to ask; the configured ones where it is empty.
            stun_port: Its UDP port.

        Returns:
            False where no server has answered, or none is configured.

        Raises:
            UsageError: The client is not running.
            ConfigError: That is no server.
        """
        servers = [Address(stun_server, stun_port)] if stun_server else None
        found = await self.nat.public_addresses(servers=servers)
        self._access.ignores_own = True
        return bool(found)

    def set_connection_callback(self, callback: Callable[[Peer], Any] | None) -> None:
        """Call a function with each peer that connects, instead of the one set before; None for no function.

        Functions that were added with :meth:`~librats.RatsClient.on_connect` are called as well.
        """
        if self._on_connection is not None:
            self._handlers.unlisten("connect", self._on_connection)
        self._on_connection = None if callback is None else self._handlers.listen("connect", callback)

    def set_advanced_connection_callback(self, callback: Callable[[Peer, ConnectionAttemptResult], Any] | None) -> None:
        """Call a function with each peer that connects and an account of how, instead of the one set before."""
        if self._on_connection_in_detail is not None:
            self._handlers.unlisten("connect", self._on_connection_in_detail)
            self._on_connection_in_detail = None
        if callback is None:
            return

        def tell(peer: Peer) -> Any:
            return callback(peer, success_of(peer, nat_type=self.nat.type))

        self._on_connection_in_detail = self._handlers.listen("connect", tell)

    def set_nat_traversal_progress_callback(self, callback: Callable[[str, str], Any] | None) -> None:
        """Call a function with a peer's id and a :class:`~librats.TraversalStep` at each step of a way to a peer that
        somebody introduces, instead of the one set before; None for no function.

        Functions that listen to :class:`~librats.NatTraversalProgress` are called as well.
        """
        if self._on_progress is not None:
            self._handlers.unlisten(NatTraversalProgress, self._on_progress)
            self._on_progress = None
        if callback is not None:
            self._on_progress = self._handlers.listen(
                NatTraversalProgress, lambda event: callback(event.peer_id, event.step)
            )

    def set_ice_candidate_callback(self, callback: Callable[[str, IceCandidate], Any] | None) -> None:
        """Call a function with a peer's id and each address of this side's that the peer will be told, instead of the
        one set before; None for no function.

        Functions that listen to :class:`~librats.IceCandidateFound` are called as well.
        """
        if self._on_candidate is not None:
            self._handlers.unlisten(IceCandidateFound, self._on_candidate)
            self._on_candidate = None
        if callback is not None:
            self._on_candidate = self._handlers.listen(
                IceCandidateFound, lambda event: callback(event.peer_id, event.candidate)
            )

    def set_protocol_name(self, name: str) -> None:
        """Name the application's network; only peers of the same name can connect. Before ``start()``.

        Raises:
            UsageError: The client is running.
        """
        self._reconfigure(protocol_name=name)

    def set_protocol_version(self, version: str) -> None:
        """Set the version of the application's network; only peers of the same version can connect. Before ``start()``.

        Raises:
            UsageError: The client is running.
        """
        self._reconfigure(protocol_version=version)

    def set_encryption_enabled(self, enabled: bool) -> None:
        """Encrypt sessions, as is the default, or do without. Before ``start()``.

        Peers can connect only where both sides set the same. Without encryption no peer's id is proven, and everybody
        on the path can read and change what is sent.

        Raises:
            UsageError: The client is running.
        """
        self._reconfigure(encryption=Encryption.REQUIRED if enabled else Encryption.OFF)

    @property
    def is_encryption_enabled(self) -> bool:
        """True where sessions are encrypted."""
        return self._config.encryption is Encryption.REQUIRED

    def set_data_directory(self, path: str | Path) -> None:
        """Keep identity and state in that directory. Before ``start()``.

        Raises:
            UsageError: The client is running, or has used its identity already.
        """
        self._move_data_dir(Path(path))

    async def load_configuration(self, path: str | Path | None = None) -> bool:
        """Take configuration and port from a file that :meth:`save_configuration` has written. Before ``start()``.

        Args:
            path: The file; ``config.json`` in the data directory where it is None.

        Returns:
            True where it was read; False where there is no such file, and everything stays as it is.

        Raises:
            StoreError: The file is damaged, or of a newer version.
            ConfigError: A field has a value that cannot be used; it names field and file.
            UsageError: The client is running.
        """
        self._refuse_while_running()
        stored = await run_in_thread(read_config, self._config_path(path))
        return self._adopt_configuration(stored)

    async def save_configuration(self, path: str | Path | None = None) -> None:
        """Write configuration and port to a file, whole or not at all.

        Members of the file that this version does not know stay in it.

        Args:
            path: The file; ``config.json`` in the data directory where it is None.

        Raises:
            StoreError: It cannot be written, or the file that is there is no configuration of this version.
        """
        await run_in_thread(write_config, self._configuration(), self._config_path(path))

    def _config_path(self, path: str | Path | None) -> Path:
        return self.data_dir / CONFIG_FILE if path is None else Path(path)

    def _configuration(self) -> StoredConfig:
        kept = self._stored.document if self._stored is not None else {}
        return StoredConfig(config=self._config, listen_port=self._wanted_port, document=kept)

    def _adopt_configuration(self, stored: StoredConfig | None) -> bool:
        self._refuse_while_running()
        if stored is None:
            return False
        self._access.adopt(self._config, stored.config)
        self._stored = stored
        self._config = stored.config
        if stored.listen_port is not None:
            self._wanted_port = stored.listen_port
        return True

    def get_discovery_hash(self, *, topic: str = "") -> str:
        """Return the 20-byte info-hash, in hex, under which peers of this application find each other in the DHT.

        It is the SHA-1 of the protocol string, as in the C++ library; with a topic that of the protocol string, a zero
        byte and the topic, in UTF-8.

        Args:
            topic: What :meth:`~librats.RatsClient.join_topic` was called with; empty for everybody of the application.
        """
        return topic_hash(self._config.protocol, topic).hex()

    def _refuse_while_running(self) -> None:
        if self.is_running:
            raise UsageError("the client is running; set this before start()")

    def _reconfigure(self, **changes: str | Encryption) -> None:
        self._refuse_while_running()
        self._config = dataclasses.replace(self._config, **changes)  # type: ignore[arg-type]
