"""What peers say that is for other parts of the client: it is handed on to these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from librats.peers.entry.networks import source_of

if TYPE_CHECKING:
    from librats.peers.exchange import PeerExchange
    from librats.peers.handling.observer import HearsFileChunks, HearsIntroductions, HearsPunches, PeerObserver
    from librats.peers.peer import Peer
    from librats.services.session import Link
    from librats.session.events import FileChunkReceived, PeersOffered, PeersWanted
    from librats.session.librats2_punch import Envelope

__all__ = ["PassingOn"]

FILE_OFFER, FILE_RESPONSE = 1, 2
FILE_HEAD = 9  # op and number


class PassingOn:
    """Mixed into :class:`~librats.peers.manager.PeerManager`."""

    if TYPE_CHECKING:
        peers: dict[str, Peer]

    def __init__(self) -> None:
        self.observer: PeerObserver | None = None
        """Who hears of sessions before the application does."""
        self.introductions: HearsIntroductions | None = None
        """Who hears of introductions."""
        self.punches: HearsPunches | None = None
        """Who hears of hole punching among librats 2 nodes."""
        self.file_chunks: HearsFileChunks | None = None
        """Who hears of files of librats 2 nodes."""
        self.exchange: PeerExchange | None = None
        """Peer exchange, where this client takes part in it."""

    def peer_exchange(self, link: Link, event: PeersWanted | PeersOffered) -> None:
        """Hear a peer's part of peer exchange, where this client takes part in it."""
        peer = self.peers.get(link.peer_id)
        if peer is not None and self.exchange is not None:
            self.exchange.heard(peer, event)

    def punch_received(self, link: Link, envelope: Envelope) -> None:
        """Hand on what a librats 2 node says of hole punching."""
        if self.punches is not None and link.peer_id in self.peers:
            self.punches.received(link, envelope)

    def file_chunk_received(self, link: Link, event: FileChunkReceived) -> None:
        """Hand on what a librats 2 node says of files; where nobody here takes any, refuse what it offers."""
        if self.file_chunks is not None and link.peer_id in self.peers:
            self.file_chunks.received(link, event)
            return
        payload = event.payload
        if len(payload) > FILE_HEAD and payload[0] == FILE_OFFER:
            link.send_file_chunk(bytes([FILE_RESPONSE]) + payload[1:FILE_HEAD] + b"\0", ahead=True)
        link.consumed(event.cost)

    def succession_received(self, link: Link, payload: bytes) -> None:
        """Hand on what a peer tells of its identities."""
        peer = self.peers.get(link.peer_id)
        if peer is not None and self.observer is not None:
            self.observer.succession_received(peer, payload)

    def introduction_received(self, link: Link, body: bytes) -> None:
        """Hand on what a peer says of introductions."""
        peer = self.peers.get(link.peer_id)
        if peer is not None and self.introductions is not None:
            self.introductions.received(peer.id, body, source=source_of(link.address.host))

    def _told_of_end(self, peer: Peer) -> None:
        """Tell those who hear of one peer that its session has ended."""
        if self.exchange is not None:
            self.exchange.left(peer)
        for listener in (self.introductions, self.punches, self.file_chunks):
            if listener is not None:
                listener.left(peer.id)
