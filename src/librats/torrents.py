"""BitTorrent for applications: torrents made, downloaded and seeded."""

from __future__ import annotations

from librats.bittorrent.magnet import Magnet, parse_magnet
from librats.bittorrent.metainfo import Torrent, read_torrent
from librats.services.torrent import TorrentClient
from librats.services.torrenting.creating import create_torrent
from librats.services.torrenting.download import Download
from librats.services.torrenting.progress import TorrentPeer, TorrentProgress
from librats.services.torrenting.scraping import TrackerCounts

__all__ = [
    "Download",
    "Magnet",
    "Torrent",
    "TorrentClient",
    "TorrentPeer",
    "TorrentProgress",
    "TrackerCounts",
    "create_torrent",
    "parse_magnet",
    "read_torrent",
]
