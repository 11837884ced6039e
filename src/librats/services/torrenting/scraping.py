"""How many peers a torrent has: all its trackers asked at once, without taking part (BEP 15, 48)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from librats.bittorrent.tracker_scrape import ScrapeReply, SwarmCounts, read_scrape_reply, scrape_url
from librats.bittorrent.tracker_udp import UdpTracker
from librats.errors import RatsError, UsageError
from librats.runtime.network import Network
from librats.runtime.tasks import end_all
from librats.services.torrenting.asking import addresses_of, answers_of, ask_http, ask_udp
from librats.types import Address

__all__ = ["TrackerCounts", "scrape_trackers"]

GRACE: Final = 1.0
AT_ONCE = 64
FAMILIES = (False, True)
FIRST_UDP_WAIT = 2.5
UDP_TRIES = 4  # as many as are to have room in the time that there is
PATH = "/scrape"
SCHEMES = frozenset({"http", "https", "udp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerCounts:
    """How many peers a torrent has, as one tracker counts them; or why it does not tell.

    Whoever takes part under both hashes of a hybrid is counted under both, and over IPv4 and IPv6 often as well: of
    several numbers the greatest is told.
    """

    tracker: str
    """Its URL, as the torrent has it."""

    counts: Mapping[bytes, SwarmCounts] = field(default_factory=dict)
    """For each info-hash that it knows, of 20 bytes."""

    error: str = ""
    """Why it does not tell; "" where it does. May have words of the tracker: not to be trusted."""

    min_interval: int = 0
    """Seconds before which it is not to be asked again; 0 where it does not say."""

    @property
    def seeds(self) -> int | None:
        """Peers that have everything; None where it does not tell."""
        return max((told.seeds for told in self.counts.values()), default=None)

    @property
    def leechers(self) -> int | None:
        """Peers that lack something, wanted or not; None where it does not tell."""
        return max((told.leechers for told in self.counts.values()), default=None)

    @property
    def downloaded(self) -> int | None:
        """How often a peer has told that it has got everything; None where it does not tell."""
        return max((told.downloaded for told in self.counts.values()), default=None)

    @property
    def downloaders(self) -> int | None:
        """Those of the leechers that want something still (BEP 21); None where it does not tell."""
        return max((told.downloaders for told in self.counts.values() if told.downloaders is not None), default=None)


async def scrape_trackers(
    network: Network, urls: Sequence[str], info_hashes: Sequence[bytes], timeout: float
) -> list[TrackerCounts]:
    """Ask trackers how many peers a torrent has, at once.

    Args:
        network: Through what.
        urls: The trackers'.
        info_hashes: Of the torrent, 20 bytes each: of version 2 the first 20; of a hybrid both.
        timeout: Seconds that all of it takes at most; who has not answered by then is told as one that does not.

    Returns:
        For each tracker, in their order, what it tells, or why it does not.
    """
    turns = asyncio.Semaphore(AT_ONCE)  # a torrent may name more than there are sockets
    deadline = asyncio.get_running_loop().time() + timeout

    async def one(url: str) -> TrackerCounts:
        try:
            async with asyncio.timeout_at(deadline), turns:
                reply = await _scrape(network, url, info_hashes, timeout)
        except TimeoutError:
            return TrackerCounts(tracker=url, error=f"it does not answer within {timeout:g} s")
        except (RatsError, OSError, ValueError) as error:
            return TrackerCounts(tracker=url, error=str(error) or type(error).__name__)
        if not reply.counts:
            return TrackerCounts(tracker=url, error="it does not know the torrent", min_interval=reply.min_interval)
        return TrackerCounts(tracker=url, counts=MappingProxyType(reply.counts), min_interval=reply.min_interval)

    tasks = [asyncio.ensure_future(one(url)) for url in urls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await end_all(tasks)


async def _scrape(network: Network, url: str, info_hashes: Sequence[bytes], timeout: float) -> ScrapeReply:
    """Ask one tracker, over each family that it has an address of.

    Raises:
        RatsError: It cannot be scraped, refuses, or what it answers is none.
        OSError: It is not reached, or does not answer.
        ValueError: The URL is none.
    """
    scheme = urlsplit(url).scheme.lower()
    if scheme not in SCHEMES:
        raise UsageError(f"trackers over {scheme} are not asked")
    asked = "" if scheme == "udp" else scrape_url(url, info_hashes)
    found = await addresses_of(network, url, FAMILIES)
    tasks = [
        asyncio.ensure_future(
            _ask_http(network, asked, info_hashes, timeout, is_ipv6=is_ipv6)
            if asked
            else _ask_udp(network, address, info_hashes, timeout)
        )
        for is_ipv6, address in found.items()
    ]
    try:
        return _merged(await answers_of(tasks, GRACE))
    finally:
        await end_all(tasks)


async def _ask_http(
    network: Network, url: str, info_hashes: Sequence[bytes], timeout: float, *, is_ipv6: bool
) -> ScrapeReply:
    raw = await ask_http(network, url, is_ipv6=is_ipv6, path=PATH, timeout=timeout)
    return read_scrape_reply(raw, info_hashes)


async def _ask_udp(network: Network, address: Address, info_hashes: Sequence[bytes], timeout: float) -> ScrapeReply:
    tracker = UdpTracker(network.entropy, first_wait=min(FIRST_UDP_WAIT, timeout / UDP_TRIES))
    counts = await ask_udp(
        network, address, tracker, lambda now: tracker.scrape(info_hashes, now), lambda: tracker.counts
    )
    return ScrapeReply(counts=dict(zip(info_hashes, counts, strict=True)))


def _merged(replies: Sequence[ScrapeReply]) -> ScrapeReply:
    """Return what the answers of several families come to."""
    told: dict[bytes, list[SwarmCounts]] = {}
    for reply in replies:
        for info_hash, counts in reply.counts.items():
            told.setdefault(info_hash, []).append(counts)
    return ScrapeReply(
        counts={info_hash: _greatest(several) for info_hash, several in told.items()},
        min_interval=max(reply.min_interval for reply in replies),
    )


def _greatest(several: Sequence[SwarmCounts]) -> SwarmCounts:
    return SwarmCounts(
        seeds=max(counts.seeds for counts in several),
        leechers=max(counts.leechers for counts in several),
        downloaded=max(counts.downloaded for counts in several),
        downloaders=max((counts.downloaders for counts in several if counts.downloaders is not None), default=None),
        name=next((counts.name for counts in several if counts.name), ""),
    )
