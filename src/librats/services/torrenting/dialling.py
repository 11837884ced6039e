"""Connections of all torrents of a client: who is dialled, and how many there may be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from librats.bittorrent.peer_telling import listens_at, wants_nothing
from librats.errors import RatsError
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.services.torrenting.wire import PeerWire, StreamChannel, WireHost
from librats.types import Address

if TYPE_CHECKING:
    from librats.services.torrenting.download import Download
    from librats.services.utp import UtpSocket

__all__ = ["PUNCHES", "Dialler"]

logger = logging.getLogger("librats.torrent")

HALF_OPEN = 16
PUNCHES: Final = 4
"""Of those that are dialled at once, so many at most because others have told us to."""

DIAL_TIMEOUT = 10.0


class Dialler:
    """Dials peers, a few at a time.

    Args:
        network: Through what.
        host: Who knows the torrents.
        tcp: Whether to dial over TCP.
        utp: The port to dial over uTP with, where TCP is not wanted or does not get through; None for none.
        max_peers: Connections of all torrents together.
        on_news: Called with a torrent of which all that is wanted is there now, or is not any more.
        on_dht_node: Called with where a peer's node of the DHT is.
    """

    def __init__(
        self,
        network: Network,
        host: WireHost,
        *,
        tcp: bool = True,
        utp: UtpSocket | None = None,
        max_peers: int,
        on_news: Callable[[Download], object],
        on_dht_node: Callable[[Address], object] = lambda _address: None,
    ) -> None:
        self.network = network
        """The network."""
        self._host = host
        self._tcp = tcp
        self._utp = utp
        self._max_peers = max_peers
        self._on_news = on_news
        self.take_dht_node = on_dht_node
        """Takes note of a peer's node of the DHT."""
        self._tasks = TaskSet()
        self._half_open = self._punching = 0
        self._downloads: dict[Download, None] = {}

    def add(self, download: Download) -> None:
        """Take a torrent in."""
        self._downloads[download] = None

    def remove(self, download: Download) -> None:
        """Let a torrent go."""
        self._downloads.pop(download, None)

    def has_room(self, download: Download) -> bool:
        """Whether one connection more may be taken for a torrent."""
        del download
        return sum(other.connections for other in self._downloads) < self._max_peers

    def tell_trackers(self, download: Download) -> None:
        """Have trackers told that all that is wanted of a torrent is there now, or is not any more."""
        self._on_news(download)

    def wake(self, download: Download) -> None:
        """Dial for a torrent, where it wants peers and there is room."""
        while self._half_open < HALF_OPEN and download.wants_peers and self.has_room(download):
            address = _next_address(download)
            if address is None:
                return
            self._dial_now(download, address)

    def punch(self, download: Download, address: Address) -> None:
        """Dial a peer that dials us at the same time, so that NATs between us let both through: over uTP alone.

        A third one has told us to, who may lie: it is dialled once, and not where all that may be under way is.
        """
        is_banned = download.candidates.is_banned(address.host)
        may_dial = self._half_open < HALF_OPEN and self._punching < PUNCHES and self.has_room(download)
        if self._utp is not None and may_dial and not is_banned:
            self._dial_now(download, address, punches=True)

    def _dial_now(self, download: Download, address: Address, *, punches: bool = False) -> None:
        self._half_open += 1
        self._punching += punches
        self._tasks.create(self._dial(download, address, punches=punches), name=f"torrent dial {address}")

    def turn(self, download: Download, wire: PeerWire) -> bool:
        """Have a peer that has ended a connection without a word dialled once more, with encryption or without.

        Returns:
            Whether it will be.
        """
        if self._host.encryption.may_turn and not download.is_closed:
            return download.candidates.turn(wire.address, download.now(), encrypted=not wire.is_covered)
        return False

    async def _dial(self, download: Download, address: Address, *, punches: bool) -> None:
        is_covered = self._host.encryption.begins_encrypted(download.candidates.is_encrypted(address))

        def channel() -> StreamChannel:
            return StreamChannel(self._host, download, address, is_covered=is_covered)

        try:
            try:
                if self._utp is not None and not punches and await download.meet(address):
                    return
                (found, *_) = await self.network.resolve(address)
                if self._tcp and not punches:
                    try:
                        await self.network.dial_tcp(channel, found, timeout=DIAL_TIMEOUT)
                    except OSError:
                        if self._utp is None:
                            raise
                    else:
                        return
                if self._utp is not None:
                    await self._utp.dial(channel, found, punch=punches, timeout=DIAL_TIMEOUT)
            except (OSError, RatsError, ValueError) as error:
                logger.debug("%s is not reached: %s", address, error)
                download.fail_to_dial(address)
        finally:
            self._half_open -= 1
            self._punching -= punches
            self.wake(download)

    async def close(self) -> None:
        """Stop dialling."""
        await self._tasks.close()


def _next_address(download: Download) -> Address | None:
    """Return whom to dial now; None for nobody. Who has dialled us is connected already."""
    candidates, links, now = download.candidates, download.swarm.links, download.now()
    while (address := candidates.take(now, seeds=not download.swarm.is_complete)) is not None:
        link = next((link for link in links.values() if listens_at(link) == address), None)
        if link is None:
            return address
        candidates.lose(address, now, is_seed=wants_nothing(link))
    return None
