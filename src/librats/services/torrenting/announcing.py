"""One tracker, told of a torrent over each address family that it has, over HTTP or UDP (BEP 3, 7, 15)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from librats.bittorrent.redirects import moved_to
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
from librats.runtime.tasks import end_all
from librats.types import Address

__all__ = ["GRACE", "Announcer", "NoHttpError"]

HTTP_TIMEOUT: Final = 20.0
UDP_TIMEOUT: Final = 60.0
GRACE: Final = 5.0
"""Seconds that the other addresses of a tracker have once one has answered."""


REDIRECTS = 3
DEFAULT_PORTS = {"http": 80, "https": 443, "udp": 80}
FIRST_UDP_WAIT = 5.0


_Key = tuple[bool, bytes]  # whether it is over IPv6, and which info-hash it is about


class NoHttpError(RatsError):
    """There is nothing here with which to ask trackers over HTTP."""


class Announcer:
    """Tells one tracker.

    Args:
        network: Through what.
        url: The tracker's.
        families: Whether peers reach us over IPv6 (True) and IPv4 (False). A tracker that has several is told over
            each, for it tells those of IPv6 of addresses that it has seen (BEP 7).
    """

    def __init__(self, network: Network, url: str, families: Collection[bool]) -> None:
        self._network = network
        self._url = url
        self._families = families
        self._is_udp = urlsplit(url).scheme.lower() == "udp"
        self._udp: dict[_Key, tuple[Address, UdpTracker]] = {}
        self._tracker_ids: dict[_Key, bytes] = {}

    async def announce(
        self, describe: Callable[[bool], Sequence[AnnounceRequest]], *, grace: float = GRACE
    ) -> AnnounceReply:
        """Tell the tracker, and return what it answers over all families, about all hashes.

        Args:
            describe: Returns what to tell, given whether it is told over IPv6: for each info-hash of the torrent.
            grace: Seconds that the others have once one has answered.

        Raises:
            RatsError: It refuses, or what it answers is none.
            OSError: It is not reached, or does not answer.
            ValueError: The URL is none.
        """
        found = await self._addresses()
        tasks = [
            asyncio.ensure_future(self._tell(address, (is_ipv6, request.info_hash), request))
            for is_ipv6, address in found.items()
            for request in describe(is_ipv6)
        ]
        try:
            return _merged(await _answers(tasks, grace))
        finally:
            await end_all(tasks)

    async def _addresses(self) -> dict[bool, Address]:
        """Return an address of the tracker for each family that is of use, the best one first."""
        parts = urlsplit(self._url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme.lower(), 0)
        found: dict[bool, Address] = {}
        for address in await self._network.resolve(Address(parts.hostname or "", port)):
            found.setdefault(":" in address.host, address)
        return {is_ipv6: found[is_ipv6] for is_ipv6 in found if is_ipv6 in self._families} or found

    async def _tell(self, address: Address, key: _Key, request: AnnounceRequest) -> AnnounceReply:
        if self._is_udp:
            return await self._tell_udp(address, key, request)
        url = announce_url(self._url, request, tracker_id=self._tracker_ids.get(key, b""))
        reply = await _tell_http(self._network, url, key[0])
        self._tracker_ids[key] = reply.tracker_id or self._tracker_ids.get(key, b"")
        return reply

    async def _tell_udp(self, address: Address, key: _Key, request: AnnounceRequest) -> AnnounceReply:
        known = self._udp.pop(key, None)
        if known is None or known[0] != address:
            parts = urlsplit(self._url)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            known = (address, UdpTracker(self._network.entropy, ipv6=key[0], path=path, first_wait=FIRST_UDP_WAIT))
        async with asyncio.timeout(UDP_TIMEOUT):
            reply = await _run_udp(self._network, *known, request)
        self._udp[key] = known
        return reply


async def _answers(tasks: Sequence[asyncio.Future[AnnounceReply]], grace: float) -> list[AnnounceReply]:
    """Return what has come of announcements; those that come much later than the others are not waited for.

    Raises:
        Exception: None has come; why one has not.
    """
    replies: list[AnnounceReply] = []
    failures: list[BaseException] = []
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(
            pending, timeout=grace if replies else None, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            error = task.exception()
            if error is None:
                replies.append(task.result())
            else:
                failures.append(error)
        if not done:
            break
    if not replies:
        raise failures[0] if failures else OSError("the tracker has no address")
    return replies


def _merged(replies: Sequence[AnnounceReply]) -> AnnounceReply:
    """Return what several answers come to."""
    return AnnounceReply(
        peers=tuple(dict.fromkeys(peer for reply in replies for peer in reply.peers)),
        interval=max(reply.interval for reply in replies),
        min_interval=max(reply.min_interval for reply in replies),
        seeds=max(reply.seeds for reply in replies),
        leechers=max(reply.leechers for reply in replies),
        warning=next((reply.warning for reply in replies if reply.warning), ""),
        external_ip=next((reply.external_ip for reply in replies if reply.external_ip), ""),
    )


async def _run_udp(network: Network, address: Address, tracker: UdpTracker, request: AnnounceRequest) -> AnnounceReply:
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    refusals: list[RemoteProtocolError] = []  # one at the most: nothing is asked after it

    def receive(items: list[tuple[bytes, Any]]) -> None:
        # At once, so that nothing is kept of what whoever sends in the tracker's name sends.
        for data, origin in items:
            if (origin.host, origin.port) == (address.host, address.port):
                try:
                    tracker.receive_datagram(data, loop.time())
                except RemoteProtocolError as refusal:
                    refusals.append(refusal)
                came.set()

    endpoint = await network.open_datagram("::" if ":" in address.host else "0.0.0.0", 0, receive=receive)  # noqa: S104
    try:
        tracker.announce(request, loop.time())
        while tracker.reply is None:
            for datagram in tracker.datagrams_to_send():
                endpoint.send(datagram, address)
            came.clear()
            try:
                async with asyncio.timeout_at(tracker.next_time):
                    await came.wait()
            except TimeoutError:
                tracker.handle_timer(loop.time())
            if refusals:
                raise refusals[0]
        return tracker.reply
    finally:
        endpoint.close()


async def _tell_http(network: Network, url: str, is_ipv6: bool) -> AnnounceReply:
    try:
        import aiohttp  # noqa: PLC0415 - an extra, and slow to import
        from yarl import URL  # noqa: PLC0415 - comes with it

        from librats.services.torrenting.resolving import FamilyResolver  # noqa: PLC0415 - needs it, too
    except ImportError:
        raise NoHttpError("trackers over HTTP need aiohttp: pip install 'librats[torrent]'") from None
    timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT)
    connector = aiohttp.TCPConnector(resolver=FamilyResolver(network, is_ipv6), use_dns_cache=False)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=True) as session:
            for _ in range(REDIRECTS + 1):
                _check_target(url)
                # The hash is encoded already; encoding it again would make another one of it.
                encoded = URL(url, encoded=True)
                async with session.get(encoded, allow_redirects=False) as response:
                    elsewhere = moved_to(url, response.status, response.headers)
                    if elsewhere is not None:
                        url = elsewhere
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
