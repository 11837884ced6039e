"""One tracker, told of a torrent over each address family that it has, over HTTP or UDP (BEP 3, 7, 15)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from librats.bittorrent.tracker_http import AnnounceReply, AnnounceRequest, announce_url, read_announce_reply
from librats.bittorrent.tracker_udp import UdpTracker
from librats.dht.addresses import compact, may_be_told
from librats.runtime.network import Network
from librats.runtime.tasks import end_all
from librats.services.torrenting.asking import addresses_of, answers_of, ask_http, ask_udp
from librats.types import Address

__all__ = ["GRACE", "Announcer"]

UDP_TIMEOUT: Final = 60.0
GRACE: Final = 5.0
"""Seconds that the other addresses of a tracker have once one has answered."""

FIRST_UDP_WAIT = 5.0
PATH = "/announce"
LOCALHOST = compact("127.0.0.1", 1)  # whatever a name may stand for

_Key = tuple[bool, bytes]  # whether it is over IPv6, and which info-hash it is about


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
        found = await addresses_of(self._network, self._url, self._families)
        tasks = [
            asyncio.ensure_future(self._tell(address, (is_ipv6, request.info_hash), request))
            for is_ipv6, address in found.items()
            for request in describe(is_ipv6)
        ]
        try:
            return _merged(await answers_of(tasks, grace))
        finally:
            await end_all(tasks)

    async def _tell(self, address: Address, key: _Key, request: AnnounceRequest) -> AnnounceReply:
        reply = await (self._tell_udp(address, key, request) if self._is_udp else self._tell_http(key, request))
        return replace(reply, peers=tuple(peer for peer in reply.peers if _may_tell(address, peer)))

    async def _tell_http(self, key: _Key, request: AnnounceRequest) -> AnnounceReply:
        url = announce_url(self._url, request, tracker_id=self._tracker_ids.get(key, b""))
        reply = read_announce_reply(await ask_http(self._network, url, is_ipv6=key[0], path=PATH))
        self._tracker_ids[key] = reply.tracker_id or self._tracker_ids.get(key, b"")
        return reply

    async def _tell_udp(self, address: Address, key: _Key, request: AnnounceRequest) -> AnnounceReply:
        known = self._udp.pop(key, None)
        if known is None or known[0] != address:
            parts = urlsplit(self._url)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            known = (address, UdpTracker(self._network.entropy, ipv6=key[0], path=path, first_wait=FIRST_UDP_WAIT))
        tracker = known[1]
        async with asyncio.timeout(UDP_TIMEOUT):
            reply = await ask_udp(
                self._network, address, tracker, lambda now: tracker.announce(request, now), lambda: tracker.reply
            )
        self._udp[key] = known
        return reply


def _may_tell(tracker: Address, peer: Address) -> bool:
    """Whether a tracker may have us dial a peer: one of the internet nobody of our network, nor by a name."""
    by = compact(tracker.host, tracker.port)
    return may_be_told(compact(peer.host, peer.port) if peer.is_literal else LOCALHOST, by)


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
