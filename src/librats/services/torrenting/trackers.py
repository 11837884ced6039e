"""Trackers of one torrent: told when it begins, ends and in between, and asked for peers (BEP 3, 12, 15)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from librats.bittorrent.tracker_http import (
    MAX_REPLY,
    AnnounceReply,
    AnnounceRequest,
    announce_url,
    read_announce_reply,
)
from librats.bittorrent.tracker_udp import UdpTracker
from librats.errors import RatsError, RemoteProtocolError
from librats.runtime.network import Network
from librats.types import Address

__all__ = ["Trackers"]

logger = logging.getLogger("librats.torrent")

HTTP_TIMEOUT: Final = 20.0
STOP_TIMEOUT = 3.0
FIRST_RETRY = 30.0
MAX_RETRY = 1800.0
MIN_INTERVAL = 60.0
REDIRECTS = 3
MOVED = frozenset({301, 302, 303, 307, 308})
DEFAULT_UDP_PORT = 80
FIRST_UDP_WAIT = 5.0


class Trackers:
    """Asks one tracker of each tier; the next one of it where that fails.

    Args:
        network: Through what.
        tiers: URLs by tier.
        describe: Returns what to tell, for an event: ``"started"``, ``"completed"``, ``"stopped"`` or ``""``.
        on_peers: Called with the peers that a tracker tells of.
    """

    def __init__(
        self,
        network: Network,
        tiers: Sequence[Sequence[str]],
        describe: Callable[[str], AnnounceRequest],
        on_peers: Callable[[Iterable[Address]], object],
    ) -> None:
        self._network = network
        self._tiers = [list(tier) for tier in tiers]
        self._describe = describe
        self._on_peers = on_peers
        self._tasks: list[asyncio.Task[None]] = []
        self._told: dict[str, bytes] = {}  # trackers that were told that it has begun, and what they call themselves
        self._udp: dict[str, tuple[Address, UdpTracker]] = {}
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
                is_news = isinstance(error, _NoHttpError) and not self._has_warned
                self._has_warned |= is_news
                level = logging.WARNING if is_news else logging.INFO
                logger.log(level, "the tracker %s does not help: %s", urlsplit(url).netloc, error)
                continue
            if is_completed:
                self._completed.discard(number)
            self._told[url] = reply.tracker_id
            tier.remove(url)
            tier.insert(0, url)  # the one that works is asked first from now on (BEP 12)
            if reply.warning:
                logger.info("the tracker %s says: %r", urlsplit(url).netloc, reply.warning)
            return reply
        return None

    async def _announce(self, url: str, event: str) -> AnnounceReply:
        request = self._describe(event)
        if urlsplit(url).scheme.lower() == "udp":
            return await self._announce_udp(url, request)
        return await _announce_http(announce_url(url, request, tracker_id=self._told.get(url, b"")))

    async def _announce_udp(self, url: str, request: AnnounceRequest) -> AnnounceReply:
        known = self._udp.get(url)
        if known is None:
            parts = urlsplit(url)
            found = await self._network.resolve(Address(parts.hostname or "", parts.port or DEFAULT_UDP_PORT))
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            tracker = UdpTracker(self._network.entropy, ipv6=":" in found[0].host, path=path, first_wait=FIRST_UDP_WAIT)
            known = self._udp[url] = (found[0], tracker)
        try:
            return await _run_udp(self._network, *known, request)
        except BaseException:
            self._udp.pop(url, None)
            raise


async def _run_udp(network: Network, address: Address, tracker: UdpTracker, request: AnnounceRequest) -> AnnounceReply:
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[bytes] = asyncio.Queue()

    def receive(items: list[tuple[bytes, Any]]) -> None:
        for data, origin in items:
            if (origin.host, origin.port) == (address.host, address.port):
                came.put_nowait(data)

    endpoint = await network.open_datagram("::" if ":" in address.host else "0.0.0.0", 0, receive=receive)  # noqa: S104
    try:
        tracker.announce(request, loop.time())
        while tracker.reply is None:
            for datagram in tracker.datagrams_to_send():
                endpoint.send(datagram, address)
            try:
                async with asyncio.timeout_at(tracker.next_time):
                    data = await came.get()
            except TimeoutError:
                tracker.handle_timer(loop.time())
            else:
                tracker.receive_datagram(data, loop.time())
        return tracker.reply
    finally:
        endpoint.close()


class _NoHttpError(RatsError):
    """There is nothing here with which to ask trackers over HTTP."""


async def _announce_http(url: str) -> AnnounceReply:
    try:
        import aiohttp  # noqa: PLC0415 - an extra, and slow to import
        from yarl import URL  # noqa: PLC0415 - comes with it
    except ImportError:
        raise _NoHttpError("trackers over HTTP need aiohttp: pip install 'librats[torrent]'") from None
    timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as session:
            for _ in range(REDIRECTS + 1):
                _check_target(url)
                # The hash is encoded already; encoding it again would make another one of it.
                encoded = URL(url, encoded=True)
                async with session.get(encoded, allow_redirects=False) as response:
                    if response.status in MOVED and "Location" in response.headers:
                        url = urljoin(url, response.headers["Location"])
                        continue
                    raw = await response.content.read(MAX_REPLY + 1)
                    while len(raw) <= MAX_REPLY and (more := await response.content.read(MAX_REPLY)):
                        raw += more
                    if response.status >= 400 and not raw.startswith(b"d"):  # noqa: PLR2004 - HTTP errors
                        raise RemoteProtocolError(f"the tracker answers {response.status}")
                    return read_announce_reply(raw)
    except aiohttp.ClientError as error:
        raise RemoteProtocolError(f"the tracker is not reached: {type(error).__name__}") from None
    raise RemoteProtocolError("the tracker sends us in circles")


def _check_target(url: str) -> None:
    """See that a torrent does not make us ask services of this machine that are no trackers.

    Raises:
        RemoteProtocolError: It would.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"}:
        raise RemoteProtocolError("the tracker sends us elsewhere than to HTTP")
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if is_here and not parts.path.startswith("/announce"):
        raise RemoteProtocolError("a tracker on this machine whose path is not /announce")
