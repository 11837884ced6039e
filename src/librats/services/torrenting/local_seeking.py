"""Peers on the local network: they are told of our torrents by multicast, and those that tell of theirs are dialled."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from librats.bittorrent.local_discovery import LSD_GROUPS, LocalAnnouncement, read_local_announcement
from librats.bittorrent.local_pacing import LocalPacing
from librats.errors import DecodeError
from librats.runtime.multicast import MulticastLink, MulticastSocket, multicast_links
from librats.runtime.network import Network, SystemNetwork
from librats.runtime.tasks import TaskSet
from librats.runtime.udp_sockets import EVERY_HOST
from librats.types import Address, Entropy

if TYPE_CHECKING:
    from librats.services.torrenting.download import Download

__all__ = ["LocalSeeking", "may_seek_locally"]

logger = logging.getLogger("librats.torrent")

LOOK: Final = 1.0
"""Seconds between two looks at which torrents may be told of."""

LOOK_AT_LINKS: Final = 30.0
"""Seconds between two looks at which networks this machine is in."""

COOKIE_SIZE = 8
MAX_LINKS = 64


def may_seek_locally(network: Network) -> bool:
    """Whether this network has multicast: not a simulated one, and none where LIBRATS_LSD=0 is in the environment."""
    return isinstance(network, SystemNetwork) and os.environ.get("LIBRATS_LSD") != "0"


class LocalSeeking:
    """Announces the torrents of a client on the local networks, and finds peers there (BEP 14).

    There are sockets only while there are torrents, and of these those are told of that are active and not private.

    Args:
        entropy: Where the name comes from by which our own announcements are known.
        hosts: The IP addresses that peers are listened for at; ``0.0.0.0`` and ``::`` for every network.
        port: The TCP port that they are listened for at; 0 for none, then nothing is announced.
        find: Returns the torrent of an info-hash; None where it is not here.
        wake: Dials for a torrent that has got another peer to dial.
    """

    def __init__(
        self,
        entropy: Entropy,
        hosts: Sequence[str],
        port: int,
        find: Callable[[bytes], Download | None],
        wake: Callable[[Download], object],
    ) -> None:
        self._cookie = entropy.token_bytes(COOKIE_SIZE).hex()
        self._hosts = frozenset(host.partition("%")[0] for host in hosts)
        self._port = port
        self._find = find
        self._wake = wake
        self._downloads: dict[Download, None] = {}
        self._active: set[bytes] = set()
        self._sockets: dict[MulticastLink, MulticastSocket] = {}
        self._pacing: dict[MulticastLink, LocalPacing] = {}
        self._complaints: set[tuple[str, bool]] = set()
        self._tasks = TaskSet()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def add(self, download: Download) -> None:
        """Take a torrent in. One that turns out to be private is never told of."""
        if self._is_closed:
            return
        self._downloads[download] = None
        if self._task is None:
            self._task = self._tasks.create(self._seek(), name="torrent peers of the local network")

    def remove(self, download: Download) -> None:
        """Let a torrent go."""
        self._downloads.pop(download, None)

    async def close(self) -> None:
        """End: torrents that are added afterwards are not told of."""
        self._is_closed = True
        await self._tasks.close()

    async def _seek(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        try:
            while self._downloads:
                await asyncio.sleep(LOOK)  # first, so that one announcement has all that are added at a time
                self._active = {one for download in self._downloads if _is_told(download) for one in _hashes(download)}
                if self._active and clock() >= due:
                    self._keep_sockets(await multicast_links())
                    due = clock() + LOOK_AT_LINKS
                for link in self._sockets:
                    self._announce(link, clock())
        finally:
            self._task = None
            self._keep_sockets([])

    def _keep_sockets(self, links: Sequence[MulticastLink]) -> None:
        """Have a socket on each of these networks that peers reach us in, and on no other one."""
        wanted = [link for link in links if self._listens_in(link)][:MAX_LINKS]
        for link in self._sockets.keys() - set(wanted):
            self._sockets.pop(link).close()
        for link in wanted:
            if link not in self._sockets:
                try:
                    socket = MulticastSocket(link, LSD_GROUPS[link.is_ipv6], partial(self._receive, link))
                except OSError as error:
                    self._complain(link, error)
                    continue
                # Who comes back to a network goes on there as before.
                self._sockets[link], self._pacing[link] = socket, self._pacing.pop(link, LocalPacing(self._cookie))
        for link in list(self._pacing)[: max(len(self._pacing) - MAX_LINKS, 0)]:
            if link not in self._sockets:
                del self._pacing[link]

    def _listens_in(self, link: MulticastLink) -> bool:
        return EVERY_HOST[link.is_ipv6] in self._hosts or not self._hosts.isdisjoint(link.hosts)

    def _complain(self, link: MulticastLink, error: OSError) -> None:
        """Say once that a network has no multicast: it is tried again and again."""
        kind = (link.interface, link.is_ipv6)
        if kind not in self._complaints and len(self._complaints) < MAX_LINKS:
            self._complaints.add(kind)
            family = "IPv6" if link.is_ipv6 else "IPv4"
            logger.info("no peers are found on the local network of %s over %s: %s", link.interface, family, error)

    def _announce(self, link: MulticastLink, now: float) -> None:
        pacing = self._pacing[link]
        told = pacing.take_due(self._active, now) if self._port else ()
        if told:
            message = LocalAnnouncement(port=self._port, info_hashes=told, cookie=self._cookie)
            try:
                self._sockets[link].send(message.encode(ipv6=link.is_ipv6))
            except OSError as error:
                pacing.put_back(told)
                self._complain(link, error)

    def _receive(self, link: MulticastLink, data: bytes, origin: Address) -> None:
        if link not in self._sockets or not link.holds(origin.host):
            return
        try:
            message = read_local_announcement(data)
        except DecodeError:
            return
        now = asyncio.get_running_loop().time()
        for info_hash in self._pacing[link].take(message, origin.host, self._active, now):
            download = self._find(info_hash)
            address = Address(origin.host, message.port)
            if download is not None and _is_told(download) and download.candidates.add_local(address, now):
                logger.debug("%s is on the local network", address)
                self._wake(download)


def _is_told(download: Download) -> bool:
    return download.wants_peers and not (download.torrent is not None and download.torrent.is_private)


def _hashes(download: Download) -> tuple[bytes, ...]:
    return download.door.info_hashes
