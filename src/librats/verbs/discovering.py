"""The client's verbs for finding peers: in the DHT, and on the local network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from librats.config import RatsConfig
from librats.discovery.meeting import LocalMeeting
from librats.discovery.topics import Topics, checked_name
from librats.errors import ClosedError, ConfigError, UsageError
from librats.peers.events import DhtUnreachable
from librats.peers.keeping.dht_nodes_file import DhtNodesFile
from librats.services.dht_handle import DhtHandle, DhtPlace
from librats.types import Address, ConnectionStrategy, Encryption

if TYPE_CHECKING:
    from pathlib import Path

    from librats.peers.book import PeerBook
    from librats.peers.identity import Identity, IdentityLock
    from librats.peers.links.path_handle import PathsHandle
    from librats.peers.manager import PeerManager
    from librats.peers.peer import Peer
    from librats.runtime.listening import Listening
    from librats.runtime.network import Network
    from librats.runtime.tasks import TaskSet
    from librats.runtime.udp import DatagramEndpoint
    from librats.tickets import Ticket

__all__ = ["DiscoveringVerbs"]

logger = logging.getLogger("librats.dht")


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

        @property
        def book(self) -> PeerBook:
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
            target: str | Address | tuple[str, int] | Ticket,
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
        self._topics: Topics | None = None
        self._joined: dict[str, bool] = {}

    # The DHT

    @property
    def dht(self) -> DhtHandle:
        """The BitTorrent DHT, once it runs: see :meth:`start_dht_discovery`."""
        return self._dht

    async def start_dht_discovery(
        self, *, bootstrap: Sequence[str] | None = None, connect: bool = True, meet: bool = True
    ) -> bool:
        """Take part in the BitTorrent DHT, announce this client there, and find others of the same protocol.

        Nodes of the DHT learn this client's address, as does whoever looks for the same protocol name and version; C++
        nodes of librats 2 find it, and are found. Where the DHT runs already, that is waited for, unless other nodes to
        begin with are given.

        Args:
            bootstrap: Nodes to begin with, each ``"host"`` or ``"host:port"``; the configured ones where it is None.
            connect: Whether to connect to whoever is found. Either way a :class:`~librats.PeerDiscovered` event tells
                of each.
            meet: Whether to be announced under the protocol, and to look for others there, at all; see
                :meth:`join_topic` for meeting fewer.

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
                await self._end_topics()
                await self._dht.start(self._dht_place(), bootstrap)
                self._start_being_found()
        try:
            is_in = await self._dht.wait()
        except asyncio.CancelledError:
            if opened:
                await self.stop_dht_discovery()
            raise
        if self._dht.is_running:
            if meet:
                self._joined[""] = connect
            self._start_topics()
        return is_in

    async def stop_dht_discovery(self) -> None:
        """Leave the DHT. What was announced there is forgotten within half an hour. Idempotent."""
        async with self._dht_changing:
            await self._stop_being_found()
            await self._end_topics()
            self._joined.clear()
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

    async def join_topic(self, topic: str, *, connect: bool = True) -> None:
        """Meet others of the same protocol and the same topic in the DHT.

        This client is announced under :meth:`get_discovery_hash` of the topic, now and every ``announce_interval``, and
        others are looked for there, every ``search_interval`` while fewer than ``peer_target`` of them are connected. A
        :class:`~librats.PeerDiscovered` event tells once of each address that was found. Whoever is found and runs the
        same protocol is connected to, and may be on other topics: a topic is no secret, and nothing keeps anybody out.

        Args:
            topic: A text of 1 to 256 bytes in UTF-8.
            connect: Whether to connect to whoever is found.

        Raises:
            UsageError: The DHT is not running, that is no topic, or the client is on 16 already.

        Example:
            .. code-block:: python

                await client.start_dht_discovery(meet=False)
                await client.join_topic("garden")
        """
        self._running()
        name = checked_name(topic)
        if not self._dht.is_running:
            raise UsageError("the DHT is not running: call start_dht_discovery() before you join a topic")
        self._topics = self._topics or self._new_topics()
        self._topics.join(name, connect=connect)
        self._joined[name] = connect

    async def leave_topic(self, topic: str) -> None:
        """Meet nobody on a topic any more; sessions go on. Others forget the announcement in half an hour. Idempotent.

        Args:
            topic: What :meth:`join_topic` was called with.

        Raises:
            UsageError: That is no topic.
        """
        name = checked_name(topic)
        self._joined.pop(name, None)
        if self._topics is not None:
            await self._topics.leave(name)

    @property
    def topics(self) -> frozenset[str]:
        """The topics that this client is on, by :meth:`join_topic`."""
        return frozenset(self._joined) - {""}

    def _new_topics(self) -> Topics:
        network = self._running_network()
        return Topics(self, self._dht, self._config, self._running(), network, self._tasks)

    def _start_topics(self) -> None:
        """Begin with those topics that were joined and are not begun with."""
        if self._joined:
            self._topics = self._topics or self._new_topics()
        for name, connect in self._joined.items():
            if self._topics is not None:
                self._topics.join(name, connect=connect)

    async def _end_topics(self) -> None:
        topics, self._topics = self._topics, None
        if topics is not None:
            await topics.close()

    def _topic_statistics(self) -> dict[str, dict[str, int]]:
        return {} if self._topics is None else self._topics.statistics()

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
            True where it runs; False where this machine's network does not let it, which is logged once, where the path
            policy is ``relay_only``, and where it was stopped meanwhile.
        """
        manager = self._running()
        if self._paths.hides_us:
            return False
        by_id = self._config.encryption is Encryption.REQUIRED
        meeting = LocalMeeting(self, manager, self._tasks, self._network, connect=connect, by_id=by_id)
        # In place before anything is waited for: whoever stops it meanwhile stops this one.
        before, self._meeting = self._meeting, meeting
        addresses = self.addresses
        if before is not None:
            await before.close()
        return await meeting.start(self._config.protocol, name, addresses, interfaces)

    async def stop_mdns_discovery(self) -> None:
        """Stop announcing and finding on the local network. Idempotent."""
        meeting, self._meeting = self._meeting, None
        if meeting is not None:
            await meeting.close()
