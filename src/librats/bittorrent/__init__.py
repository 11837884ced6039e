"""BitTorrent, its rules: torrent files, magnet links, the peer wire, trackers, and what is asked of whom.

Nothing here touches a disk, a clock or the network.
"""
