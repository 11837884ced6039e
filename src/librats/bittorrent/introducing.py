"""What a peer is told of us when a connection begins, and again once that is something else (BEP 10)."""

from __future__ import annotations

from librats.bittorrent.extensions import ExtendedHandshake, compact_peer
from librats.bittorrent.metainfo import Torrent
from librats.bittorrent.peer import EXTENSIONS, MAX_QUEUED
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.types import Address

__all__ = ["introduction"]


def introduction(
    settings: SwarmSettings, torrent: Torrent | None, address: Address, *, upload_only: bool, is_private: bool
) -> ExtendedHandshake:
    """Return what a peer is told of us.

    Args:
        settings: What we are.
        torrent: The torrent, where it is known.
        address: Where the peer is.
        upload_only: Whether nothing is wanted any more.
        is_private: Whether peers may be had of trackers alone.
    """
    return ExtendedHandshake(
        extensions=EXTENSIONS | ({"ut_pex": 0} if is_private else {}),
        port=(":" in address.host and settings.port_ipv6) or settings.port,
        version=settings.version,
        your_ip=compact_peer(address)[:-2] if address.is_literal else b"",
        requests=MAX_QUEUED,
        metadata_size=len(torrent.info) if torrent is not None else 0,
        upload_only=upload_only,
        wants_encryption=settings.wants_encryption,
    )
