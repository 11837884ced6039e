"""What a swarm tells its driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.messages import HashRequest
    from librats.bittorrent.metainfo import Torrent
    from librats.bittorrent.peer import PeerLink
    from librats.bittorrent.picker import StartedPiece

__all__ = [
    "DhtNodeTold",
    "HashesAsked",
    "HolepunchAsked",
    "PeerDropped",
    "PeersTold",
    "PieceWhole",
    "SwarmCompleted",
    "SwarmEvent",
    "TorrentKnown",
    "TorrentUnusable",
]


@dataclass(frozen=True, slots=True)
class TorrentKnown:
    """All that is needed to check and ask for pieces is there; the driver is to call :meth:`.Swarm.begin`."""

    torrent: Torrent
    """The torrent."""


@dataclass(frozen=True, slots=True)
class TorrentUnusable:
    """What has come for the magnet link has the right hash, and is no torrent that is taken."""

    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class PieceWhole:
    """All of a piece has come. The driver checks and stores it, and calls :meth:`.Swarm.end_piece`."""

    started: StartedPiece
    """The piece."""


@dataclass(frozen=True, slots=True)
class HashesAsked:
    """A peer asks for hashes of blocks. The driver hashes these pieces, and calls :meth:`.Swarm.give_hashes`."""

    link: PeerLink
    """The peer."""

    request: HashRequest
    """What it asks for."""

    pieces: range
    """Numbers of the pieces."""


@dataclass(frozen=True, slots=True)
class PeersTold:
    """A peer tells of others."""

    link: PeerLink
    """The peer."""

    addresses: tuple[Address, ...]
    """Where they are."""

    encrypted: frozenset[Address] = frozenset()
    """Those of them that want encryption."""

    unreached: frozenset[Address] = frozenset()
    """Those of them that the peer has not dialled itself, and that can be met through it (BEP 55)."""

    seeds: frozenset[Address] = frozenset()
    """Those of them that want nothing."""


@dataclass(frozen=True, slots=True)
class PeerDropped:
    """A connection is to be closed."""

    link: PeerLink
    """The connection."""

    reason: str
    """Why."""

    is_lying: bool = False
    """Whether its address is not to be used again."""


@dataclass(frozen=True, slots=True)
class DhtNodeTold:
    """A peer has a node of the DHT."""

    address: Address
    """Where it is."""


@dataclass(frozen=True, slots=True)
class HolepunchAsked:
    """A third peer asks to connect to another one now, which does the same (BEP 55)."""

    address: Address
    """Whom to connect to."""


@dataclass(frozen=True, slots=True)
class SwarmCompleted:
    """Everything that is wanted is there."""


SwarmEvent = (
    TorrentKnown
    | TorrentUnusable
    | PieceWhole
    | HashesAsked
    | PeersTold
    | PeerDropped
    | DhtNodeTold
    | HolepunchAsked
    | SwarmCompleted
)
