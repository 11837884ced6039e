"""How far a torrent is, as applications are told."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TorrentProgress", "TorrentStatus"]

TorrentStatus = str
"""``"metadata"``, ``"checking"``, ``"downloading"``, ``"seeding"``, ``"paused"``, ``"failed"`` or ``"closed"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorrentProgress:
    """How far a torrent is."""

    status: TorrentStatus
    """``"metadata"``, ``"checking"``, ``"downloading"``, ``"seeding"``, ``"paused"``, ``"failed"`` or ``"closed"``."""

    bytes_done: int
    """Bytes of pieces that are there and right."""

    bytes_total: int
    """Bytes of all pieces; 0 while that is not known."""

    pieces_done: int
    """Pieces that are there and right."""

    pieces_total: int
    """All pieces; 0 while that is not known."""

    download_rate: float
    """Bytes a second from peers."""

    upload_rate: float
    """Bytes a second to peers."""

    downloaded: int
    """Bytes from peers since the torrent was added."""

    uploaded: int
    """Bytes to peers since the torrent was added."""

    wasted: int
    """Bytes from peers that were not missing any more, or wrong."""

    peers: int
    """Connections."""

    @property
    def eta(self) -> float | None:
        """Seconds until all is there at this rate; None where that cannot be said."""
        left = self.bytes_total - self.bytes_done
        return left / self.download_rate if self.download_rate > 0 and self.bytes_total else None
