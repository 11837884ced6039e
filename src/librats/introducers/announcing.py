"""Who introduces others tells the DHT for whom: whoever knows no more of a peer than its id finds its introducers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

from librats.attempts.accounts import describe
from librats.dht.announcements import Announcements
from librats.dht.records import introducer_hash
from librats.errors import RatsError
from librats.runtime.tasks import TaskSet

__all__ = ["Announces", "IntroducerAnnouncer"]

logger = logging.getLogger("librats.introducer")

ANNOUNCE_TIMEOUT = 30.0
"""Seconds that one announcement may take."""

LOOK_AGAIN = 5.0
"""Seconds after which is looked again whether there is a DHT, and a port to announce."""


class Announces(Protocol):
    """What is asked of the DHT."""

    async def announce(
        self, info_hash: bytes, port: int | None = None, *, is_seed: bool = False, timeout: float | None = None
    ) -> int:
        """Announce this host under a hash."""


class IntroducerAnnouncer:
    """Announces one introducer under the hashes of those connected peers that want to be found by their ids.

    Args:
        dht: Returns the DHT; None while there is none.
        port: Returns the port at which the introducer is reached; None while nobody could reach it.
        tasks: Owner of the tasks.
    """

    def __init__(
        self,
        dht: Callable[[], Announces | None],
        port: Callable[[], int | None],
        tasks: TaskSet,
    ) -> None:
        self._dht = dht
        self._port = port
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._schedule = Announcements()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Return for how many peers it is announced."""
        return len(self._schedule)

    @property
    def counters(self) -> dict[str, int]:
        """What has happened so far."""
        return {"peers": len(self._schedule), **self._schedule.counters}

    def joined(self, peer_id: str) -> None:
        """Take that a peer is connected which wants to be found."""
        self._schedule.want(introducer_hash(peer_id), now=self._loop.time())
        self._changed.set()

    def left(self, peer_id: str) -> None:
        """Take that a peer is gone."""
        self._schedule.forget(introducer_hash(peer_id))

    async def run(self) -> None:
        """Announce, without end."""
        while True:
            dht, port = self._dht(), self._port()
            if dht is not None and port is not None:
                for key in self._schedule.due(now=self._loop.time()):
                    self._tasks.create(self._announce(dht, key, port), name="librats announces an introducer")
            await self._wait(LOOK_AGAIN if dht is None or port is None else None)

    async def _wait(self, most: float | None) -> None:
        """Wait until something is due, or has changed."""
        due = self._schedule.next_timer()
        seconds = None if due is None else max(0.0, due - self._loop.time())
        if most is not None and seconds is not None:
            seconds = max(seconds, most)
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _announce(self, dht: Announces, key: bytes, port: int) -> None:
        worked = False
        try:
            worked = await dht.announce(key, port, timeout=ANNOUNCE_TIMEOUT) > 0
        except RatsError as error:
            logger.debug("nobody has taken an announcement: %s", describe(error))
        finally:
            self._schedule.done(key, now=self._loop.time(), worked=worked)
            self._changed.set()
