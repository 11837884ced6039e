"""What the manager tells of sessions, ahead of the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from librats.peers.peer import Peer
    from librats.services.session import Link
    from librats.session.events import FileChunkReceived
    from librats.session.librats2_punch import Envelope

__all__ = ["HearsFileChunks", "HearsIntroductions", "HearsPunches", "PeerObserver"]


class HearsIntroductions(Protocol):
    """Who hears what peers say of introductions."""

    def received(self, sender: str, body: bytes, *, source: str = "") -> None:
        """A peer introduces, wants to be introduced, or answers; its address counts as one source with others."""

    def left(self, peer_id: str) -> None:
        """The session with a peer has ended."""


class HearsPunches(Protocol):
    """Who hears what librats 2 nodes say of hole punching."""

    def received(self, link: Link, envelope: Envelope) -> None:
        """A connected node passes a word on, or wants one passed on."""

    def joined(self, peer_id: str) -> None:
        """A session with a peer has begun."""

    def left(self, peer_id: str) -> None:
        """The session with a peer has ended."""


class HearsFileChunks(Protocol):
    """Who hears what librats 2 nodes say about files."""

    def received(self, link: Link, event: FileChunkReceived) -> None:
        """A connected node says something; the link is to be told when it is handled."""

    def left(self, peer_id: str) -> None:
        """The session with a peer has ended."""


class PeerObserver(Protocol):
    """Who hears of sessions as they begin and end."""

    def connected(self, peer: Peer) -> None:
        """A session has begun."""

    def parted(self, peer: Peer, code: str) -> None:
        """A session has ended, for the reason with that code."""

    def succession_received(self, peer: Peer, payload: bytes) -> None:
        """A peer tells that it has, or had, another identity."""
