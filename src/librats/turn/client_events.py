"""What a TURN client tells: events, errors with what to do about them, and counters."""

from __future__ import annotations

from dataclasses import dataclass

from librats.errors import RatsError, TurnError
from librats.stun.constants import REASONS
from librats.types import Address

__all__ = [
    "Allocated",
    "AllocationFailed",
    "AllocationLost",
    "AllocationMoved",
    "Closed",
    "ConnectWanted",
    "Connected",
    "CredentialsWanted",
    "Event",
    "PeerConnected",
    "PeerRefused",
    "RequestDone",
    "RequestFailed",
    "TurnCounters",
    "turn_error",
]

MAX_WORDS = 80

_ADVICE = {
    300: "the server wants another one to be used",
    401: "the server does not take this username and password",
    403: "the server's rules forbid it; its operator decides which peers may be reached",
    405: "the server does not let this allocation move",
    437: "the server knows no such allocation, or another one is on this port",
    438: "the server does not settle on a nonce",
    440: "the server does not relay that address family",
    441: "the allocation belongs to another user",
    442: "the server does not relay that transport",
    443: "the allocation has no address of that peer's family; open it with family='dual'",
    446: "there is a connection to that peer already",
    447: "the server cannot connect to that peer",
    486: "this user has as many allocations as the server allows; close some, or use another user",
    508: "the server has no port or bandwidth left; try later, or another server",
}


def turn_error(code: int, words: str = "") -> TurnError:
    """Return the error of a code, with what to do about it.

    Args:
        code: The code of ERROR-CODE.
        words: The reason that the server gave, not to be trusted; or our own.

    Example:
        >>> str(turn_error(508))
        '508 Insufficient Capacity: the server has no port or bandwidth left; try later, or another server'
    """
    reason = REASONS.get(code, "Unknown Error")
    parts = [reason]
    if advice := _ADVICE.get(code):
        parts.append(advice)
    words = "".join(character for character in words[:MAX_WORDS] if character.isprintable()).strip()
    if words and words.lower() != reason.lower():
        parts.append(words)
    return TurnError(code, ": ".join(parts))


@dataclass(frozen=True, slots=True)
class ConnectWanted:
    """A way to the server is needed: a fresh port or connection. The answer is one of ``TurnClient.transport_…``."""

    server: Address | None
    """Where to: an IP address; None for the server of the configuration."""

    domain: str
    """The name that the certificate must have; empty for that of the configuration."""

    reason: str
    """Why, for the log."""


@dataclass(frozen=True, slots=True)
class CredentialsWanted:
    """Username and password are needed; the answer is ``TurnClient.set_login`` or ``refuse_login``."""

    realm: str
    """The server's realm; empty where it has named none."""

    rejected: bool
    """True where the server did not take those it was given."""


@dataclass(frozen=True, slots=True)
class Allocated:
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
class AllocationLost:
    """The allocation is gone, and another one is tried for: until :class:`Allocated`, nothing is relayed."""

    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class AllocationMoved:
    """The same allocation is now used from another local address (RFC 8016)."""


@dataclass(frozen=True, slots=True)
class AllocationFailed:
    """No allocation came about, and none will."""

    error: RatsError
    """Why."""


@dataclass(frozen=True, slots=True)
class RequestDone:
    """Something asked for is done."""

    request: int
    """The number that the call returned."""


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """Something asked for cannot be done."""

    request: int
    """The number that the call returned."""

    error: RatsError
    """Why."""


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """A permission or a channel that nobody waits for was refused, or is not renewed."""

    host: str
    """The peer's IP address."""

    error: RatsError
    """Why."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has connected to a peer (RFC 6062); bind a connection of ours to it within 30 seconds."""

    request: int
    """The number that the call returned."""

    connection_id: int
    """What to bind with."""

    peer: Address
    """The peer."""


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A peer has connected to the relayed address (RFC 6062); bind a connection of ours to it within 30 seconds."""

    connection_id: int
    """What to bind with."""

    peer: Address
    """The peer."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The client is closed, and the allocation given back where the server could be told."""


Event = (
    ConnectWanted
    | CredentialsWanted
    | Allocated
    | AllocationLost
    | AllocationMoved
    | AllocationFailed
    | RequestDone
    | RequestFailed
    | PeerRefused
    | Connected
    | PeerConnected
    | Closed
)


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
