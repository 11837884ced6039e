"""A relay's node of the DHT: it says there whom the relay introduces, so that they are found by their ids."""

from __future__ import annotations

import logging
from pathlib import Path

from librats.config import DhtConfig
from librats.dht.events import DhtUnreachable
from librats.errors import IdentityError
from librats.introducers.announcing import IntroducerAnnouncer
from librats.peers.identity import Identity, IdentityLock
from librats.peers.keeping.dht_nodes_file import DhtNodesFile
from librats.runtime.network import current_network
from librats.runtime.tasks import TaskSet
from librats.services.dht_handle import DhtHandle, DhtPlace

__all__ = ["RelayInDht"]

logger = logging.getLogger("librats.relay")


class RelayInDht:
    """A node of the DHT on a socket of its own, beside a relay.

    Args:
        settings: How it takes part.
        identity: Who the relay is.
        host: The address to listen on; empty for every interface.
        port: The port at which the relay introduces.
        directory: Where the nodes that are known are kept for the next run, if no other process keeps them there;
            None to keep them nowhere.
    """

    def __init__(
        self, settings: DhtConfig, identity: Identity, *, host: str, port: int, directory: Path | None = None
    ) -> None:
        self._tasks = TaskSet()
        self._directory = directory
        self._lock: IdentityLock | None = None
        self._host, self._port = host, port
        self._handle = DhtHandle(lambda: settings, lambda: bytes(identity.signing_key), self._tasks)
        self.announcer = IntroducerAnnouncer(lambda: self._handle.driver, lambda: port, self._tasks)
        """Announces the relay for those who are connected to it, and want that."""

    async def start(self) -> None:
        """Begin to get in, and to announce; wait for nobody.

        Raises:
            ConfigError: The port is taken.
        """
        if self._directory is not None:
            try:
                self._lock = IdentityLock.acquire(self._directory)
            except IdentityError as error:
                logger.warning("nodes of the DHT are not kept: %s", error)
        place = DhtPlace(
            network=current_network(),
            endpoint=None,
            listen_host=self._host,
            listen_port=self._port,
            file=None if self._lock is None or self._directory is None else DhtNodesFile(self._directory),
            on_event=self._unreachable,
        )
        await self._handle.start(place)
        self._tasks.create(self.announcer.run(), name="librats relay announces whom it introduces")

    @staticmethod
    def _unreachable(event: DhtUnreachable) -> None:
        logger.debug("no DHT: %s", event.reason)  # its node has told that as a warning

    @property
    def statistics(self) -> dict[str, int]:
        """How many nodes are known, for how many peers the relay is announced, and how often that has worked."""
        nodes = self._handle.statistics()["nodes"] if self._handle.is_running else 0
        return {"nodes": nodes, **self.announcer.counters}

    async def close(self) -> None:
        """Leave the DHT."""
        await self._handle.stop()
        await self._tasks.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
