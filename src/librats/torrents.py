"""BitTorrent for applications: torrents made, downloaded and seeded."""

from __future__ import annotations

from librats.bittorrent.magnet import Magnet, parse_magnet
from librats.bittorrent.metainfo import Torrent, read_torrent
from librats.services.torrent import TorrentClient
from librats.services.torrent_creating import create_torrent
from librats.services.torrent_download import Download
from librats.services.torrent_progress import TorrentPeer, TorrentProgress

__all__ = [
    "Download",
    "Magnet",
    "Torrent",
    "TorrentClient",
    "TorrentPeer",
    "TorrentProgress",
    "create_torrent",
    "parse_magnet",
    "read_torrent",
]
