"""Swarms of one torrent that are joined without a network: bytes go from one machine to the other, and time by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from librats.bittorrent.creating import TorrentBuilder
from librats.bittorrent.events import PeerDropped, PieceWhole, SwarmCompleted, SwarmEvent, TorrentKnown
from librats.bittorrent.magnet import Magnet
from librats.bittorrent.messages import Handshake
from librats.bittorrent.metainfo import Torrent, read_torrent
from librats.bittorrent.peer import PeerLink
from librats.bittorrent.reader import MessageReader
from librats.bittorrent.swarm import Swarm
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.types import Address


class Dice:
    """Entropy that is the same in every run."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same in every run

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def randbelow(self, limit: int) -> int:
        return self._random.randrange(limit)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - likewise


def torrent_of(size: int, *, version: str = "v1", piece_length: int = 32_768, private: bool = False) -> Torrent:
    """Return a torrent of one file with :func:`content_of` in it."""
    builder = TorrentBuilder("file", [((), size)], version=version, piece_length=piece_length, private=private)
    builder.update(content_of(size))
    return read_torrent(builder.finish())


@dataclass(eq=False)
class Member:
    """A swarm, with its files in memory."""

    number: int
    swarm: Swarm
    content: bytearray
    now: float = 0.0
    events: list[SwarmEvent] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    spoil: Callable[[int], bool] = lambda _piece: False
    blocks_a_round: int = 1_000_000

    @property
    def address(self) -> Address:
        return Address(f"10.0.0.{self.number}", 6881)

    @property
    def is_complete(self) -> bool:
        return self.swarm.is_complete

    def settle(self) -> None:
        """Do what the machine asks for."""
        for event in self.swarm.events():
            self.events.append(event)
            torrent = self.swarm.torrent
            if isinstance(event, PieceWhole) and torrent is not None:
                piece, data = event.started.piece, event.started.buffer
                is_right = torrent.piece_is_right(piece, data)
                if is_right:
                    begin = piece * torrent.layout.piece_length
                    self.content[begin : begin + len(data)] = data
                self.swarm.end_piece(piece, self.now, is_right=is_right)
            elif isinstance(event, TorrentKnown) and self.swarm.picker is None:
                self.content = bytearray(event.torrent.layout.total_size)
                self.swarm.begin(bytearray(event.torrent.layout.piece_count), self.now)
            elif isinstance(event, PeerDropped):
                for wire in list(self.wires):
                    if wire.link is event.link:
                        wire.cut()

    def of(self, kind: type[SwarmEvent]) -> list[SwarmEvent]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass(eq=False)
class Wire:
    """One end of a connection."""

    owner: Member
    link: PeerLink | None = None
    reader: MessageReader = field(default_factory=MessageReader)
    other: Wire | None = None

    def bytes_to_send(self) -> bytes:
        if self.link is None:
            return b""
        for _ in range(min(len(self.link.queue), self.owner.blocks_a_round)):
            block = self.link.queue.popleft()
            piece, begin, length = block
            torrent = self.owner.swarm.torrent
            assert torrent is not None
            at = piece * torrent.layout.piece_length + begin
            data = bytes(self.owner.content[at : at + length])
            if self.owner.spoil(piece):
                data = bytes(len(data))
            self.link.send_block(block, data)
        return b"".join(self.link.data_to_send(self.owner.now))

    def receive(self, data: bytes) -> None:
        if self.link is not None:
            self.link.receive(self.reader.feed(data), self.owner.now)
            self.owner.settle()

    def cut(self) -> None:
        """End the connection on both sides."""
        for end in (self, self.other):
            if end is not None and end.link is not None:
                link, end.link = end.link, None
                end.owner.swarm.remove_peer(link, end.owner.now)
                end.owner.wires.remove(end)
                end.owner.settle()


class Room:
    """Members that can be connected."""

    def __init__(self, torrent: Torrent) -> None:
        self.torrent = torrent
        self.members: list[Member] = []
        self.now = 0.0

    def seed(self) -> Member:
        """Add one that has everything."""
        content = content_of(self.torrent.layout.files[0].size)
        return self._add(self.torrent, bytearray(content.ljust(self.torrent.layout.total_size, b"\0")), whole=True)

    def leecher(self) -> Member:
        """Add one that has nothing."""
        return self._add(self.torrent, bytearray(self.torrent.layout.total_size))

    def newcomer(self, magnet: Magnet) -> Member:
        """Add one that has only a magnet link."""
        return self._add(None, bytearray(), magnet=magnet)

    def _add(
        self, torrent: Torrent | None, content: bytearray, *, whole: bool = False, magnet: Magnet | None = None
    ) -> Member:
        number = len(self.members) + 1
        settings = SwarmSettings(peer_id=bytes([number]) * 20, port=6881)
        dice = Dice(number)
        swarm = Swarm(magnet or self.torrent.magnet(), settings, dice, now=self.now, torrent=torrent)
        member = Member(number, swarm, content, now=self.now)
        if torrent is not None and not torrent.missing_layers:
            swarm.begin(bytearray([int(whole)]) * torrent.layout.piece_count, self.now)
        self.members.append(member)
        member.settle()
        return member

    def connect(self, one: Member, other: Member, *, fast: bool = True) -> tuple[Wire, Wire]:
        """Connect two of them; the first one dials."""
        ends = (Wire(one), Wire(other))
        ends[0].other, ends[1].other = ends[1], ends[0]
        for end, peer in ((ends[0], other), (ends[1], one)):
            handshake = Handshake.of(self.torrent.info_hash, bytes([peer.number]) * 20)
            if not fast:
                handshake = handshake._replace(reserved=(1 << 20).to_bytes(8))
            end.reader.feed(handshake.encode())
            end.owner.wires.append(end)
            end.link = end.owner.swarm.add_peer(handshake, peer.address, is_outgoing=end is ends[0], now=self.now)
        return ends

    def carry(self, rounds: int = 1_000_000) -> None:
        """Carry bytes until nobody has anything to say."""
        for _ in range(rounds):
            moved = False
            for member in self.members:
                member.settle()
                for wire in list(member.wires):
                    data = wire.bytes_to_send()
                    if data and wire.other is not None:
                        moved = True
                        wire.other.receive(data)
            if not moved:
                return

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        for _ in range(int(seconds)):
            self.now += 1.0
            for member in self.members:
                member.now = self.now
                member.swarm.handle_timer(self.now)
                member.settle()
            self.carry()


def completions(member: Member) -> int:
    return len(member.of(SwarmCompleted))
