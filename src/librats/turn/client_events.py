"""What a TURN client tells whoever drives it, and errors with what to do about them."""

from __future__ import annotations

from msgspec import Struct

from librats.errors import RatsError, TurnError
from librats.stun.constants import REASONS
from librats.turn.allocation_events import TurnAllocated, TurnLost, TurnMoved, TurnPeerRefused
from librats.types import Address

__all__ = [
    "AllocationFailed",
    "Closed",
    "ConnectWanted",
    "Connected",
    "CredentialsWanted",
    "Event",
    "IncomingConnection",
    "RequestDone",
    "RequestFailed",
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


class ConnectWanted(Struct, frozen=True):
    """A way to the server is needed: a fresh port or connection. The answer is one of ``TurnClient.transport_…``."""

    server: Address | None
    """Where to: an IP address; None for the server of the configuration."""

    domain: str
    """The name that the certificate must have; empty for that of the configuration."""

    reason: str
    """Why, for the log."""


class CredentialsWanted(Struct, frozen=True):
    """Username and password are needed; the answer is ``TurnClient.set_login`` or ``refuse_login``."""

    realm: str
    """The server's realm; empty where it has named none."""

    rejected: bool
    """True where the server did not take those it was given."""


class AllocationFailed(Struct, frozen=True):
    """No allocation came about, and none will."""

    error: RatsError
    """Why."""


class RequestDone(Struct, frozen=True):
    """Something asked for is done."""

    request: int
    """The number that the call returned."""


class RequestFailed(Struct, frozen=True):
    """Something asked for cannot be done."""

    request: int
    """The number that the call returned."""

    error: RatsError
    """Why."""


class Connected(Struct, frozen=True):
    """The server has connected to a peer (RFC 6062); bind a connection of ours to it within 30 seconds."""

    request: int
    """The number that the call returned."""

    connection_id: int
    """What to bind with."""

    peer: Address
    """The peer."""


class IncomingConnection(Struct, frozen=True):
    """A peer has connected to the relayed address (RFC 6062); bind a connection of ours to it within 30 seconds."""

    connection_id: int
    """What to bind with."""

    peer: Address
    """The peer."""


class Closed(Struct, frozen=True):
    """The client is closed, and the allocation given back where the server could be told."""


Event = (
    ConnectWanted
    | CredentialsWanted
    | TurnAllocated
    | TurnLost
    | TurnMoved
    | AllocationFailed
    | RequestDone
    | RequestFailed
    | TurnPeerRefused
    | Connected
    | IncomingConnection
    | Closed
)
