"""Peers of one torrent that are found in the DHT, and find us there (BEP 5)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from librats.errors import RatsError
from librats.types import Address

if TYPE_CHECKING:
    from librats.runtime.tasks import TaskSet
    from librats.services.torrenting.download import Download

__all__ = ["DhtNode", "DhtSeeking"]

logger = logging.getLogger("librats.torrent")

PAUSE = 300.0
FIRST_PAUSE_ALONE = 2.0
MAX_PAUSE_ALONE = 60.0
TIMEOUT = 60.0
FEW_PEERS = 5


class DhtNode(Protocol):
    """A node of the DHT, as ``client.dht`` is one."""

    @property
    def listen_port(self) -> int:
        """The UDP port that it listens on, which peers are told; 0 for none."""

    async def ping(self, address: Address, *, timeout: float | None = None) -> object:
        """Get to know another node."""

    async def find_peers(self, info_hash: bytes, *, timeout: float | None = None) -> list[Address]:
        """Return peers of a torrent."""

    async def announce(self, info_hash: bytes, port: int | None = None, *, timeout: float | None = None) -> int:
        """Tell the nodes nearest to a torrent that we have it."""


class DhtSeeking:
    """Finds peers for a torrent, and announces it.

    Args:
        download: The torrent.
        dht: The node to ask.
        port: Returns the port to announce. It is never implied: what a NAT makes of the port that datagrams of the DHT
            come from says nothing of the one that peers are listened for at.
    """

    def __init__(self, download: Download, dht: DhtNode, port: Callable[[], int]) -> None:
        self._download = download
        self._dht = dht
        self._port = port
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, tasks: TaskSet) -> None:
        """Begin."""
        self._task = tasks.create(self._seek(), name="torrent peers of the DHT")

    def announce_again(self) -> None:
        """Announce soon, as peers reach us at another port now."""
        self._hurry.set()

    def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()

    async def _seek(self) -> None:
        download, dht = self._download, self._dht
        alone = FIRST_PAUSE_ALONE / 2
        while not (download.torrent is not None and download.torrent.is_private):
            found: list[Address] = []
            self._hurry.clear()
            download.door.dht_at(dht.listen_port)
            try:
                for info_hash in download.door.info_hashes:
                    found += (new := await dht.find_peers(info_hash, timeout=TIMEOUT))
                    download.add_peers(new)
                    await dht.announce(info_hash, self._port(), timeout=TIMEOUT)
            except RatsError as error:
                logger.debug("the DHT does not help: %s", error)
            alone = min(2 * alone, MAX_PAUSE_ALONE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE if len(found) >= FEW_PEERS else alone):
                    await self._hurry.wait()
