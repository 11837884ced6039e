"""Blocks of a torrent from servers over HTTP (BEP 19), next to those of peers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from librats.bittorrent.merkle import BLOCK_SIZE
from librats.bittorrent.picker import Block
from librats.bittorrent.web_seeds import WebRun, WebSeed
from librats.errors import RemoteProtocolError
from librats.runtime.network import current_network
from librats.runtime.tasks import TaskSet

if TYPE_CHECKING:
    from librats.services.torrenting.download import Download
    from librats.services.torrenting.http import HttpFiles

__all__ = ["WebSeeds"]

logger = logging.getLogger("librats.torrent")

MAX_SEEDS: Final = 8
LANES = 2
PAUSE = 1.0
SECONDS_AHEAD = 0.5
"""Seconds' worth of blocks that are asked for in one request where there is a limit."""


class WebSeeds:
    """Asks the web seeds of one torrent, two requests of each at a time, as long as pieces are missing.

    Args:
        download: The torrent.
        told: URLs that the torrent or its magnet link names.
        given: URLs that the user has named: their hosts may be in a private network, and on this machine.
    """

    def __init__(self, download: Download, told: Iterable[str], given: Sequence[str]) -> None:
        self._download = download
        self._urls = list(dict.fromkeys([*given, *told]))[:MAX_SEEDS]
        self._trusted = frozenset(urlsplit(url).hostname or "" for url in given)
        self._tasks = TaskSet()

    def start(self) -> None:
        """Begin, once the torrent is there."""
        self._tasks.create(self._begin(), name="torrent web seeds")

    async def close(self) -> None:
        """End every request."""
        await self._tasks.close()

    async def _begin(self) -> None:
        try:
            from librats.services.torrenting.http import HttpFiles  # noqa: PLC0415 - it needs an extra, slow to load
        except ImportError:
            logger.warning("web seeds need aiohttp: pip install 'librats[torrent]'")
            return
        download = self._download
        await download.wait_for_want()
        if download.torrent is None:
            return
        seeds = [WebSeed(url, download.torrent, now=download.now()) for url in self._urls]
        while not all(seed.is_useless for seed in seeds):
            await download.wait_for_want()
            http = HttpFiles(current_network(), self._trusted)
            try:
                download.swarm.web_seeds.update((seed.key, seed) for seed in seeds)
                await asyncio.gather(*(self._follow(seed, http) for seed in seeds for _ in range(LANES)))
            finally:
                download.swarm.web_seeds.clear()
                await http.close()

    async def _follow(self, seed: WebSeed, http: HttpFiles) -> None:
        """Ask one server until all is there, or it is of no use."""
        download = self._download
        while not seed.is_useless and not download.swarm.is_complete:
            blocks = await self._pick(seed) if seed.next_time <= download.now() else []
            if not blocks:
                await asyncio.sleep(PAUSE)
                continue
            await self._fetch(seed, http, blocks)
        if seed.is_useless:
            logger.info("the web seed %s is not asked any more", urlsplit(seed.url).netloc)

    async def _pick(self, seed: WebSeed) -> list[Block]:
        """Return blocks to ask for; where there is a limit, as many as there were turns for."""
        swarm, gate = self._download.swarm, self._download.swarm.gate
        if gate is None:
            return swarm.pick(seed, seed.ahead)
        if not swarm.may_ask:
            return []
        count = max(1, min(seed.ahead, int(gate.rate * SECONDS_AHEAD) // BLOCK_SIZE))
        for _ in range(count):
            await self._download.limits.down.turn(gate, BLOCK_SIZE)
        blocks = swarm.pick(seed, count)
        gate.give_back((count - len(blocks)) * BLOCK_SIZE)
        return blocks

    async def _fetch(self, seed: WebSeed, http: HttpFiles, blocks: list[Block]) -> None:
        """Fetch blocks, and give back those that do not come."""
        swarm = self._download.swarm
        left = dict.fromkeys(blocks)
        try:
            for run in seed.runs(blocks):
                data = await self._fetch_run(seed, http, run)
                if data is None:
                    return
                seed.succeed(run.size)
                at = 0
                for block in run.blocks:
                    piece, begin, length = block
                    del left[block]
                    swarm.take_block(seed, piece, begin, data[at : at + length])
                    at += length
                self._download.settle()
        finally:
            for piece, begin, _ in left:
                swarm.release(seed, piece, begin)

    async def _fetch_run(self, seed: WebSeed, http: HttpFiles, run: WebRun) -> memoryview | None:
        from librats.services.torrenting.http import HttpRefusal  # noqa: PLC0415 - it is there

        data = memoryview(bytearray(run.size))
        for part in run.parts:
            try:
                await http.fetch(part, data[part.at : part.at + part.size])
            except HttpRefusal as refusal:
                logger.info("the web seed %s: %s", urlsplit(part.url).netloc, refusal)
                if refusal.is_lasting:
                    seed.lose_file(part.file)
                else:
                    seed.fail(self._download.now(), pause=refusal.retry_after)
                return None
            except RemoteProtocolError as error:
                logger.info("the web seed %s: %s", urlsplit(part.url).netloc, error)
                seed.fail(self._download.now())
                return None
        return data
