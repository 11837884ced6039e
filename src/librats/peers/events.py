"""Life-cycle events, for :meth:`librats.RatsClient.on_event`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from librats.dht.events import DhtUnreachable

if TYPE_CHECKING:
    from librats.errors import DecodeError
    from librats.ice.candidates import IceCandidate
    from librats.peers.identities.succession import Succession
    from librats.peers.peer import Peer
    from librats.types import Address, ConnectionMethod

__all__ = [
    "DhtUnreachable",
    "HandlerFailed",
    "IceCandidateFound",
    "IdentityRotated",
    "IncomingRefused",
    "MessageRefused",
    "NatTraversalProgress",
    "PathChanged",
    "PeerConnected",
    "PeerDisconnected",
    "PeerDiscovered",
    "ReconnectFailed",
    "Reconnecting",
    "TraversalStep",
]


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A session with a peer is up."""

    peer: Peer
    """Who."""


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The session with a peer has ended."""

    peer: Peer
    """Who."""
    code: str
    """``"closed"``, ``"lost"``, ``"timeout"``, ``"protocol_error"``, ``"refused"``, ``"limit"`` or the peer's own."""
    reason: str
    """Words for people; where the peer said them, not to be trusted."""


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The session with a peer goes over another connection from now on."""

    peer: Peer
    """Who."""
    old: Address
    """Where the peer was."""
    new: Address
    """Where it is."""
    method: ConnectionMethod
    """How it is reached from now on."""


@dataclass(frozen=True, slots=True)
class HandlerFailed:
    """One of the application's handlers raised; the session goes on."""

    peer: Peer
    """Whose message or stream it was called with."""
    name: str
    """Message type, channel or stream protocol."""
    error: BaseException
    """What it raised."""


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """A peer sent what is no JSON, over a limit, or not of the type that a handler takes: it was not called.

    Functions that listen to this must be plain ones: nothing would hold the peer back while many of them run.
    """

    peer: Peer
    """Who sent it."""
    name: str
    """Message type or channel."""
    error: DecodeError
    """What is wrong; a :class:`~librats.ValidationError` where it is the type. Not to be trusted."""


@dataclass(frozen=True, slots=True)
class IncomingRefused:
    """Somebody tried to connect and was not let in."""

    address: Address
    """From where."""
    reason: str
    """Words for people."""
    limit: str = ""
    """What said no: the name of a limit in the configuration, ``"allow"``, ``"deny"``, or ``"incoming"`` where it was
    the application's own hook."""
    peer_id: str = ""
    """Who it was; empty where that was not known yet."""


@dataclass(frozen=True, slots=True)
class PeerDiscovered:
    """A peer was found that may be dialled."""

    peer_id: str
    """Its id, which is not proven before it is connected; empty where it does not tell."""
    addresses: tuple[Address, ...]
    """Where it says it is, or others say."""
    name: str
    """What it calls itself; not to be trusted."""
    source: str
    """How it was found: ``"mdns"``, ``"dht"``, or ``"peer-exchange"`` where a connected peer told of it."""


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """A peer that was lost, or is saved, will be dialled again."""

    peer_id: str
    """Who it is."""
    attempt: int
    """Number of the try, from 1 on."""
    delay: float
    """Seconds until it."""


@dataclass(frozen=True, slots=True)
class ReconnectFailed:
    """A peer is given up: it was dialled as often as the configuration allows."""

    peer_id: str
    """Who it is."""
    attempts: int
    """How many tries there were."""
    error: str
    """Why the last one failed."""


@dataclass(frozen=True, slots=True)
class IdentityRotated:
    """A peer has shown, signed by both, that one identity follows another."""

    peer: Peer
    """Who has shown it, in a session under one of its identities."""
    succession: Succession
    """The record."""
    followed: bool
    """True where the application has agreed to take the new identity for the old one's successor."""


class TraversalStep(StrEnum):
    """How far the way to a peer is that somebody introduces."""

    STARTED = "started"
    """A way is looked for: the introducers are asked, or the peer has made an offer."""

    WAITING = "waiting"
    """No introducer is connected yet."""

    OFFERED = "offered"
    """The introducer knows the peer, and is passing an offer to it."""

    ANSWERED = "answered"
    """Both sides know each other's candidates, and check them."""

    FOUND = "found"
    """A way works, and the session begins on it."""

    CONNECTED = "connected"
    """The session is there."""

    FAILED = "failed"
    """There is no way."""


@dataclass(frozen=True, slots=True)
class NatTraversalProgress:
    """A way to a peer that somebody introduces has come a step further."""

    peer_id: str
    """To whom."""
    step: TraversalStep
    """How far it is."""
    words: str = ""
    """More of it, for people: why it has failed, for example. Where others said them, not to be trusted."""


@dataclass(frozen=True, slots=True)
class IceCandidateFound:
    """This side has found an address at which a peer that somebody introduces may reach it."""

    peer_id: str
    """Whom it will be told to."""
    candidate: IceCandidate
    """The address, and how it was found."""
