"""Who is let in to a torrent, and what is said at its door: the handshakes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from librats.bittorrent.messages import Handshake
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.dht.addresses import compact, network_of
from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.peer import PeerLink
    from librats.services.torrenting.download import Download
    from librats.services.torrenting.wire import PeerWire

__all__ = ["MAX_OF_HOST", "Door"]

MAX_OF_HOST: Final = 8
"""Connections of one torrent with one host at most that it has dialled: else one had all places."""


class Door:
    """Where peers enter.

    Args:
        download: Whose.
        settings: What we are.
    """

    def __init__(self, download: Download, settings: SwarmSettings) -> None:
        self._download = download
        self.settings = settings
        """What we are."""

    def dht_at(self, port: int) -> None:
        """Have peers told at which UDP port our node of the DHT listens, where that is another one than before.

        Args:
            port: The port; 0 for none.
        """
        if port != self.settings.dht_port:
            self.settings = replace(self.settings, dht_port=port)
            self._download.swarm.dht_at(port)
            self._download.settle()

    @property
    def info_hashes(self) -> tuple[bytes, ...]:
        """The hashes, of 20 bytes, that peers ask for the torrent with."""
        return self._download.magnet.info_hashes

    def knows(self, info_hash: bytes) -> bool:
        """Whether a hash of 20 bytes is this torrent's."""
        return info_hash in self.info_hashes

    def own_handshake(self, theirs: Handshake | None) -> Handshake:
        """Return our handshake, which is about the same hash as theirs."""
        magnet = self._download.magnet
        is_hybrid = magnet.info_hash_v1 is not None and magnet.info_hash_v2 is not None
        info_hash = theirs.info_hash if theirs is not None else magnet.info_hash
        return Handshake.of(info_hash, self.settings.peer_id, dht=bool(self.settings.dht_port), v2=is_hybrid)

    def refusal(self, wire: PeerWire, theirs: Handshake) -> str:
        """Say why a peer is not talked to; "" where it is."""
        download = self._download
        if theirs.peer_id == self.settings.peer_id:
            download.candidates.ban(wire.address, whole_host=False)
            return "it is ourselves"
        if download.is_closed or download.candidates.is_banned(wire.address.host):
            return "it is not talked to"
        for link in download.swarm.links.values():
            if link.handshake.peer_id == theirs.peer_id and not self._give_way(link, wire, theirs.peer_id):
                return "it is connected already"
        if wire.is_outgoing:
            return ""
        host = _host_of(wire.address)
        incoming = (link for link in download.swarm.links.values() if not link.is_outgoing)
        if sum(_host_of(link.address) == host for link in incoming) >= MAX_OF_HOST:
            return "there are too many connections with its host"
        return "" if download.has_room else "there are too many connections"

    def _give_way(self, link: PeerLink, wire: PeerWire, peer_id: bytes) -> bool:
        """End a connection for another one with the same peer, where both sides have dialled at the same time.

        Both sides have to keep the same one: that which the one with the greater id has dialled.
        """
        wanted = self.settings.peer_id > peer_id
        if link.is_outgoing in {wire.is_outgoing, wanted}:
            return False
        self._download.swarm.drop(link, "both sides have dialled")
        return True


def _host_of(address: Address) -> bytes:
    """Return what counts as one host: on this one each port, for many clients may be here."""
    return network_of(compact(address.host, address.port))
