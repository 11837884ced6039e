"""Nodes of the DHT that peers of torrents have: ours gets to know them (BEP 5)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from librats.errors import RatsError
from librats.runtime.tasks import TaskSet
from librats.types import Address

if TYPE_CHECKING:
    from librats.services.torrenting.seeking import DhtNode

__all__ = ["DhtNodes"]

logger = logging.getLogger("librats.torrent")

MAX_AT_ONCE: Final = 8
MAX_HOSTS: Final = 1000
PAUSE: Final = 600.0
"""Seconds in which no host is asked twice: who says that it has a node may say so again and again."""

TIMEOUT: Final = 10.0


class DhtNodes:
    """Pings nodes that peers tell of, so that ours knows those that answer.

    Args:
        dht: Our node.
        clock: Returns the time.
    """

    def __init__(self, dht: DhtNode, clock: Callable[[], float]) -> None:
        self._dht = dht
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._tasks = TaskSet()

    def told(self, address: Address) -> None:
        """Take note of a peer's node. One is left alone whose host was asked lately, or where many are being asked."""
        now = self._clock()
        if len(self._asked) >= MAX_HOSTS:
            self._asked = {host: since for host, since in self._asked.items() if now - since < PAUSE}
        is_late = now - self._asked.get(address.host, -PAUSE) < PAUSE
        if is_late or len(self._asked) >= MAX_HOSTS or len(self._tasks) >= MAX_AT_ONCE or not self._dht.listen_port:
            return
        self._asked[address.host] = now
        self._tasks.create(self._ping(address), name="torrent ping to a node")

    async def _ping(self, address: Address) -> None:
        try:
            await self._dht.ping(address, timeout=TIMEOUT)
        except RatsError as error:
            logger.debug("the node of a peer, %s, does not answer: %s", address, error)

    async def close(self) -> None:
        """Ask no more."""
        await self._tasks.close()
