"""How far a torrent is, as applications are told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from librats.bittorrent.stream_encryption import CryptoMethod
from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.peer import PeerLink
    from librats.bittorrent.swarm import Swarm
    from librats.services.torrenting.choosing import Choosing
    from librats.services.torrenting.wire import PeerWire

__all__ = ["TorrentPeer", "TorrentProgress", "TorrentStatus"]

TorrentStatus = str
"""``"metadata"``, ``"checking"``, ``"downloading"``, ``"seeding"``, ``"paused"``, ``"failed"`` or ``"closed"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorrentProgress:
    """How far a torrent is."""

    status: TorrentStatus
    """``"metadata"``, ``"checking"``, ``"downloading"``, ``"seeding"``, ``"paused"``, ``"failed"`` or ``"closed"``."""

    bytes_done: int
    """Bytes of files that are wanted which are there and right, without what only fills pieces (BEP 47, 52)."""

    bytes_total: int
    """Bytes of all files that are wanted, counted in the same way; 0 while that is not known."""

    pieces_done: int
    """Pieces that are wanted, there and right."""

    pieces_total: int
    """Pieces that are wanted; 0 while that is not known."""

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

    bytes_checked: int = 0
    """Bytes of files that have been looked at, right or not, as what is there already is checked; of those wanted."""

    encrypted: int = 0
    """Those of them that began encrypted (message stream encryption)."""

    @property
    def eta(self) -> float | None:
        """Seconds until all is there at this rate; None where that cannot be said."""
        left = self.bytes_total - self.bytes_done
        return left / self.download_rate if self.download_rate > 0 and self.bytes_total else None

    @classmethod
    def of(
        cls,
        swarm: Swarm,
        choosing: Choosing,
        status: TorrentStatus,
        wires: Collection[PeerWire],
    ) -> TorrentProgress:
        """Return what there is to tell of a torrent.

        Args:
            swarm: Its machine.
            choosing: What is wanted of it, and counted.
            status: What it does.
            wires: Its connections.
        """
        pieces_done, pieces_total = choosing.pieces(swarm.picker)
        down, up = swarm.rates
        return cls(
            status=status,
            bytes_done=choosing.bytes_done,
            bytes_checked=choosing.bytes_checked,
            bytes_total=choosing.bytes_total,
            pieces_done=pieces_done,
            pieces_total=pieces_total,
            download_rate=down,
            upload_rate=up,
            downloaded=swarm.downloaded,
            uploaded=swarm.uploaded,
            wasted=swarm.wasted,
            peers=len(wires),
            encrypted=sum(wire.method is not None for wire in wires),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TorrentPeer:
    """A peer that a torrent is connected with."""

    address: Address
    """Where it is."""

    program: str
    """What it calls itself; not to be trusted."""

    is_outgoing: bool
    """Whether we have dialled it."""

    transport: str
    """``"tcp"`` or ``"utp"``."""

    encryption: str
    """``""``: none. ``"rc4"``: all of it. ``"plaintext"``: its start alone, as both sides have agreed."""

    is_seed: bool
    """Whether it has everything, as far as it is known."""

    download_rate: float
    """Bytes a second from it."""

    upload_rate: float
    """Bytes a second to it."""

    @classmethod
    def of(cls, link: PeerLink, method: CryptoMethod | None) -> TorrentPeer:
        """Return what there is to tell of a connection.

        Args:
            link: Its machine.
            method: What follows its encrypted start; None where there was none.
        """
        return cls(
            address=link.address,
            program=link.remote.version,
            is_outgoing=link.is_outgoing,
            transport="utp" if link.is_utp else "tcp",
            encryption="" if method is None else method.name.lower(),
            is_seed=link.is_seed,
            download_rate=link.gives,
            upload_rate=link.takes,
        )
