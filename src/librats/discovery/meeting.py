"""Meeting peers on the local network: what mDNS finds is told, remembered, and dialled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from librats.errors import ClosedError, RatsError
from librats.peers.events import PeerDiscovered
from librats.peers.manager import PeerManager
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.types import Address

if TYPE_CHECKING:
    from librats.peers.peer import Peer
    from librats.services.mdns import MdnsDiscovery
    from librats.services.mdns_records import MdnsPeer

__all__ = ["LocalMeeting"]

logger = logging.getLogger("librats.meeting")

POLITE_DELAY = 1.0
"""Seconds that the side with the greater peer id leaves the other one to dial."""

RETRY_DELAYS = (0.0, 2.0, 10.0)
MAX_DIALS = 16


class _Dialler(Protocol):
    @property
    def peer_id(self) -> str:
        """Who we are."""

    async def connect(self, target: str) -> Peer:
        """Connect to a peer."""


class LocalMeeting:
    """Finds peers on the local network for one client.

    Args:
        client: Dials.
        manager: Knows who is connected.
        tasks: Owner of the dials.
        network: Where to look for them; the network of the loop where it is None.
        connect: Whether to dial whoever is found.
        by_id: Whether whoever answers has to prove the id that was found; not where encryption is off.
    """

    def __init__(
        self,
        client: _Dialler,
        manager: PeerManager,
        tasks: TaskSet,
        network: Network | None,
        *,
        connect: bool,
        by_id: bool = True,
    ) -> None:
        self._client = client
        self._manager = manager
        self._tasks = tasks
        self._network = network
        self._connect = connect
        self._by_id = by_id
        self._discovery: MdnsDiscovery | None = None
        self._dialling: set[str] = set()
        self._closed = False
        self._announced: tuple[str, str, Sequence[Address], Sequence[str] | None] | None = None

    async def start(
        self, protocol: str, name: str, addresses: Sequence[Address], interfaces: Sequence[str] | None
    ) -> bool:
        """Announce and browse; False where the network does not let us, or this was closed, before or meanwhile."""
        if self._closed:
            return False
        from librats.services.mdns import MdnsDiscovery  # noqa: PLC0415 - a module that not every client needs

        self._announced = (protocol, name, addresses, interfaces)
        self._discovery = MdnsDiscovery(
            self._client.peer_id,
            addresses[0].port,
            protocol=protocol,
            name=name,
            interfaces=interfaces,
            addresses=[address.host for address in addresses],
            on_found=self._found,
            network=self._network,
        )
        try:
            return await self._discovery.start()
        except ClosedError:
            return False

    async def announce_again(self) -> None:
        """Announce the client under the id that it has now."""
        if self._discovery is not None and self._announced is not None:
            await self._end()
            await self.start(*self._announced)

    async def close(self) -> None:
        """Say goodbye on the network, for good. Idempotent."""
        self._closed = True
        await self._end()

    async def _end(self) -> None:
        discovery, self._discovery = self._discovery, None
        if discovery is not None:
            await discovery.close()

    def addresses_of(self, peer_id: str) -> list[Address]:
        """Return where a peer was found."""
        found = self._discovery.peers.get(peer_id) if self._discovery is not None else None
        return list(found.addresses) if found is not None else []

    def _found(self, found: MdnsPeer) -> None:
        event = PeerDiscovered(found.peer_id, found.addresses, found.name, "mdns")
        self._manager.dispatcher.announce(event)
        dialling = found.peer_id in self._dialling or len(self._dialling) >= MAX_DIALS
        if self._connect and found.peer_id and found.peer_id not in self._manager.peers and not dialling:
            self._dialling.add(found.peer_id)
            self._tasks.create(self._dial(found.peer_id), name=f"librats meets {found.peer_id[:8]}")

    async def _dial(self, peer_id: str) -> None:
        try:
            if self._client.peer_id > peer_id:
                await asyncio.sleep(POLITE_DELAY)
            for delay in RETRY_DELAYS:
                await asyncio.sleep(delay)
                addresses = self.addresses_of(peer_id)
                if peer_id in self._manager.peers or not addresses:
                    return
                try:
                    await self._client.connect(peer_id if self._by_id else str(addresses[0]))
                except RatsError as error:
                    logger.debug("found %s, but: %s", peer_id[:8], error)
                else:
                    return
        finally:
            self._dialling.discard(peer_id)
