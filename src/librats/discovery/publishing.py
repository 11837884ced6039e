"""A peer's record in the DHT: published, kept there, and published anew when the peer is somewhere else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

from msgspec import structs

from librats.attempts.accounts import describe
from librats.dht.items import Item
from librats.dht.records import RECORD_SALT, PeerRecord, record_target
from librats.errors import RatsError
from librats.peers.identity import Identity

__all__ = ["Publisher", "Puts"]

logger = logging.getLogger("librats.publishing")

LIFETIME = 7200.0
"""Seconds for which a record is good: as long as nodes keep it."""

REFRESH = 2400.0
"""Seconds after which it is published again, though nothing has changed: two tries may fail before nodes forget it."""

LOOK_EVERY = 5.0
"""Seconds after which is looked whether something has changed."""

LEAST = 20.0
"""Seconds between two records of one identity."""

RETRIES = (3.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds after which it is tried again, the last ones for all that follow."""

TIMEOUT = 60.0


class Puts(Protocol):
    """What is asked of the DHT."""

    async def get(self, target: bytes, *, salt: bytes = b"", timeout: float | None = None) -> Item | None:
        """Return the newest item at a target."""

    async def put(self, item: Item, *, compare: int | None = None, timeout: float | None = None) -> int:
        """Put an item, and return how many nodes took it."""


class Publisher:
    """Publishes the record of one client, as long as it runs.

    Args:
        dht: Returns the DHT; None while there is none.
        describe: Returns what the record is to tell; its ``expires`` and ``sequence`` do not count.
        identity: Returns who the client is.
        wall: Returns seconds since 1970.
    """

    def __init__(
        self,
        dht: Callable[[], Puts | None],
        describe: Callable[[], PeerRecord],
        identity: Callable[[], Identity],
        *,
        wall: Callable[[], float],
    ) -> None:
        self._dht = dht
        self._describe = describe
        self._identity = identity
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._sequences: dict[bytes, int] = {}
        self._published: PeerRecord | None = None
        self._verify_key = b""
        self._not_before = float("-inf")
        self._refresh_at = float("-inf")
        self._failures = 0
        self._changed = asyncio.Event()
        self.counters = dict.fromkeys(("published", "failed"), 0)
        """What has happened so far."""

    @property
    def record(self) -> PeerRecord | None:
        """What was published last; None where nothing has been."""
        return self._published

    def look(self) -> None:
        """Look now whether something has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Publish, without end."""
        while True:
            dht = self._dht()
            if dht is not None and self._is_due():
                await self._publish(dht)
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._changed.wait()

    def _is_due(self) -> bool:
        if self._identity().verify_key != self._verify_key:
            return True  # the record of another identity counts for nothing
        now = self._loop.time()
        return now >= self._not_before and (now >= self._refresh_at or not self._is_the_same())

    def _is_the_same(self) -> bool:
        before = self._published
        return before is not None and self._to_tell() == structs.replace(before, expires=0, sequence=0)

    def _to_tell(self) -> PeerRecord:
        return structs.replace(self._describe(), expires=0, sequence=0)

    async def _publish(self, dht: Puts) -> None:
        identity, now = self._identity(), self._wall()
        self._verify_key = identity.verify_key
        sequence = max(int(now), self._sequences.get(identity.verify_key, 0) + 1)
        record = structs.replace(
            self._to_tell(), public_key=identity.public_key, expires=int(now + LIFETIME), sequence=sequence
        )
        try:
            taken = await self._put(dht, record, identity)
        except RatsError as error:
            self.counters["failed"] += 1
            self._refresh_at = self._not_before = self._loop.time() + RETRIES[min(self._failures, len(RETRIES) - 1)]
            level = logging.DEBUG if self._failures else logging.WARNING
            self._failures += 1
            logger.log(level, "the record of %s is not published: %s", identity.peer_id[:8], describe(error))
            return
        self._failures = 0
        self.counters["published"] += 1
        self._not_before = self._loop.time() + LEAST
        self._refresh_at = self._loop.time() + REFRESH
        logger.debug("%d nodes have the record of %s", taken, identity.peer_id[:8])

    async def _put(self, dht: Puts, record: PeerRecord, identity: Identity) -> int:
        """Put a record; where nobody takes it because there is a later one, put one that is later yet."""
        seed = bytes(identity.signing_key)
        try:
            taken = await dht.put(record.sign(seed), timeout=TIMEOUT)
        except RatsError:
            there = await dht.get(record_target(identity.verify_key), salt=RECORD_SALT, timeout=TIMEOUT)
            if there is None or there.sequence < record.sequence:
                raise
            # This host's clock was ahead once, or another one's of the same identity is.
            record = structs.replace(record, sequence=there.sequence + 1)
            taken = await dht.put(record.sign(seed), timeout=TIMEOUT)
        self._sequences = {identity.verify_key: record.sequence}
        self._published = record
        return taken
