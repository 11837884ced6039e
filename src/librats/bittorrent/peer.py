"""One connection with a peer, as a machine: what each side has, wants and asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final

from librats.bittorrent.allowed_fast import FAST_PIECES, FastPieces
from librats.bittorrent.bitfields import packed_bits, unpacked_bits
from librats.bittorrent.extensions import (
    ExtendedHandshake,
    MetadataKind,
    MetadataMessage,
    read_extended_handshake,
    read_holepunch,
    read_metadata_message,
    read_pex,
)
from librats.bittorrent.messages import (
    AllowedFast,
    Bitfield,
    Cancel,
    Choke,
    Extended,
    Handshake,
    Hashes,
    HashReject,
    HashRequest,
    Have,
    HaveAll,
    HaveNone,
    Interested,
    Message,
    NotInterested,
    Piece,
    Port,
    RejectRequest,
    Request,
    Unchoke,
    piece_header,
    write_message,
    write_requests,
)
from librats.bittorrent.patience import MAX_UNSENT, Patience
from librats.bittorrent.picker import Block, PiecePicker
from librats.bittorrent.rates import Rate
from librats.bittorrent.request_depth import DEFAULT_QUEUE, RequestDepth
from librats.errors import RemoteProtocolError
from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.swarm import Swarm

__all__ = ["EXTENSIONS", "MAX_QUEUED", "PeerLink"]

MAX_QUEUED: Final = 1000
"""Requests of a peer that are kept at once; it is told."""

EXTENSIONS: Final = {"ut_metadata": 1, "ut_pex": 2, "ut_holepunch": 3}
"""Our numbers of extensions."""

RARE = 50  # points that such a message costs

Buffer = bytes | bytearray | memoryview


class PeerLink:
    """A connection on which both handshakes have been seen. Made by :meth:`.Swarm.add_peer`.

    Args:
        swarm: Whose.
        handshake: The peer's.
        address: Where it is.
        is_outgoing: Whether we have dialled it.
        is_utp: Whether it goes over uTP.
        now: Seconds on any clock that only goes on.
    """

    def __init__(
        self, swarm: Swarm, handshake: Handshake, address: Address, *, is_outgoing: bool, is_utp: bool, now: float
    ) -> None:
        self._swarm = swarm
        self.key: Hashable = self
        """What tells it from the others, of those that are gone, too: a number would be used again."""
        self.handshake = handshake
        """Its handshake."""
        self.address = address
        """Where it is."""
        self.is_outgoing = is_outgoing
        """Whether we have dialled it."""
        self.is_utp = is_utp
        """Whether it goes over uTP."""
        self.remote = ExtendedHandshake(requests=DEFAULT_QUEUE)
        """What it has told of itself."""
        self.am_choking = True
        """Whether its requests are not served."""
        self.am_interested = False
        """Whether we have told that it has what we want."""
        self.is_choking = True
        """Whether it does not serve our requests."""
        self.is_interested = False
        """Whether it wants something of us."""
        self.is_snubbing = False
        """Whether it has given nothing for a while though it was asked."""
        self.pieces: bytearray | None = None
        """A byte for each piece; None where it has all or none of them."""
        self.has_all = False
        """Whether it has every piece."""
        self.useful = 0
        """Pieces that it has and we lack."""
        self.asked: dict[tuple[int, int], int] = {}
        """Blocks that it was asked for, and how long each is."""
        self.queue: deque[Block] = deque()
        """Blocks that it asks for and has not been given."""
        self.down, self.up = Rate(now), Rate(now)
        """What it gives and takes."""
        self.last_data = now
        """When a block came last, or was asked for after all had come."""
        self.last_received = self.last_sent = now
        """When something came, and when something was sent last."""
        self.unsent_size = 0
        """Bytes of messages that are to be sent, blocks not counted."""
        self.pex_told: set[Address] = set()
        """Peers that it was told of."""
        self._outgoing: list[Buffer] = []
        self._depth = RequestDepth()
        self._fast = FastPieces()
        self._early: list[Have | Bitfield | HaveAll | HaveNone] = []  # what it has, told before we know the torrent
        self._patience = Patience()
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            Request: self._take_request,
            Have: self._take_have,
            Choke: self._take_choke,
            Unchoke: self._take_unchoke,
            Interested: self._take_interested,
            NotInterested: self._take_not_interested,
            Bitfield: self._take_pieces,
            HaveAll: self._take_pieces,
            HaveNone: self._take_pieces,
            Cancel: self._take_cancel,
            RejectRequest: self._take_reject,
            AllowedFast: self._take_allowed,
            Extended: self._take_extended,
            HashRequest: lambda message, _now: swarm.serve_hashes(self, message),
            Hashes: lambda message, now: swarm.take_hashes(self, message, now),
            HashReject: lambda message, now: swarm.take_hash_reject(self, message, now),
            Port: lambda message, _now: swarm.take_dht_port(self, message.port),
        }

    @property
    def gives(self) -> float:
        """Bytes a second that it gives us."""
        return self.down.value

    @property
    def takes(self) -> float:
        """Bytes a second that it takes of us."""
        return self.up.value

    @property
    def is_seed(self) -> bool:
        """Whether it has everything, as far as it is known."""
        return self.has_all or (self.pieces is not None and self.pieces.count(1) == len(self.pieces))

    def has_piece(self, piece: int) -> bool:
        """Whether it has a piece."""
        return self.has_all or (self.pieces is not None and self.pieces[piece] == 1)

    # Bytes

    def receive(self, messages: Sequence[Message], now: float) -> None:
        """Take messages, and ask for more where there is room.

        Raises:
            RemoteProtocolError: They break the protocol; the connection is to be closed.
        """
        self.last_received = now
        handlers = self._handlers
        for message in messages:
            if type(message) is Piece:
                self._take_piece(message, now)
                continue
            handler = handlers.get(type(message))
            if handler is not None:
                handler(message, now)
        if self.unsent_size > MAX_UNSENT:
            raise RemoteProtocolError("it has much to ask, and reads nothing")
        self.ask(now)

    def data_to_send(self, now: float) -> list[Buffer]:
        """Return what is to be sent, once."""
        if not self._outgoing:
            return []
        self.last_sent = now
        outgoing, self._outgoing, self.unsent_size = self._outgoing, [], 0
        return outgoing

    def send(self, message: Message) -> None:
        """Have a message sent."""
        raw = write_message(message)
        self._outgoing.append(raw)
        self.unsent_size += len(raw)
        self._swarm.unsent[self.key] = self

    def send_extended(self, name: str, payload: bytes) -> bool:
        """Have a message of an extension sent; False where the peer does not have it."""
        number = self.remote.extensions.get(name, 0)
        if number:
            self.send(Extended(number, payload))
        return bool(number)

    def begin(self) -> None:
        """Tell what we are and have, as the first thing."""
        swarm = self._swarm
        if self.handshake.has_extensions:
            self.send(Extended(0, swarm.own_handshake(self).encode()))
        self.tell_pieces()

    def tell_pieces(self) -> None:
        """Tell which pieces are there."""
        picker = self._swarm.picker
        have = picker.have if picker is not None else b""
        count = have.count(1)
        if self.handshake.has_fast and count in {0, len(have)}:
            self.send(HaveAll() if count else HaveNone())
        elif count:
            self.send(Bitfield(packed_bits(bytes(have))))

    # What it has

    def learn_torrent(self, now: float) -> None:
        """Take in what it has told before the torrent was known."""
        early, self._early = self._early, []
        for message in early:
            if isinstance(message, Have):
                self._take_have(message, now)
            else:
                self._sum_up(message, now)
        self.ask(now)

    def _take_pieces(self, message: Bitfield | HaveAll | HaveNone, now: float) -> None:
        self._patience.take_summary()
        self._sum_up(message, now)

    def _sum_up(self, message: Bitfield | HaveAll | HaveNone, _now: float) -> None:
        picker = self._swarm.picker
        if picker is None:
            self._patience.keep(self._early, message)
            return
        self._forget_pieces()
        count = len(picker.have)
        if isinstance(message, HaveAll):
            self.has_all = True
        elif isinstance(message, Bitfield):
            if len(message.bits) != -(-count // 8):
                raise RemoteProtocolError("a bitfield of another length than the torrent has")
            self.pieces = unpacked_bits(message.bits, count)
            if self.pieces.count(1) == count:
                self.pieces, self.has_all = None, True
            else:
                for piece in range(count):
                    if self.pieces[piece]:
                        picker.add_holder(piece)
        self.count_useful()
        self._welcome(picker)

    def _welcome(self, picker: PiecePicker) -> None:
        """Tell a newcomer what it may ask for at any time."""
        torrent, held = self._swarm.torrent, self.pieces.count(1) if self.pieces is not None else 0
        if torrent is None or self.has_all or held >= FAST_PIECES or not self.handshake.has_fast:
            return
        if 1 in picker.have:
            for piece in self._fast.give(self.address.host, self.handshake.info_hash, torrent.layout):
                self.send(AllowedFast(piece))

    def count_useful(self) -> None:
        """Count anew what it has and we lack, and tell whether that is anything."""
        picker = self._swarm.picker
        if picker is not None:
            pieces = range(len(picker.have))
            self.useful = sum(picker.is_needed(piece) and self.has_piece(piece) for piece in pieces)
            self.update_interest()

    def _forget_pieces(self) -> None:
        picker = self._swarm.picker
        if picker is not None and self.pieces is not None:
            for piece, there in enumerate(self.pieces):
                if there:
                    picker.add_holder(piece, -1)
        self.pieces, self.has_all, self.useful = None, False, 0

    def _take_have(self, message: Have, _now: float) -> None:
        picker = self._swarm.picker
        if picker is None:
            self._patience.keep(self._early, message)
            return
        piece = message.piece
        if piece >= len(picker.have):
            raise RemoteProtocolError("a piece that the torrent does not have")
        if self.has_piece(piece):
            return
        if self.pieces is None:
            self.pieces = bytearray(len(picker.have))
        self.pieces[piece] = 1
        picker.add_holder(piece)
        if picker.is_needed(piece):
            self.useful += 1
            self.update_interest()

    def update_interest(self) -> None:
        """Tell whether it has what we want, where that has changed."""
        wants = self.useful > 0
        if wants != self.am_interested:
            self.am_interested = wants
            self.send(Interested() if wants else NotInterested())

    # Asking

    def ask(self, now: float) -> None:
        """Ask for as many blocks as there is room for; where there is a limit, in turn with others."""
        picker = self._swarm.picker
        if picker is None or not self.am_interested or not self._swarm.may_ask:
            return
        room = self.depth - len(self.asked)
        if self._swarm.gate is not None:
            if room > 0:
                self._swarm.waiting[self.key] = self
        elif room >= min(8, self.depth / 4):
            self._ask_for(picker, room, now)

    def ask_in_turn(self, now: float) -> int:
        """Ask for one block, as it is its turn, and wait again where there is room for more; return how long it is."""
        swarm = self._swarm
        size = 0
        if swarm.gate is not None and swarm.picker is not None and self.am_interested and swarm.may_ask:
            size = self._ask_for(swarm.picker, 1, now) if self.depth > len(self.asked) else 0
        if size or swarm.gate is None:
            self.ask(now)
        return size

    def _ask_for(self, picker: PiecePicker, room: int, now: float) -> int:
        blocks = self._fast.pick(self, picker, room) if self.is_choking else picker.pick(self, room)
        if blocks and not self.asked:
            self.last_data = now
        if blocks:
            asked = self.asked
            for piece, begin, length in blocks:
                asked[piece, begin] = length
            self._outgoing.append(write_requests(blocks))
            self._swarm.unsent[self.key] = self
        return blocks[0][2] if blocks else 0

    @property
    def depth(self) -> int:
        """How many blocks may be asked for at once."""
        return self._depth.within(1 if self.is_snubbing else self.remote.requests)

    def adapt(self) -> None:
        """Fit the number of requests to what it gives; once a second."""
        self._depth.adapt(self.down.value)
        self._patience.recover()

    def _take_piece(self, message: Piece, now: float) -> None:
        piece, begin, block = message
        size = len(block)
        self.last_data = now
        self.is_snubbing = False
        if self.asked.get((piece, begin)) != size:
            self._patience.take_unasked()
            self._swarm.wasted += size
            return
        del self.asked[piece, begin]
        self.down.total += size
        self._depth.grow()
        self._swarm.take_block(self, piece, begin, block)

    def _take_reject(self, message: RejectRequest, _now: float) -> None:
        if self.asked.pop((message.piece, message.begin), None) is not None:
            self._fast.taken.pop(message.piece, None)
            self._swarm.release(self, message.piece, message.begin)

    def _take_choke(self, _message: Choke, _now: float) -> None:
        self.is_choking = True
        if not self.handshake.has_fast:
            self.drop_requests()

    def drop_requests(self) -> None:
        """Take note that nothing of what it was asked for will come."""
        asked, self.asked = self.asked, {}
        self._patience.take_back(len(asked))
        for piece, begin in asked:
            self._swarm.release(self, piece, begin)

    def withdraw(self, piece: int, begin: int) -> None:
        """Tell it that a block is not wanted any more."""
        length = self.asked.get((piece, begin))
        if length is not None:
            if not self.handshake.has_fast:
                del self.asked[piece, begin]
                self._patience.take_back(1)
            self.send(Cancel(piece, begin, length))

    def _take_unchoke(self, _message: Unchoke, _now: float) -> None:
        self.is_choking = False

    def _take_allowed(self, message: AllowedFast, _now: float) -> None:
        picker = self._swarm.picker
        if picker is not None and message.piece < len(picker.have):
            self._fast.take(message.piece)

    # Being asked

    def _take_interested(self, _message: Interested, _now: float) -> None:
        if not self.is_interested:
            self.is_interested = True
            self._swarm.consider(self)

    def _take_not_interested(self, _message: NotInterested, _now: float) -> None:
        self.is_interested = False

    def set_choking(self, choking: bool) -> None:
        """Serve its requests from now on, or serve them not."""
        if choking == self.am_choking:
            return
        self.am_choking = choking
        self.send(Choke() if choking else Unchoke())
        if choking:
            queue, self.queue = self.queue, deque()
            for block in queue:
                self._take_request(Request(*block), 0.0)  # what it may ask for at any time stays, all else is rejected

    def _take_request(self, message: Request, _now: float) -> None:
        block = (message.piece, message.begin, message.length)
        is_served = not self.am_choking or self._fast.may_ask(message.piece)
        if is_served and self._swarm.has_block(block) and len(self.queue) < MAX_QUEUED:
            if self.am_choking:
                self._fast.spend(message.length)
            self.queue.append(block)
        elif self.handshake.has_fast:
            self.send(RejectRequest(*block))
        elif not self.am_choking:
            raise RemoteProtocolError("a request that cannot be served")

    def _take_cancel(self, message: Cancel, _now: float) -> None:
        block = (message.piece, message.begin, message.length)
        if block in self.queue:
            self.queue.remove(block)
            if self.handshake.has_fast:
                self.send(RejectRequest(*block))
        else:
            self._patience.spend(1)  # looked for in vain

    def send_block(self, block: Block, data: Buffer) -> None:
        """Have a block sent that was asked for.

        Args:
            block: Piece, begin and length.
            data: Its bytes; they may not change until they are sent.
        """
        self._outgoing.append(piece_header(block[0], block[1], block[2]))
        self._outgoing.append(data)
        self._swarm.unsent[self.key] = self
        self.up.total += block[2]
        self._swarm.uploaded += block[2]

    # Extensions

    def _take_extended(self, message: Extended, now: float) -> None:
        if message.extension != EXTENSIONS["ut_metadata"]:
            self._patience.spend(RARE)
        if message.extension == 0:
            self._take_extended_handshake(read_extended_handshake(message.payload), now)
        elif message.extension == EXTENSIONS["ut_metadata"]:
            metadata = read_metadata_message(message.payload)
            if metadata is not None:
                self._take_metadata(metadata, now)
        elif message.extension == EXTENSIONS["ut_pex"]:
            self._swarm.take_pex(self, read_pex(message.payload), now)
        elif message.extension == EXTENSIONS["ut_holepunch"]:
            self._swarm.take_holepunch(self, read_holepunch(message.payload))

    def _take_extended_handshake(self, told: ExtendedHandshake, now: float) -> None:
        self.remote = self.remote.renewed(told, EXTENSIONS)
        self._swarm.learn_extensions(self, told, now)

    def _take_metadata(self, message: MetadataMessage, now: float) -> None:
        if message.kind is MetadataKind.REQUEST:
            answer = self._swarm.serve_metadata(self, message)
            self.send_extended("ut_metadata", answer.encode())
        else:
            self._swarm.take_metadata(self, message, now)

    def close(self) -> None:
        """Give back what it was asked for; it is gone."""
        self.am_interested = False
        self.drop_requests()
        self._forget_pieces()
