"""Messages of the peer wire: BEP 3, the fast extension (BEP 6), the extension protocol (BEP 10) and hashes (BEP 52)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple

from librats.bittorrent.merkle import HASH_SIZE
from librats.errors import RemoteProtocolError, UsageError

__all__ = [
    "HANDSHAKE_SIZE",
    "MAX_BLOCK",
    "AllowedFast",
    "Bitfield",
    "Cancel",
    "Choke",
    "Extended",
    "Handshake",
    "HashReject",
    "HashRequest",
    "Hashes",
    "Have",
    "HaveAll",
    "HaveNone",
    "Interested",
    "KeepAlive",
    "Message",
    "NotInterested",
    "Piece",
    "Port",
    "RejectRequest",
    "Request",
    "SuggestPiece",
    "Unchoke",
    "UnknownMessage",
    "piece_header",
    "read_handshake",
    "read_message",
    "write_message",
    "write_requests",
]

MAX_BLOCK: Final = 131_072
"""Bytes that a block has at most; everybody asks for 16 KiB."""

HANDSHAKE_SIZE: Final = 68
"""Bytes of a handshake."""

PROTOCOL = b"\x13BitTorrent protocol"
RESERVED_SIZE = 8
ID_SIZE = 20
EXTENDED_BIT = 1 << 20
DHT_BIT = 1
FAST_BIT = 1 << 2
V2_BIT = 1 << 4

REQUEST = 6
PIECE = 7
_PIECE_HEADER = Struct(">IBII")
_REQUEST = Struct(">IBIII")
_NUMBER = Struct(">I")
_LENGTH_AND_ID = Struct(">IB")
_BLOCK = Struct(">III")
_PORT = Struct(">H")
_HASHES = Struct(">32sIIII")

Buffer = bytes | bytearray | memoryview


class Handshake(NamedTuple):
    """What each side says first.

    Example:
        >>> from librats.bittorrent.messages import Handshake, read_handshake
        >>> raw = Handshake.of(b"i" * 20, b"-RB0001-abcdefghijkl", v2=True).encode()
        >>> read_handshake(raw).has_v2
        True
    """

    info_hash: bytes
    """20 bytes: which torrent. Of a torrent of version 2 alone, the first 20 of its hash."""

    peer_id: bytes
    """20 bytes that whoever speaks has chosen."""

    reserved: bytes = bytes(RESERVED_SIZE)
    """8 bytes of flags."""

    @classmethod
    def of(cls, info_hash: bytes, peer_id: bytes, *, dht: bool = False, v2: bool = False) -> Handshake:
        """Return the handshake of one that has the fast and the extension protocol.

        Args:
            info_hash: Which torrent.
            peer_id: Who speaks.
            dht: Whether it has a node of the DHT.
            v2: Whether it would go on in version 2, where that of a hybrid torrent is asked for in version 1.
        """
        flags = EXTENDED_BIT | FAST_BIT | (DHT_BIT if dht else 0) | (V2_BIT if v2 else 0)
        return cls(info_hash, peer_id, flags.to_bytes(RESERVED_SIZE))

    @property
    def has_extensions(self) -> bool:
        """Whether it has the extension protocol (BEP 10)."""
        return bool(int.from_bytes(self.reserved) & EXTENDED_BIT)

    @property
    def has_dht(self) -> bool:
        """Whether it has a node of the DHT (BEP 5)."""
        return bool(int.from_bytes(self.reserved) & DHT_BIT)

    @property
    def has_fast(self) -> bool:
        """Whether it has the fast extension (BEP 6)."""
        return bool(int.from_bytes(self.reserved) & FAST_BIT)

    @property
    def has_v2(self) -> bool:
        """Whether it would go on in version 2 (BEP 52)."""
        return bool(int.from_bytes(self.reserved) & V2_BIT)

    def encode(self) -> bytes:
        """Return the 68 bytes."""
        return PROTOCOL + self.reserved + self.info_hash + self.peer_id


def read_handshake(raw: Buffer) -> Handshake:
    """Read a handshake.

    Args:
        raw: Its 68 bytes.

    Raises:
        RemoteProtocolError: It is none.
    """
    raw = bytes(raw)
    if len(raw) != HANDSHAKE_SIZE or not raw.startswith(PROTOCOL):
        raise RemoteProtocolError("no handshake of BitTorrent")
    at = len(PROTOCOL)
    reserved, rest = raw[at : at + RESERVED_SIZE], raw[at + RESERVED_SIZE :]
    return Handshake(rest[:ID_SIZE], rest[ID_SIZE:], reserved)


class KeepAlive(NamedTuple):
    """Nothing, so that the connection is not taken for dead."""


class Choke(NamedTuple):
    """Requests will not be served."""


class Unchoke(NamedTuple):
    """Requests will be served."""


class Interested(NamedTuple):
    """The other side has what is wanted."""


class NotInterested(NamedTuple):
    """The other side has nothing that is wanted."""


class Have(NamedTuple):
    """One more piece is there."""

    piece: int


class Bitfield(NamedTuple):
    """The pieces that are there, a bit for each, the highest one first."""

    bits: bytes


class Request(NamedTuple):
    """A block is asked for."""

    piece: int
    begin: int
    length: int


class Piece(NamedTuple):
    """A block of a piece. What it holds may be a view of a buffer that is used again."""

    piece: int
    begin: int
    block: Buffer


class Cancel(NamedTuple):
    """A block that was asked for is not wanted any more."""

    piece: int
    begin: int
    length: int


class Port(NamedTuple):
    """Port of the node of the DHT (BEP 5)."""

    port: int


class SuggestPiece(NamedTuple):
    """A piece that would be good to ask for (BEP 6)."""

    piece: int


class HaveAll(NamedTuple):
    """Every piece is there (BEP 6)."""


class HaveNone(NamedTuple):
    """No piece is there (BEP 6)."""


class RejectRequest(NamedTuple):
    """A block that was asked for will not come (BEP 6)."""

    piece: int
    begin: int
    length: int


class AllowedFast(NamedTuple):
    """A piece that may be asked for though requests are not served (BEP 6)."""

    piece: int


class Extended(NamedTuple):
    """A message of the extension protocol (BEP 10)."""

    extension: int
    """0 for its handshake, else the number that the receiver has given the extension."""

    payload: Buffer


class HashRequest(NamedTuple):
    """Hashes of a file's tree are asked for (BEP 52)."""

    root: bytes
    base_layer: int
    first: int
    length: int
    proof_layers: int


class Hashes(NamedTuple):
    """Hashes of a file's tree, and those beside the way up (BEP 52)."""

    root: bytes
    base_layer: int
    first: int
    length: int
    proof_layers: int
    hashes: bytes


class HashReject(NamedTuple):
    """Hashes that were asked for will not come (BEP 52)."""

    root: bytes
    base_layer: int
    first: int
    length: int
    proof_layers: int


class UnknownMessage(NamedTuple):
    """A message of a kind that this one does not know; it is to be passed over."""

    message_id: int
    payload: bytes


Message = (
    KeepAlive
    | Choke
    | Unchoke
    | Interested
    | NotInterested
    | Have
    | Bitfield
    | Request
    | Piece
    | Cancel
    | Port
    | SuggestPiece
    | HaveAll
    | HaveNone
    | RejectRequest
    | AllowedFast
    | Extended
    | HashRequest
    | Hashes
    | HashReject
    | UnknownMessage
)

_EMPTY: dict[int, type[Any]] = {0: Choke, 1: Unchoke, 2: Interested, 3: NotInterested, 14: HaveAll, 15: HaveNone}
_NUMBERS: dict[int, type[Any]] = {4: Have, 13: SuggestPiece, 17: AllowedFast}
_BLOCKS: dict[int, type[Any]] = {6: Request, 8: Cancel, 16: RejectRequest}
_ASKED: dict[int, type[Any]] = {21: HashRequest, 23: HashReject}
BITFIELD, PORT, EXTENDED, HASHES = 5, 9, 20, 22


def _wrong_length(message_id: int, payload: Buffer) -> RemoteProtocolError:
    return RemoteProtocolError(f"a message of kind {message_id} has {len(payload)} bytes")


def _read_packed(layout: Struct, made: Callable[..., Any]) -> Callable[[int, Buffer], Any]:
    def read(message_id: int, payload: Buffer) -> Any:
        if len(payload) != layout.size:
            raise _wrong_length(message_id, payload)
        return made(*layout.unpack(payload))

    return read


def _read_extended(message_id: int, payload: Buffer) -> Extended:
    if not payload:
        raise _wrong_length(message_id, payload)
    return Extended(payload[0], bytes(payload[1:]))


def _read_piece(message_id: int, payload: Buffer) -> Piece:
    if not 8 < len(payload) <= MAX_BLOCK + 8:  # noqa: PLR2004 - two numbers, and a byte at least
        raise _wrong_length(message_id, payload)
    return Piece(_NUMBER.unpack_from(payload)[0], _NUMBER.unpack_from(payload, 4)[0], memoryview(payload)[8:])


def _read_hashes(message_id: int, payload: Buffer) -> Hashes:
    hashes = len(payload) - _HASHES.size
    if hashes < 0 or hashes % HASH_SIZE:
        raise _wrong_length(message_id, payload)
    root, base_layer, first, length, proof_layers = _HASHES.unpack_from(payload)
    return Hashes(root, base_layer, first, length, proof_layers, bytes(payload[_HASHES.size :]))


_READERS: dict[int, Callable[[int, Buffer], Any]] = {
    **{message_id: _read_packed(Struct(""), made) for message_id, made in _EMPTY.items()},
    **{message_id: _read_packed(_NUMBER, made) for message_id, made in _NUMBERS.items()},
    **{message_id: _read_packed(_BLOCK, made) for message_id, made in _BLOCKS.items()},
    **{message_id: _read_packed(_HASHES, made) for message_id, made in _ASKED.items()},
    BITFIELD: lambda _, payload: Bitfield(bytes(payload)),
    PIECE: _read_piece,
    PORT: _read_packed(_PORT, Port),
    EXTENDED: _read_extended,
    HASHES: _read_hashes,
}


def read_message(message_id: int, payload: Buffer) -> Message:
    """Read a message.

    Args:
        message_id: The byte behind its length.
        payload: What follows. A block is not copied out of it, all else is.

    Raises:
        RemoteProtocolError: It has another length than its kind has.

    Example:
        >>> from librats.bittorrent.messages import read_message
        >>> read_message(4, bytes([0, 0, 0, 9]))
        Have(piece=9)
    """
    reader = _READERS.get(message_id)
    message: Message = UnknownMessage(message_id, bytes(payload)) if reader is None else reader(message_id, payload)
    return message


_IDS: dict[type[Any], int] = {
    made: message_id for kinds in (_EMPTY, _NUMBERS, _BLOCKS, _ASKED) for message_id, made in kinds.items()
}
_WRITERS: dict[type[Any], Struct] = {
    **dict.fromkeys(_EMPTY.values(), Struct(">IB")),
    **dict.fromkeys(_NUMBERS.values(), Struct(">IBI")),
    **dict.fromkeys(_BLOCKS.values(), Struct(">IBIII")),
    **dict.fromkeys(_ASKED.values(), Struct(">IB32sIIII")),
}


def write_message(message: Message) -> bytes:
    """Return a message with its length before it.

    Raises:
        UsageError: A field has no room in it.

    Example:
        >>> from librats.bittorrent.messages import Have, write_message
        >>> write_message(Have(9)).hex()
        '000000050400000009'
    """
    layout = _WRITERS.get(type(message))
    try:
        if layout is not None:
            return layout.pack(layout.size - 4, _IDS[type(message)], *message)
        return _write_other(message)
    except (StructError, ValueError) as error:
        raise UsageError(f"a field of a message is out of range: {error}") from None


def _framed(message_id: int, *parts: Buffer) -> bytes:
    return b"".join([_LENGTH_AND_ID.pack(1 + sum(map(len, parts)), message_id), *parts])


def _write_other(message: Message) -> bytes:
    match message:
        case Bitfield():
            raw = _framed(BITFIELD, message.bits)
        case Piece():
            raw = piece_header(message.piece, message.begin, len(message.block)) + message.block
        case Port():
            raw = _framed(PORT, _PORT.pack(message.port))
        case Extended():
            raw = _framed(EXTENDED, bytes([message.extension]), message.payload)
        case Hashes():
            raw = _framed(HASHES, _HASHES.pack(*message[:-1]), message.hashes)
        case UnknownMessage():
            raw = _framed(message.message_id, message.payload)
        case _:
            raw = bytes(4)  # keep alive
    return raw


def piece_header(piece: int, begin: int, length: int) -> bytes:
    """Return what stands before the bytes of a block.

    Args:
        piece: Number of the piece.
        begin: Where the block begins in it.
        length: Bytes of the block.
    """
    return _PIECE_HEADER.pack(length + 9, PIECE, piece, begin)


def write_requests(blocks: Iterable[tuple[int, int, int]]) -> bytes:
    """Return the messages that ask for blocks, one behind the other.

    Args:
        blocks: Number of the piece, where the block begins in it, and its bytes.

    Example:
        >>> from librats.bittorrent.messages import Request, write_message, write_requests
        >>> write_requests([(0, 0, 16_384)]) == write_message(Request(0, 0, 16_384))
        True
    """
    pack = _REQUEST.pack
    return b"".join([pack(_REQUEST.size - 4, REQUEST, *block) for block in blocks])
