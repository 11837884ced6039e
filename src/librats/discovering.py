"""The client's verbs for finding peers: in the DHT, and on the local network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from librats.config import RatsConfig
from librats.errors import ClosedError, ConfigError, DhtError, RatsError, UsageError
from librats.meeting import LocalMeeting
from librats.peers.dht_nodes_file import DhtNodesFile
from librats.peers.events import DhtUnreachable, PeerDiscovered
from librats.services.dht_handle import DhtHandle, DhtPlace
from librats.types import Address, ConnectionStrategy, Encryption

if TYPE_CHECKING:
    from pathlib import Path

    from librats.peers.identity import Identity, IdentityLock
    from librats.peers.manager import PeerManager
    from librats.peers.path_handle import PathsHandle
    from librats.peers.peer import Peer
    from librats.runtime.listening import Listening
    from librats.runtime.network import Network
    from librats.runtime.tasks import TaskSet
    from librats.runtime.udp import DatagramEndpoint

__all__ = ["DiscoveringVerbs"]

logger = logging.getLogger("librats.dht")

MOST_DIALLED = 16
"""Peers of one search that are dialled."""


class DiscoveringVerbs:
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _config: RatsConfig
        _listener: Listening | None
        _lock: IdentityLock | None
        _network: Network | None
        _paths: PathsHandle
        _tasks: TaskSet

        @property
        def addresses(self) -> list[Address]:
            """See the client."""

        @property
        def data_dir(self) -> Path:
            """See the client."""

        @property
        def identity(self) -> Identity:
            """See the client."""

        @property
        def peer_id(self) -> str:
            """See the client."""

        def get_discovery_hash(self) -> str:
            """See the client."""

        def _running(self) -> PeerManager:
            """See the client."""

        def _running_network(self) -> Network:
            """See the client."""

        def _start_being_found(self) -> None:
            """See BeingFound."""

        async def _stop_being_found(self) -> None:
            """See BeingFound."""

        async def connect(
            self,
            target: str | Address | tuple[str, int],
            *,
            strategy: ConnectionStrategy | str = ...,
            expect_id: str | None = ...,
            timeout: float | None = ...,
        ) -> Peer:
            """See the client."""

    def __init__(self) -> None:
        self._meeting: LocalMeeting | None = None
        self._dht = DhtHandle(lambda: self._config.dht, lambda: bytes(self.identity.signing_key), self._tasks)
        self._dht_changing = asyncio.Lock()
        self._topic: asyncio.Task[None] | None = None

    # The DHT

    @property
    def dht(self) -> DhtHandle:
        """The BitTorrent DHT, once it runs: see :meth:`start_dht_discovery`."""
        return self._dht

    async def start_dht_discovery(self, *, bootstrap: Sequence[str] | None = None, connect: bool = True) -> bool:
        """Take part in the BitTorrent DHT, announce this client there, and find others of the same protocol.

        Nodes of the DHT learn this client's address, as does whoever looks for the same protocol name and version; C++
        nodes of librats 2 find it, and are found. Where the DHT runs already, that is waited for, unless other nodes to
        begin with are given.

        Args:
            bootstrap: Nodes to begin with, each ``"host"`` or ``"host:port"``; the configured ones where it is None.
            connect: Whether to connect to whoever is found. Either way a :class:`~librats.PeerDiscovered` event tells
                of each.

        Returns:
            True once a node of the DHT has answered. False where none has within nine seconds, or none is known, which
            a :class:`~librats.DhtUnreachable` event tells with the reason; it goes on trying by itself. False as well
            where the path policy is ``relay_only``: nothing is started then.

        Raises:
            ConfigError: The UDP port that the DHT is to have for itself is taken, or a node to begin with is none.
            UsageError: The client is not running.

        Example:
            .. code-block:: python

                if await client.start_dht_discovery():
                    print(await client.find_peers(client.get_discovery_hash()))
        """
        self._running()
        if self._paths.hides_us:
            return False
        async with self._dht_changing:
            opened = bootstrap is not None or not self._dht.is_running
            if opened:
                await self._end_topic()
                await self._dht.start(self._dht_place(), bootstrap)
                self._start_being_found()
        try:
            is_in = await self._dht.wait()
        except asyncio.CancelledError:
            if opened:
                await self.stop_dht_discovery()
            raise
        if self._dht.is_running and (self._topic is None or self._topic.done()):
            self._topic = self._start_topic(connect=connect)
        return is_in

    async def stop_dht_discovery(self) -> None:
        """Leave the DHT. What was announced there is forgotten within half an hour. Idempotent."""
        async with self._dht_changing:
            await self._stop_being_found()
            await self._end_topic()
            await self._dht.stop()

    async def announce_for_hash(self, info_hash: bytes | str, port: int | None = None) -> int:
        """Announce this client in the DHT under a hash; see :meth:`DhtHandle.announce`.

        Args:
            info_hash: 20 bytes, or 40 digits in hex.
            port: The port to announce; the one that the client listens on where it is None.

        Returns:
            How many nodes have taken it.

        Raises:
            DhtError: No node has answered, or none has taken it.
            OperationTimeout: The time is up.
            UsageError: That is no hash or no port, or the DHT is not running.
        """
        return await self._dht.announce(info_hash, port)

    async def find_peers(
        self, info_hash: bytes | str, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        """Return the addresses of peers that have announced themselves in the DHT; see :meth:`DhtHandle.find_peers`.

        Args:
            info_hash: 20 bytes, or 40 digits in hex.
            enough: End when that many were found; None looks for as many as there are.
            timeout: Seconds; the configured ``lookup_timeout`` where it is None.

        Raises:
            DhtError: No node has answered.
            OperationTimeout: The time is up.
            UsageError: That is no hash, ``enough`` is below 1, or the DHT is not running.
        """
        return await self._dht.find_peers(info_hash, enough=enough, timeout=timeout)

    def _dht_place(self) -> DhtPlace:
        manager, listener = self._running(), self._listener
        udp = None if listener is None else listener.udp
        return DhtPlace(
            network=self._running_network(),
            # What a client's port opens is an endpoint of datagrams, whatever it asks of it.
            endpoint=None if udp is None else cast("DatagramEndpoint", udp.endpoint),
            listen_host=self._config.listen_host,
            listen_port=0 if listener is None else listener.port,
            file=None if self._lock is None else DhtNodesFile(self.data_dir),
            on_event=manager.dispatcher.announce,
        )

    def _start_discovering(self) -> None:
        """Start what the configuration has started with the client."""
        if self._config.dht.enabled and not self._paths.hides_us:
            self._tasks.create(self._start_dht_in_background(), name="librats enters the DHT")

    async def _start_dht_in_background(self) -> None:
        try:
            await self.start_dht_discovery()
        except ConfigError as error:
            logger.warning("no DHT: %s", error)
            self._running().dispatcher.announce(DhtUnreachable(str(error)))
        except (ClosedError, UsageError) as error:
            logger.debug("no DHT: %s", error)  # the client was stopped meanwhile

    async def _stop_discovering(self) -> None:
        await self.stop_mdns_discovery()
        await self.stop_dht_discovery()

    def _dht_statistics(self) -> dict[str, Any] | None:
        return self._dht.statistics() if self._dht.is_running else None

    # Who else is there

    def _start_topic(self, *, connect: bool) -> asyncio.Task[None]:
        """Announce this client under its protocol, and look for others there."""
        return self._tasks.create(self._meet_in_the_dht(connect=connect), name="librats meets in the DHT")

    async def _end_topic(self) -> None:
        topic, self._topic = self._topic, None
        if topic is not None:
            topic.cancel()
            await asyncio.wait([topic])

    async def _meet_in_the_dht(self, *, connect: bool) -> None:
        info_hash = self.get_discovery_hash()
        while True:
            try:
                found = await self._dht.find_peers(info_hash)
                await self._dht.announce(info_hash)
                break
            except DhtError as error:
                logger.debug("nobody is found in the DHT: %s", error)
                await asyncio.sleep(self._config.dht.search_interval)
        own = set(self.addresses)
        others = [address for address in found if address not in own]
        for address in others:
            self._running().dispatcher.announce(PeerDiscovered("", (address,), "", "dht"))
        if connect:
            await asyncio.gather(*(self._dial_found(address) for address in others[:MOST_DIALLED]))

    async def _dial_found(self, address: Address) -> None:
        try:
            await self.connect(address)
        except RatsError as error:
            logger.debug("found %s in the DHT, but: %s", address, error)

    # The local network

    async def start_mdns_discovery(
        self, name: str = "", *, interfaces: list[str] | None = None, connect: bool = True
    ) -> bool:
        """Announce this client on the local network by mDNS, and find others of the same protocol there.

        Args:
            name: A name for people, at most 64 characters.
            interfaces: Addresses of the interfaces to use; all where it is None.
            connect: Whether to connect to whoever is found. Either way a
                :class:`~librats.PeerDiscovered` event tells of each, and its id can be dialled.

        Returns:
            True where it runs; False where this machine's network does not let it, which is logged once, and where
            the path policy is ``relay_only``.
        """
        manager = self._running()
        if self._paths.hides_us:
            return False
        if self._meeting is not None:
            await self._meeting.close()
        by_id = self._config.encryption is Encryption.REQUIRED
        self._meeting = LocalMeeting(self, manager, self._tasks, self._network, connect=connect, by_id=by_id)
        return await self._meeting.start(self._config.protocol, name, self.addresses, interfaces)

    async def stop_mdns_discovery(self) -> None:
        """Stop announcing and finding on the local network. Idempotent."""
        if self._meeting is not None:
            await self._meeting.close()
            self._meeting = None
