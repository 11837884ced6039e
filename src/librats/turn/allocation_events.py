"""What an application hears of its allocation on a TURN server."""

from __future__ import annotations

from dataclasses import dataclass

from librats.errors import RatsError, TurnError
from librats.types import Address

__all__ = [
    "TurnAllocated",
    "TurnCounters",
    "TurnLost",
    "TurnMoved",
    "TurnPeerRefused",
]


@dataclass(frozen=True, slots=True)
class TurnAllocated:
    """The server relays for us."""

    relayed: tuple[Address, ...]
    """Relayed addresses, at most one for each family, IPv4 first."""

    mapped: Address | None
    """Our own address as the server sees it."""

    lifetime: float
    """Seconds that the server granted; refreshed before."""

    again: bool
    """True where an allocation was lost before: peers must be told the new addresses."""

    missing: tuple[TurnError, ...] = ()
    """Why an address family of two is missing."""


@dataclass(frozen=True, slots=True)
class TurnLost:
    """The allocation is gone, and another one is tried for: until :class:`TurnAllocated`, nothing is relayed."""

    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class TurnMoved:
    """The same allocation is now used from another local address (RFC 8016)."""


@dataclass(frozen=True, slots=True)
class TurnPeerRefused:
    """A permission or a channel that nobody waits for was refused, or is not renewed."""

    host: str
    """The peer's IP address."""

    error: RatsError
    """Why."""


@dataclass(slots=True)
class TurnCounters:
    """What an allocation has seen since it was opened."""

    sent: int = 0
    """Datagrams handed to the server for a peer."""

    received: int = 0
    """Datagrams of peers."""

    dropped: int = 0
    """Datagrams not sent: no allocation at the moment, too much waits for a permission, or the peer is refused."""

    foreign: int = 0
    """Datagrams that did not come from the server."""

    forged: int = 0
    """Answers whose integrity is wrong or missing."""

    malformed: int = 0
    """Datagrams that are neither STUN nor ChannelData."""

    unmatched: int = 0
    """Answers to nothing that was asked; late ones, too."""

    uninvited: int = 0
    """Data of peers without a permission, or on a channel that nobody bound."""

    allocations: int = 0
    """Allocations made: one more than were lost."""
