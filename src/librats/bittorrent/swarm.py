"""All peers of one torrent, as a machine: what to ask of whom, whom to serve, and what is there."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Final

from librats.bittorrent.block_hashes import BlockServer
from librats.bittorrent.choker import CHOKE_INTERVAL, Choker
from librats.bittorrent.events import (
    DhtNodeTold,
    HashesAsked,
    PeerDropped,
    PieceWhole,
    SwarmCompleted,
    SwarmEvent,
    TorrentKnown,
    TorrentUnusable,
)
from librats.bittorrent.extensions import (
    ExtendedHandshake,
    HolepunchMessage,
    MetadataMessage,
    PexMessage,
)
from librats.bittorrent.hash_exchange import LayerFetch, LayerServer
from librats.bittorrent.introducing import introduction
from librats.bittorrent.magnet import Magnet
from librats.bittorrent.merkle import BLOCK_SIZE
from librats.bittorrent.messages import MAX_BLOCK, Extended, Handshake, Hashes, HashReject, HashRequest, Have, KeepAlive
from librats.bittorrent.metadata import MAX_ANSWERS, MetadataFetch, serve_metadata
from librats.bittorrent.metainfo import Torrent, read_info
from librats.bittorrent.patience import MAX_UNSENT
from librats.bittorrent.peer import PeerLink
from librats.bittorrent.peer_telling import PeerTelling, tell_dht_port
from librats.bittorrent.picker import Block, PiecePicker, Source
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.bittorrent.throttle import Gate
from librats.bittorrent.web_seeds import WebSeed
from librats.errors import DecodeError, RemoteProtocolError
from librats.types import Address, Entropy

__all__ = ["TICK", "Swarm"]

TICK: Final = 1.0
"""Seconds between two calls of :meth:`Swarm.handle_timer`."""

MAX_HAVES = 2000
MAX_CHECKING = 64 << 20
SNUB_TIME = 30.0
KEEP_ALIVE = 100.0
DEAD_TIME = 240.0


class Swarm:
    """The peers of one torrent.

    After each call there may be events (:meth:`events`), and bytes to send on each link
    (:meth:`~.PeerLink.data_to_send`); the driver closes links whose ``receive`` raises.

    Args:
        magnet: Which torrent.
        settings: How to behave.
        entropy: For what is decided by lot.
        now: Seconds on any clock that only goes on.
        torrent: The torrent, where it is known.
    """

    def __init__(
        self, magnet: Magnet, settings: SwarmSettings, entropy: Entropy, *, now: float, torrent: Torrent | None = None
    ) -> None:
        self.settings = settings
        """How to behave."""
        self.torrent = torrent
        """The torrent, once it is known."""
        self.picker: PiecePicker | None = None
        """What is there, once files have been looked at."""
        self.links: dict[Hashable, PeerLink] = {}
        """The peers."""
        self.unsent: dict[Hashable, PeerLink] = {}
        """Peers for whom there are bytes to send; whoever sends them takes them out."""
        self.gate: Gate | None = None
        """What blocks that are asked for have to pass, where there is a limit."""
        self.waiting: dict[Hashable, PeerLink] = {}
        """Peers that wait for their turn at it; whoever sees to that takes them out."""
        self.web_seeds: dict[Hashable, WebSeed] = {}
        """Servers that blocks are asked of over HTTP, by their keys."""
        self.downloaded = 0
        """Bytes of blocks that have come and were missing."""
        self.uploaded = 0
        """Bytes of blocks that were given."""
        self.wasted = 0
        """Bytes of blocks that have come in vain."""
        self.is_paused = False
        """Whether nothing is asked for or given."""
        self._magnet = magnet
        self._entropy = entropy
        self._choker = Choker(entropy, settings.upload_slots)
        self._events: list[SwarmEvent] = []
        self._metadata = MetadataFetch(magnet) if torrent is None else None
        self._layers: LayerFetch | None = None
        self._server: LayerServer | None = None
        self._blocks: BlockServer | None = None
        self._telling = PeerTelling()
        self._next_choke = now
        self.next_time = now + TICK
        """When :meth:`handle_timer` is to be called."""
        if torrent is not None:
            self._learn(torrent)

    def events(self) -> list[SwarmEvent]:
        """Return what has happened, once."""
        events, self._events = self._events, []
        return events

    @property
    def is_complete(self) -> bool:
        """Whether all that is wanted is there."""
        return self.picker is not None and self.picker.is_complete

    @property
    def rates(self) -> tuple[float, float]:
        """Bytes a second that come, and that go."""
        down = sum(link.gives for link in self.links.values()) + sum(seed.gives for seed in self.web_seeds.values())
        return down, sum(link.takes for link in self.links.values())

    @property
    def is_partial_seed(self) -> bool:
        """Whether all that is wanted is there, and not all that there is (BEP 21)."""
        return self.picker is not None and self.picker.is_complete and 0 in self.picker.have

    @property
    def is_private(self) -> bool:
        """Whether peers may be had of trackers alone."""
        return self.torrent is not None and self.torrent.is_private

    @property
    def may_ask(self) -> bool:
        """Whether blocks may be asked for: not while too many pieces wait to be checked."""
        if self.picker is None or self.is_paused:
            return False
        limit = max(MAX_CHECKING, 2 * self.torrent.layout.piece_length) if self.torrent is not None else 0
        return self.picker.checking_size < limit

    # The torrent

    def _learn(self, torrent: Torrent) -> None:
        self.torrent = torrent
        if torrent.missing_layers:
            self._layers = LayerFetch(torrent)
        else:
            self._server = LayerServer(torrent)
            self._blocks = BlockServer(torrent, self._server) if torrent.info_hash_v2 is not None else None
            self._events.append(TorrentKnown(torrent))

    def begin(self, have: bytearray, now: float, *, wanted: bytearray | None = None) -> None:
        """Begin to ask and serve.

        Args:
            have: A byte for each piece: 1 where it is there and right.
            now: The time.
            wanted: A byte for each piece: 1 where it is wanted; None for all.
        """
        if self.torrent is None or self.picker is not None:
            return
        even = self.torrent.info_hash_v1 is not None
        self.picker = PiecePicker(self.torrent.layout, self._entropy, have=have, wanted=wanted, even=even)
        there = [Have(piece) for piece, is_there in enumerate(have) if is_there]
        for link in self.links.values():
            if len(there) > MAX_HAVES:  # so many that a peer might not take them all, which does take them summed up
                link.tell_pieces()
            else:  # what sums it up should be a connection's first message (BEP 3, 6)
                for message in there:
                    link.send(message)
        for link in list(self.links.values()):
            try:
                link.learn_torrent(now)
            except RemoteProtocolError as error:
                self.drop(link, str(error), is_lying=True)
        if self.is_complete:
            self._end()

    def want(self, wanted: bytearray, now: float) -> None:
        """Want other pieces from now on: a byte for each, 1 where it is wanted."""
        picker = self.picker
        if picker is None:
            return
        was_complete = picker.is_complete
        picker.want(wanted)
        for link in self.links.values():
            link.count_useful()
            link.ask(now)
        if picker.is_complete and not was_complete:
            self._end()
        elif was_complete and not picker.is_complete:
            self._introduce_again()

    def _end(self) -> None:
        self._events.append(SwarmCompleted())
        if self.is_partial_seed:
            self._introduce_again()  # what is there does not tell that nothing more is wanted (BEP 21)
        for link in list(self.links.values()):
            self._drop_idle(link)

    def _drop_idle(self, link: PeerLink) -> None:
        if self.is_complete and link.is_seed:
            self.drop(link, "neither side wants anything")

    def _drop_liar(self, liar: Hashable, reason: str) -> None:
        if isinstance(liar, PeerLink):  # who lies and leaves is to be known the next time
            self.drop(liar, reason, is_lying=True)
        elif liar in self.web_seeds:
            self.web_seeds[liar].is_lying = True

    def drop(self, link: PeerLink, reason: str, *, is_lying: bool = False) -> None:
        """Have a connection closed."""
        self._events.append(PeerDropped(link, reason, is_lying))

    # Peers

    def add_peer(
        self, handshake: Handshake, address: Address, *, is_outgoing: bool, now: float, is_utp: bool = False
    ) -> PeerLink:
        """Take a connection on which the peer's handshake was seen; ours is sent by the driver.

        Args:
            handshake: The peer's.
            address: Where it is.
            is_outgoing: Whether we have dialled it.
            now: The time.
            is_utp: Whether it goes over uTP.
        """
        link = PeerLink(self, handshake, address, is_outgoing=is_outgoing, is_utp=is_utp, now=now)
        self.links[link.key] = link
        link.begin()
        if not self.is_private:
            tell_dht_port(link, self.settings.dht_port)
        return link

    def remove_peer(self, link: PeerLink, now: float) -> None:
        """Take note that a connection is gone."""
        if self.links.pop(link.key, None) is None:
            return
        self.unsent.pop(link.key, None)
        link.close()
        for fetch in (self._metadata, self._layers, self._blocks):
            if fetch is not None:
                fetch.remove_peer(link.key)
        for other in self.links.values():
            other.ask(now)

    def own_handshake(self, link: PeerLink) -> ExtendedHandshake:
        """Return what a peer is told of us."""
        return introduction(
            self.settings, self.torrent, link.address, upload_only=self.is_complete, is_private=self.is_private
        )

    def listen_at(self, port: int, port_ipv6: int) -> None:
        """Tell peers that we are reached at another port from now on, as a NAT may have changed it (BEP 10).

        Args:
            port: The one for those of IPv4.
            port_ipv6: The one for those of IPv6.
        """
        if (port, port_ipv6) != (self.settings.port, self.settings.port_ipv6):
            self.settings = replace(self.settings, port=port, port_ipv6=port_ipv6)
            self._introduce_again()

    def _introduce_again(self) -> None:
        """Tell peers what we are, which is something else than at the begin (BEP 10)."""
        for link in self.links.values():
            if link.handshake.has_extensions:
                link.send(Extended(0, self.own_handshake(link).encode()))

    def learn_extensions(self, link: PeerLink, told: ExtendedHandshake, now: float) -> None:
        """Take what a peer tells of itself."""
        if self._metadata is not None and told.metadata_size and told.extensions.get("ut_metadata"):
            self._metadata.add_peer(link.key, told.metadata_size)
        if self._layers is not None:
            self._layers.forgive(link.key)
        self._fetch_of(link, now)

    def take_pex(self, link: PeerLink, message: PexMessage, now: float) -> None:
        """Take peers that a peer tells of."""
        told = None if self.is_private else self._telling.receive(link, message, now)
        if told is not None:
            self._events.append(told)

    def take_holepunch(self, link: PeerLink, message: HolepunchMessage) -> None:
        """Pass a rendezvous on, or tell that somebody wants to meet us."""
        asked = self._telling.take_holepunch(link, message, self.links.values())
        if asked is not None:
            self._events.append(asked)

    def dht_at(self, port: int) -> None:
        """Tell peers at which UDP port our node of the DHT listens from now on; 0 for none (BEP 5)."""
        self.settings = replace(self.settings, dht_port=port)
        for link in () if self.is_private else self.links.values():
            tell_dht_port(link, port)

    def take_dht_port(self, link: PeerLink, port: int) -> None:
        """Take note of a peer's node of the DHT."""
        if port and not self.is_private:
            self._events.append(DhtNodeTold(Address(link.address.host, port)))

    # Metadata and layers

    def serve_metadata(self, link: PeerLink, message: MetadataMessage) -> MetadataMessage:
        """Return the answer to a request for metadata."""
        return serve_metadata(self.torrent.info if self.torrent is not None else None, message, link.unsent_size)

    def take_metadata(self, link: PeerLink, message: MetadataMessage, now: float) -> None:
        """Take a piece of metadata, or its refusal."""
        if self._metadata is None or not self._metadata.is_asked(link.key, message.piece):
            return
        for liar in self._metadata.receive(link.key, message):
            self._drop_liar(liar, "wrong metadata")
        if self._metadata.info is not None:
            info, self._metadata = self._metadata.info, None
            try:
                self._learn(read_info(info))
                self._introduce_again()  # now we can be asked for it
            except DecodeError as error:
                self._events.append(TorrentUnusable(str(error)))
        self._fetch(now)

    def serve_hashes(self, link: PeerLink, request: HashRequest) -> None:
        """Answer a request for hashes, or have pieces hashed that its answer takes."""
        blocks, picker = self._blocks, self.picker
        pieces = blocks.pieces_for(request, picker.have) if blocks is not None and picker is not None else None
        if pieces is not None and blocks is not None and not self.is_paused and blocks.admit(link.key):
            self._events.append(HashesAsked(link, request, pieces))
        elif self._server is not None and link.unsent_size <= MAX_ANSWERS:
            link.send(self._server.answer(request))
        else:
            link.send(HashReject(*request))

    def give_hashes(self, link: PeerLink, request: HashRequest, leaves: bytes | None) -> None:
        """Answer a request for hashes of blocks.

        Args:
            link: Who asks.
            request: For what.
            leaves: The hashes of all blocks of the pieces that were to be hashed; None where they could not be read.
        """
        if self._blocks is not None and link.key in self.links:
            self._blocks.release(link.key)
            link.send(self._blocks.answer(request, leaves))

    def take_hashes(self, link: PeerLink, message: Hashes, now: float) -> None:
        """Take hashes."""
        if self._layers is None or self.torrent is None:
            return
        if not self._layers.receive(link.key, message):
            self.drop(link, "wrong hashes", is_lying=True)
        if self._layers.is_complete:
            layers, self._layers = self._layers.layers, None
            self._learn(self.torrent.with_layers(layers))
            self._introduce_again()
        self._fetch(now)

    def take_hash_reject(self, link: PeerLink, message: HashReject, now: float) -> None:
        """Take the refusal of hashes."""
        if self._layers is not None:
            self._layers.reject(link.key, message)
            self._fetch(now)

    def _fetch(self, now: float) -> None:
        for link in self.links.values():
            self._fetch_of(link, now)

    def _fetch_of(self, link: PeerLink, now: float) -> None:
        if self._metadata is not None:
            for message in self._metadata.next_requests(link.key, now):
                link.send_extended("ut_metadata", message.encode())
        if self._layers is not None:
            for request in self._layers.next_requests(link.key, now):
                link.send(request)

    # Pieces

    def has_block(self, block: Block) -> bool:
        """Whether a block that a peer asks for can be given."""
        piece, begin, length = block
        if self.picker is None or self.torrent is None or self.is_paused or piece >= len(self.picker.have):
            return False
        size = self.torrent.layout.piece_size(piece) if self.picker.have[piece] else 0
        return 0 < length <= MAX_BLOCK and begin + length <= size

    def pick(self, source: Source, count: int) -> list[Block]:
        """Return blocks to ask a source for that is no peer; each is to be taken or released."""
        return self.picker.pick(source, count) if self.picker is not None and self.may_ask else []

    def take_block(self, source: Source, piece: int, begin: int, data: bytes | bytearray | memoryview) -> None:
        """Take a block that a peer, or another source, was asked for."""
        picker = self.picker
        if picker is None:
            return
        was_missing, others = picker.receive(piece, begin, data, source.key)
        if not was_missing:
            self.wasted += len(data)
            return
        self.downloaded += len(data)
        for key in others:
            if key != source.key and key in self.links:
                self.links[key].withdraw(piece, begin)
        started = picker.take_whole(piece)
        if started is not None:
            self._events.append(PieceWhole(started))

    def release(self, source: Source, piece: int, begin: int) -> None:
        """Take note that a peer, or another source, will not give a block that it was asked for."""
        if self.picker is not None:
            self.picker.release(piece, begin, source.key)
        if self.gate is not None:
            self.gate.give_back(BLOCK_SIZE)

    def end_piece(self, piece: int, now: float, *, is_right: bool) -> None:
        """Take note that a piece was checked, and stored where it is right."""
        picker = self.picker
        if picker is None:
            return
        was_needed = picker.is_needed(piece)
        liars = picker.end_check(piece, is_right=is_right)
        for liar in liars:
            self._drop_liar(liar, "a wrong piece")
        for link in self.links.values():
            if is_right and was_needed:
                if link.has_piece(piece):
                    link.useful -= 1
                    link.update_interest()
                else:
                    link.send(Have(piece))
            if link.key not in liars:
                link.ask(now)
        if is_right and was_needed and picker.is_complete:
            self._end()

    def put_back(self, piece: int) -> None:
        """Take note that a piece could not be stored: it is missing again."""
        if self.picker is not None:
            self.picker.put_back(piece)

    # Time

    def consider(self, link: PeerLink) -> None:
        """Serve a peer at once where there is room, rather than at the next decision."""
        if self.is_paused:
            return
        served = sum(not other.am_choking for other in self.links.values() if other.is_interested)
        if link.am_choking and self._choker.has_room(served):
            link.set_choking(False)

    def handle_timer(self, now: float) -> None:
        """Do what is due: measure, choke, ask again elsewhere, tell of peers, keep alive."""
        self.next_time = now + TICK
        for seed in self.web_seeds.values():
            seed.down.update(now)
        for link in list(self.links.values()):
            link.down.update(now)
            link.up.update(now)
            link.adapt()
            if link.asked and now - link.last_data > SNUB_TIME and not self.is_paused:
                link.is_snubbing = True
                link.drop_requests()
                link.last_data = now
            if link.unsent_size > MAX_UNSENT:
                self.drop(link, "it reads nothing any more")
            elif now - link.last_received > DEAD_TIME:
                self.drop(link, "it says nothing any more")
            elif now - link.last_sent > KEEP_ALIVE:
                link.send(KeepAlive())
            self._drop_idle(link)
            link.ask(now)
        if now >= self._next_choke:
            self._next_choke = now + CHOKE_INTERVAL
            served = [] if self.is_paused else self._choker.decide(self.links.values(), is_seed=self.is_complete)
            for link in self.links.values():
                link.set_choking(link not in served)
        if not self.is_private:
            self._telling.tell(self.links.values(), now)
        self._fetch(now)

    def pause(self) -> None:
        """Ask for nothing and give nothing, until :meth:`go_on`."""
        self.is_paused = True
        for link in self.links.values():
            link.set_choking(True)
            for piece, begin in list(link.asked):
                link.withdraw(piece, begin)
            link.drop_requests()

    def go_on(self, now: float) -> None:
        """End a pause."""
        self.is_paused = False
        for link in self.links.values():
            link.ask(now)
            if link.is_interested:
                self.consider(link)
