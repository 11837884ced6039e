"""Trackers of one torrent: told when it begins, ends and in between, and asked for peers (BEP 3, 12, 15)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from urllib.parse import urlsplit

from librats.bittorrent.tracker_http import AnnounceReply, AnnounceRequest
from librats.errors import RatsError
from librats.runtime.network import Network
from librats.services.torrenting.announcing import GRACE, Announcer
from librats.services.torrenting.asking import NoHttpError
from librats.types import Address, Entropy

__all__ = ["Trackers"]

logger = logging.getLogger("librats.torrent")

STOP_TIMEOUT = 3.0
LAST_GRACE = 0.5  # nobody wants to wait for the end
FIRST_RETRY = 30.0
MAX_RETRY = 1800.0
MIN_INTERVAL = 60.0


class Trackers:
    """Asks one tracker of each tier; the next one of it where that fails.

    Args:
        network: Through what.
        tiers: URLs by tier.
        describe: Returns what to tell, for an event (``"started"``, ``"completed"``, ``"stopped"`` or ``""``), and
            whether it is told over IPv6: for each info-hash of the torrent.
        on_peers: Called with the peers that a tracker tells of.
        families: Whether peers reach us over IPv6 (True) and IPv4 (False).
    """

    def __init__(
        self,
        network: Network,
        tiers: Sequence[Sequence[str]],
        describe: Callable[[str, bool], Sequence[AnnounceRequest]],
        on_peers: Callable[[Iterable[Address]], object],
        families: Collection[bool] = (False, True),
    ) -> None:
        self._network = network
        self._tiers = [_shuffled(tier, network.entropy) for tier in tiers]
        self._describe = describe
        self._on_peers = on_peers
        self._families = families
        self._tasks: list[asyncio.Task[None]] = []
        self._told: dict[str, None] = {}  # trackers that were told that it has begun
        self._announcers: dict[str, Announcer] = {}
        self._hurry = [asyncio.Event() for _ in self._tiers]
        self._completed: set[int] = set()
        self._has_warned = False

    def start(self) -> None:
        """Begin to ask."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._keep_asking(number), name="torrent tracker") for number in range(len(self._tiers))
        ]

    def tell_completed(self) -> None:
        """Tell that the torrent is whole now."""
        self._completed.update(range(len(self._tiers)))
        for hurry in self._hurry:
            hurry.set()

    def announce_again(self) -> None:
        """Announce now, as peers reach us at another port than was told."""
        for hurry in self._hurry:
            hurry.set()

    async def close(self) -> None:
        """Tell that we go, and ask no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._told:
            farewells = [asyncio.create_task(self._say_goodbye(url)) for url in self._told]
            await asyncio.wait(farewells)

    async def _say_goodbye(self, url: str) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._announce(url, "stopped")
        except (RatsError, OSError, ValueError) as error:
            logger.debug("a tracker was not told of the end: %s", error)

    async def _keep_asking(self, number: int) -> None:
        retry = FIRST_RETRY
        hurry = self._hurry[number]
        while True:
            hurry.clear()
            reply = await self._ask_tier(number)
            if reply is None:
                pause, retry = retry, min(2 * retry, MAX_RETRY)
            else:
                pause, retry = max(reply.interval, reply.min_interval, MIN_INTERVAL), FIRST_RETRY
                self._on_peers(reply.peers)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await hurry.wait()

    async def _ask_tier(self, number: int) -> AnnounceReply | None:
        tier = self._tiers[number]
        for url in list(tier):
            is_completed = number in self._completed
            event = "started" if url not in self._told else "completed" if is_completed else ""
            try:
                reply = await self._announce(url, event)
            except (RatsError, OSError, ValueError) as error:
                is_news = isinstance(error, NoHttpError) and not self._has_warned
                self._has_warned |= is_news
                level = logging.WARNING if is_news else logging.INFO
                logger.log(level, "the tracker %s does not help: %s", urlsplit(url).netloc, error)
                continue
            if is_completed:
                self._completed.discard(number)
            self._told[url] = None
            tier.remove(url)
            tier.insert(0, url)  # the one that works is asked first from now on (BEP 12)
            if reply.warning:
                logger.info("the tracker %s says: %r", urlsplit(url).netloc, reply.warning)
            return reply
        return None

    async def _announce(self, url: str, event: str) -> AnnounceReply:
        announcer = self._announcers.get(url)
        if announcer is None:
            announcer = self._announcers[url] = Announcer(self._network, url, self._families)
        grace = LAST_GRACE if event == "stopped" else GRACE
        return await announcer.announce(lambda is_ipv6: self._describe(event, is_ipv6), grace=grace)


def _shuffled(tier: Sequence[str], entropy: Entropy) -> list[str]:
    """Return the trackers of a tier in any order, so that not everybody asks the same one (BEP 12)."""
    left = list(tier)
    return [left.pop(entropy.randbelow(len(left))) for _ in tier]
