"""Counting allocations together with the other relays of a fleet, in Redis or Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from librats.errors import ConfigError
from librats.turn.serving.quotas import Quotas
from librats.types import Entropy

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Fleet"]

logger = logging.getLogger("librats.relay")

INTERVAL = 1.0
"""Seconds between two exchanges."""

LIFE = 5
"""Intervals after which a relay that is not heard of is gone, with what it had."""

_PACKAGE = "librats[redis]"
_decode = msgspec.json.Decoder(dict[str, int]).decode


class Fleet:
    """Tells the other relays of a realm what users have here, and the quotas what they have there.

    It is never waited for: allocations are counted here, and the counts of others are those of the last exchange. While
    the server does not answer, the limits hold for this relay alone.

    Each relay writes its counts under a key of its own, which expires, so that those of a relay that was killed vanish.
    They are read again where a number beside them has changed.

    Args:
        url: Of the server: ``redis://``, ``rediss://`` or ``unix://``.
        realm: Relays of one realm are a fleet.
        quotas: The quotas of this relay.
        entropy: Where this relay's name comes from.

    Raises:
        ConfigError: The URL cannot be used, or redis is not installed.
    """

    def __init__(self, url: str, realm: str, quotas: Quotas, *, entropy: Entropy) -> None:
        if importlib.util.find_spec("redis") is None:
            raise ConfigError("fleet", f"needs redis: pip install '{_PACKAGE}'")
        from redis.asyncio import Redis  # noqa: PLC0415 - optional

        try:
            self._redis: Redis = Redis.from_url(
                url, socket_connect_timeout=INTERVAL, socket_timeout=INTERVAL, decode_responses=True
            )
        except ValueError:
            # What it says has parts of the URL in it: of the password, where that has a slash, for example.
            words = "is no URL: write redis://:PASSWORD@HOST:PORT, what is special in the password as %2F for a slash"
            raise ConfigError("fleet", words) from None
        self.relays = 1
        """Relays of the fleet that are there, this one among them."""
        self.failures = 0
        """Exchanges that did not come about."""
        self._quotas = quotas
        self._name = entropy.token_bytes(8).hex()
        self._prefix = f"librats:relay:{realm}:"
        self._told: dict[str, int] | None = None
        self._version = 0
        self._known: dict[str, tuple[str, dict[str, int]]] = {}
        self._heard = time.monotonic()
        self._is_down = False

    async def run(self) -> None:
        """Exchange counts until cancelled."""
        while True:
            await self.exchange()
            await asyncio.sleep(INTERVAL)

    async def exchange(self) -> None:
        """Tell and hear once. Nothing is raised where the server does not answer: that is counted, and logged once."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - optional

        try:
            async with asyncio.timeout(2 * INTERVAL):
                await self._tell()
                await self._hear()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return
        self._heard = time.monotonic()
        if self._is_down:
            self._is_down = False
            logger.info("the fleet's server answers again")

    async def close(self) -> None:
        """Take this relay's counts back, and disconnect."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - optional

        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(INTERVAL):
                await self._redis.delete(self._key("counts", self._name), self._key("version", self._name))
                await self._redis.srem(self._prefix + "relays", self._name)
        await self._redis.aclose()

    async def _tell(self) -> None:
        counts = self._quotas.by_owner()
        life = round(1000 * LIFE * INTERVAL)
        async with self._redis.pipeline(transaction=True) as pipe:
            if counts == self._told:
                pipe.pexpire(self._key("counts", self._name), life)
            else:
                self._version += 1
                pipe.set(self._key("counts", self._name), msgspec.json.encode(counts), px=life)
            pipe.set(self._key("version", self._name), self._version, px=life)
            pipe.sadd(self._prefix + "relays", self._name)
            still_there, *_ = await pipe.execute()
        self._told = counts if still_there else None  # the server may have lost everything

    async def _hear(self) -> None:
        members = await self._redis.smembers(self._prefix + "relays")
        others = sorted({str(member) for member in members} - {self._name})
        versions = await self._redis.mget([self._key("version", other) for other in others]) if others else []
        there = {other: str(version) for other, version in zip(others, versions, strict=True) if version is not None}
        gone = [other for other in others if other not in there]
        if gone:
            await self._redis.srem(self._prefix + "relays", *gone)
        new = [other for other, version in there.items() if self._known.get(other, ("",))[0] != version]
        values = await self._redis.mget([self._key("counts", other) for other in new]) if new else []
        for other, value in zip(new, values, strict=True):
            self._known[other] = there[other], self._read(other, value)
        self._known = {other: known for other, known in self._known.items() if other in there}
        self.relays = 1 + len(there)
        self._use()

    def _read(self, other: str, value: str | bytes | None) -> dict[str, int]:
        try:
            return {} if value is None else _decode(value)
        except msgspec.DecodeError as error:
            self.failures += 1
            logger.warning("what relay %s told the fleet cannot be read: %s", other, error)
            return {}

    def _use(self) -> None:
        """Let the quotas know what users have elsewhere."""
        elsewhere: Counter[str] = Counter()
        for _, counts in self._known.values():
            elsewhere.update(counts)
        self._quotas.elsewhere = dict(elsewhere)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if not self._is_down:
            self._is_down = True
            logger.warning("the fleet's server does not answer, quotas hold for this relay alone: %s", error)
        if time.monotonic() - self._heard > LIFE * INTERVAL:
            self._known.clear()
            self.relays = 1
            self._use()

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"
