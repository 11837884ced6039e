"""Who finds peers for the torrents of a client, and tells others of them: trackers, the DHT, the local network."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from librats.bittorrent.tracker_http import AnnounceRequest
from librats.runtime.tasks import TaskSet
from librats.services.torrenting.seeking import DhtNode, DhtSeeking
from librats.services.torrenting.trackers import Trackers
from librats.services.torrenting.web_seeds import WebSeeds

if TYPE_CHECKING:
    from librats.bittorrent.magnet import Magnet
    from librats.bittorrent.metainfo import Torrent
    from librats.runtime.network import Network
    from librats.services.torrenting.choosing import Choosing
    from librats.services.torrenting.download import Download
    from librats.services.torrenting.local_seeking import LocalSeeking
    from librats.services.torrenting.outside import ReachedAt

__all__ = ["Finding"]

ANNOUNCE_AFTER = 2.0
"""Seconds from another port to telling trackers and the DHT: gateways map one port after the other."""

ANNOUNCE_INTERVAL = 60.0
"""Seconds from one such time to the next, for a gateway that cannot make up its mind."""


@dataclass(slots=True)
class _Ways:
    """Those of one torrent; None where it has none."""

    trackers: Trackers | None
    web_seeds: WebSeeds | None
    dht: DhtSeeking | None


class Finding:
    """Finds peers for every torrent of a client.

    Args:
        network: Through what.
        peer_id: The client's, 20 bytes.
        families: Over which addresses peers are listened for: True stands for IPv6, False for IPv4.
        ports: Returns the ports at which peers reach us.
        dht: The node to ask; None for none.
        local: Who finds peers on the local network; None for nobody. It is closed along with this.
    """

    def __init__(
        self,
        network: Network,
        peer_id: bytes,
        families: Collection[bool],
        ports: Callable[[], ReachedAt],
        *,
        dht: DhtNode | None,
        local: LocalSeeking | None,
    ) -> None:
        self._network = network
        self._peer_id = peer_id
        self._families = families
        self._ports = ports
        self._dht = dht
        self._local = local
        self._ways: dict[Download, _Ways] = {}
        self._tasks = TaskSet()
        self._announcing: asyncio.TimerHandle | None = None
        self._announced = -math.inf

    def add(
        self, download: Download, magnet: Magnet, torrent: Torrent | None, choosing: Choosing, web_seeds: Iterable[str]
    ) -> None:
        """Begin to find peers for a torrent.

        Args:
            download: The torrent.
            magnet: Its link.
            torrent: Itself; None where it is not there yet.
            choosing: What is wanted of it.
            web_seeds: URLs of web seeds that the user has named.
        """
        ways = self._ways[download] = _Ways(None, None, None)
        tiers = torrent.trackers if torrent is not None else tuple((url,) for url in magnet.trackers)
        if tiers:
            describe = partial(self._describe, download, choosing)
            ways.trackers = Trackers(self._network, tiers, describe, download.add_peers, self._families)
            ways.trackers.start()
        told, given = torrent.web_seeds if torrent is not None else magnet.web_seeds, list(web_seeds)
        if told or given:
            ways.web_seeds = WebSeeds(download, told, given)
            ways.web_seeds.start()
        if self._dht is not None:
            ways.dht = DhtSeeking(download, self._dht, lambda: self._ports().ipv4)
            ways.dht.start(self._tasks)
        if self._local is not None:
            self._local.add(download)

    async def remove(self, download: Download) -> None:
        """Find no more peers for a torrent, and tell its trackers that it goes."""
        ways = self._ways.pop(download, None)
        if ways is None:
            return
        if self._local is not None:
            self._local.remove(download)
        if ways.dht is not None:
            ways.dht.close()
        if ways.web_seeds is not None:
            await ways.web_seeds.close()
        if ways.trackers is not None:
            await ways.trackers.close()

    async def close(self) -> None:
        """End. The torrents were removed before."""
        if self._announcing is not None:
            self._announcing.cancel()
        if self._local is not None:
            await self._local.close()
        await self._tasks.close()

    def tell_ports(self) -> None:
        """Tell trackers and the DHT soon that peers reach us at other ports than before."""
        if self._announcing is not None:
            self._announcing.cancel()
        loop = asyncio.get_running_loop()
        due = max(loop.time() + ANNOUNCE_AFTER, self._announced + ANNOUNCE_INTERVAL)
        self._announcing = loop.call_at(due, self._announce_again)

    def _announce_again(self) -> None:
        self._announced = asyncio.get_running_loop().time()
        for ways in self._ways.values():
            if ways.trackers is not None:
                ways.trackers.announce_again()
            if ways.dht is not None:
                ways.dht.announce_again()

    def tell_trackers(self, download: Download) -> None:
        """Tell the trackers of a torrent that all that is wanted of it is there now, or is not any more."""
        ways, swarm = self._ways.get(download), download.swarm
        if ways is None or ways.trackers is None:
            return
        if swarm.is_complete and not swarm.is_partial_seed and download.traffic[0]:
            ways.trackers.tell_completed()
        else:
            ways.trackers.announce_again()  # something else is left than they were told; no download has ended

    def _describe(self, download: Download, choosing: Choosing, event: str, is_ipv6: bool) -> list[AnnounceRequest]:
        (downloaded, uploaded), picker, ports = download.traffic, download.swarm.picker, self._ports()
        return [
            AnnounceRequest(
                info_hash=info_hash,
                peer_id=self._peer_id,
                port=ports.ipv6 if is_ipv6 else ports.ipv4,
                uploaded=uploaded,
                downloaded=downloaded,
                left=choosing.bytes_left(None if picker is None else picker.have),
                event=event or ("paused" if download.swarm.is_partial_seed else ""),  # BEP 21
                key=int.from_bytes(self._peer_id[-4:]),
                wanted=0 if event == "stopped" else 50,
            )
            for info_hash in download.door.info_hashes
        ]
